"""Draw the missing residues of templates from a model; generation from nothing is a template without fixed residues.

`sedd.sampling.predictors` lists what each predictor draws from. Templates: with `absorb`, that is the model's
conditional distribution given the fixed residues. With `uniform`, Gibbs sweeps approach it (`sedd.sampling.sweeps`).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch

from sedd.config.sections import Sampling
from sedd.data import Sequences
from sedd.diffusion.loss import is_selective
from sedd.diffusion.parametrization import Network
from sedd.diffusion.process import Process
from sedd.diffusion.recorded_network import RecordedNetwork, recorder_of
from sedd.errors import SamplingError
from sedd.plugins.contracts import Backend
from sedd.randomness import generator
from sedd.sampling.cached_score_model import CachedScoreModel
from sedd.sampling.levels import check_template, start_mask_rates
from sedd.sampling.predictors import PREDICTORS
from sedd.sampling.predictors.base import Report
from sedd.sampling.sample_batch import Constraint, Ids, Sample, SampleBatch
from sedd.sampling.sweeps import gibbs_sweeps


def no_progress(done: float) -> None:
    """A `Report` that does nothing."""


@dataclass(frozen=True)
class Sampler:
    """Draws sequences from a model. Generation from nothing starts at the `sigma_max` of the noise of `process`."""

    process: Process
    backend: Backend
    device: torch.device
    options: Sampling
    max_length: int
    """Residues of the longest sequence."""
    constraint: Constraint | None = None
    reuse_scores: bool = True
    """Neither evaluate scores again that are known, nor keep finished sequences in the batch. It changes the cost only;
    without it, every step of every sequence costs one evaluation."""
    never: torch.Tensor | None = None
    """(n,) bool: symbols that are never drawn."""

    def __call__(
        self, network: Network, templates: Sequences, *, seed: int, first: int = 0, report: Report = no_progress
    ) -> Iterator[Sample]:
        """Draw one sequence per template, in their order. Sample i is a function of (seed, i), whatever the batch size.

        Args:
            network: called as `network(tokens, sigma, mask)`.
            templates: arrays of ids; `graph.n` marks the residues to draw.
            seed: of all random numbers.
            first: index of the first sample to return. Earlier ones of its batch are drawn too, so that batches, and
                with them rounding, are those of an uninterrupted call.
            report: called with the number of samples that are done, a fraction while a batch is drawn.

        Raises:
            SamplingError: if the model cannot draw a template, or the predictor does not fit the graph.
        """
        predictor = self.options.predictor
        if PREDICTORS[predictor].needs_mask and not self.process.graph.has_mask:
            raise SamplingError(
                f"predictor={predictor} unmasks residues: it needs a model with graph.type=absorb, and this one has "
                "uniform. Use ancestral",
                about="predictor",
            )
        for index in range(len(templates)):
            template, name = templates[index], f"sequence {index + 1}"
            check_template(template, name, process=self.process, max_length=self.max_length)
        return self._batches(network, templates, seed, first, report)

    def _batches(
        self, network: Network, templates: Sequences, seed: int, first: int, report: Report
    ) -> Iterator[Sample]:
        recorder = recorder_of(self.backend, self.device) if is_selective(network) else None
        if recorder is not None:
            network = RecordedNetwork(network, recorder)
        size = self.options.batch_size
        for start in range(first // size * size, len(templates), size):
            chunk = [np.asarray(templates[index]) for index in range(start, min(start + size, len(templates)))]
            results = self._batch(network, chunk, seed, start, report)
            for index in range(max(first - start, 0), len(chunk)):
                yield Sample(start + index, *results[index])

    @torch.no_grad()
    def _batch(
        self, network: Network, chunk: list[Ids], seed: int, start: int, report: Report
    ) -> dict[int, tuple[Ids, int]]:
        """Tokens and evaluations of the samples `start`, `start` + 1, ... by their index in the chunk."""
        generators = [generator(seed, "sample", start + index) for index in range(len(chunk))]
        batch = SampleBatch(
            chunk, generators, self.process.graph, self.device, self.constraint, drop_finished=self.reuse_scores
        )
        score_model = CachedScoreModel(network, self.process, self.backend, self.options, self.reuse_scores, self.never)
        fixed_beside_noise = not self.process.graph.has_mask and not torch.equal(batch.to_draw, batch.padding_mask)
        sweeps = fixed_beside_noise and self.options.sweeps > 0

        def part(share: float, before: float = 0.0) -> Report:
            return lambda done: report(start + len(chunk) * (before + share * done))

        rates = start_mask_rates(self.process, batch.to_draw.sum(1).cpu(), torch.from_numpy(batch.lengths))
        batch.remove(~batch.to_draw.any(1))
        PREDICTORS[self.options.predictor].denoise(batch, score_model, rates, report=part(0.5 if sweeps else 1.0))
        if sweeps and len(batch):
            gibbs_sweeps(batch, score_model, report=part(0.5, before=0.5))
        batch.remove(torch.ones(len(batch), dtype=torch.bool))
        return batch.results
