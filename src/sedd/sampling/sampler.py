"""Draw the free residues of templates from a model; a template without given residues is generation from nothing.

| predictor               | draws from                                   | evaluations per sequence           |
|-------------------------|----------------------------------------------|------------------------------------|
| `first_hitting`         | the model, exactly (`absorb` only)           | residues drawn / `tokens_per_step` |
| `ancestral`, `analytic` | the model as steps grow; one residue exactly | at most `steps` + 1                |
| `euler`                 | the model as steps grow                      | at most `steps` + 1                |

Templates: with `absorb` the model's conditional distribution given the given residues, exactly as above. With `uniform`
it is approached by `sampling.sweeps`, see `sedd.sampling.sweeps`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch

from sedd.config.sections import Sampling
from sedd.data import Sequences
from sedd.diffusion.parametrization import Network
from sedd.diffusion.process import Process
from sedd.errors import SamplingError
from sedd.plugins.contracts import Backend
from sedd.randomness import generator
from sedd.sampling.evaluations import CachedScoreModel
from sedd.sampling.first_hitting import first_hitting
from sedd.sampling.levels import check, grid, start_rates
from sedd.sampling.rows import Ids, Projector, Sample, SampleBatch
from sedd.sampling.sweeps import sweep
from sedd.sampling.walk import KERNELS, walk

Report = Callable[[float], None]
"""Told how many samples are done, in fractions."""


def no_progress(done: float) -> None:
    """Report to nobody."""


@dataclass(frozen=True)
class Sampler:
    """Draws sequences from a model.

    Args:
        process: of the model. Sampling from nothing starts at the `sigma_max` of its noise.
        backend: gives the precision.
        device: where to run.
        options: the sampling section.
        max_length: longest sequence, residues.
        project: a constraint, applied after each step.
        economical: neither ask the network what it has answered already, nor keep finished sequences in the batch. It
            changes the cost only; off, every step of every sequence costs one evaluation.
    """

    process: Process
    backend: Backend
    device: torch.device
    options: Sampling
    max_length: int
    project: Projector | None = None
    economical: bool = True

    def __call__(
        self, network: Network, templates: Sequences, *, seed: int, first: int = 0, report: Report = no_progress
    ) -> Iterator[Sample]:
        """Draw one sequence for each template, in their order; `graph.n` marks the residues to draw.

        Sample i follows from (seed, i), whatever the batch size. From the `first` on: earlier ones in its batch are
        drawn all the same, so that batches, and with them rounding, are those of an uninterrupted call.

        Raises:
            SamplingError: if the model cannot draw a template, or the predictor does not fit the graph.
        """
        if self.options.predictor == "first_hitting" and not self.process.graph.has_mask:
            raise SamplingError(
                "predictor=first_hitting unmasks residues: it needs a model with graph.type=absorb, and this one has "
                "uniform. Use ancestral"
            )
        for index in range(len(templates)):
            check(templates[index], f"sequence {index + 1}", process=self.process, max_length=self.max_length)
        return self._batches(network, templates, seed, first, report)

    def _batches(
        self, network: Network, templates: Sequences, seed: int, first: int, report: Report
    ) -> Iterator[Sample]:
        size = self.options.batch_size
        for start in range(first // size * size, len(templates), size):
            chunk = [np.asarray(templates[index]) for index in range(start, min(start + size, len(templates)))]
            results = self._batch(network, chunk, seed, start, report)
            for place in range(max(first - start, 0), len(chunk)):
                yield Sample(start + place, *results[place])

    @torch.no_grad()
    def _batch(
        self, network: Network, chunk: list[Ids], seed: int, start: int, report: Report
    ) -> dict[int, tuple[Ids, int]]:
        random = [generator(seed, "sample", start + place) for place in range(len(chunk))]
        rows = SampleBatch(
            chunk,
            random,
            graph=self.process.graph,
            device=self.device,
            project=self.project,
            leave=self.economical,
        )
        options = self.options
        evaluate = CachedScoreModel(network, self.process, self.backend, options, reuse=self.economical)
        sweeps = options.sweeps if self._clamped(rows) else 0

        def part(share: float, before: float = 0.0) -> Report:
            return lambda done: report(start + len(chunk) * (before + share * done))

        rates = start_rates(self.process, rows.free.sum(1).cpu(), torch.from_numpy(rows.lengths))
        rows.retire(~rows.free.any(1))  # nothing to draw
        if options.predictor == "first_hitting":
            first_hitting(rows, evaluate, rates, noise=self.process.noise, options=options, report=part(1.0))
        else:
            levels = grid(self.process.noise, rates, steps=options.steps, removal=options.noise_removal)
            walk(rows, evaluate, levels, kernel=KERNELS[options.predictor], report=part(0.5 if sweeps else 1.0))
        if sweeps and len(rows):
            sweep(rows, evaluate, noise=self.process.noise, sweeps=sweeps, report=part(0.5, before=0.5))
        rows.retire_all()
        return rows.done

    def _clamped(self, rows: SampleBatch) -> bool:
        """Whether given residues stand beside noise that cannot tell them apart."""
        return not self.process.graph.has_mask and not bool((rows.free == rows.seen).all())
