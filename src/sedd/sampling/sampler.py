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

from sedd.config.sections import Model, Sampling
from sedd.data import Sequences
from sedd.diffusion.graphs import Absorb, Graph
from sedd.diffusion.parametrization import Network
from sedd.errors import SamplingError
from sedd.plugins.contracts import Backend, Noise
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
        graph: the forward process.
        model: which head the network has, and whether it sees the noise.
        noise: the schedule to walk back; its `sigma_max` is where sampling from nothing starts.
        backend: where to run.
        options: the sampling section.
        project: a constraint, applied after each step.
        economical: neither ask the network what it has answered already, nor keep finished sequences in the batch. It
            changes the cost only; off, every step of every sequence costs one evaluation.
    """

    graph: Graph
    model: Model
    noise: Noise
    backend: Backend
    options: Sampling
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
        if self.options.predictor == "first_hitting" and not isinstance(self.graph, Absorb):
            raise SamplingError(
                "predictor=first_hitting unmasks residues: it needs a model with graph.type=absorb, and this one has "
                "uniform. Use ancestral"
            )
        for index in range(len(templates)):
            check(templates[index], f"sequence {index + 1}", graph=self.graph, noise=self.noise, model=self.model)
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
            graph=self.graph,
            device=self.backend.device(),
            project=self.project,
            leave=self.economical,
        )
        options = self.options
        evaluate = CachedScoreModel(network, self.graph, self.model, self.backend, options, reuse=self.economical)
        sweeps = options.sweeps if self._clamped(rows) else 0

        def part(share: float, before: float = 0.0) -> Report:
            return lambda done: report(start + len(chunk) * (before + share * done))

        rates = start_rates(self.graph, self.noise, rows.free.sum(1).cpu(), torch.from_numpy(rows.lengths))
        rows.retire(~rows.free.any(1))  # nothing to draw
        if options.predictor == "first_hitting":
            first_hitting(rows, evaluate, rates, noise=self.noise, options=options, report=part(1.0))
        else:
            levels = grid(self.noise, rates, steps=options.steps, removal=options.noise_removal)
            walk(rows, evaluate, levels, kernel=KERNELS[options.predictor], report=part(0.5 if sweeps else 1.0))
        if sweeps and len(rows):
            sweep(rows, evaluate, noise=self.noise, sweeps=sweeps, report=part(0.5, before=0.5))
        rows.retire_all()
        return rows.done

    def _clamped(self, rows: SampleBatch) -> bool:
        """Whether given residues stand beside noise that cannot tell them apart."""
        return not isinstance(self.graph, Absorb) and not bool((rows.free == rows.seen).all())
