"""Predictors that lower the noise in a fixed number of steps.

All positions of a step are drawn independently given x_t, so the samples tend to the distribution of the model as the
steps grow, with an error that is first order in the step size. The cost is at most one evaluation per step, and one for
`noise_removal`; with a network that does not see sigma, only steps after a change cost one.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import ClassVar

import torch
from torch import Tensor

from sedd.diffusion.graphs import Graph
from sedd.sampling.cached_score_model import CachedScoreModel
from sedd.sampling.categorical import categorical
from sedd.sampling.levels import noise_levels
from sedd.sampling.predictors.base import Predictor, Report
from sedd.sampling.sample_batch import SampleBatch


class StepPredictor(Predictor):
    """Draws x_s from x_t, step by step, with sigma_s < sigma_t."""

    parameters: ClassVar[tuple[str, ...]] = ("steps",)

    @abstractmethod
    def transition(self, graph: Graph, log_score: Tensor, x_t: Tensor, sigma_t: Tensor, sigma_s: Tensor) -> Tensor:
        """Unnormalised p(x_s | x_t) of each position, (batch, length, states).

        Args:
            graph: the forward process.
            log_score: (batch, length, n) at x_t and sigma_t.
            x_t: (batch, length) noisy tokens.
            sigma_t: (batch,) noise before the step, float64 where the device has it.
            sigma_s: (batch,) noise after the step, likewise.
        """

    def denoise(
        self, batch: SampleBatch, score_model: CachedScoreModel, start_rates: Tensor, *, report: Report
    ) -> None:
        graph, options = score_model.process.graph, score_model.options
        levels = noise_levels(
            score_model.process.noise, start_rates, steps=options.steps, removal=options.noise_removal
        )
        steps = levels.shape[1] - 1
        for step in range(steps):
            batch.remove_finished()
            if not len(batch):
                return
            sigma_t, sigma_s = levels[batch.indices, step], levels[batch.indices, step + 1]
            log_score = score_model(batch, sigma_t)
            removes_all = bool((sigma_s == 0).all())
            sigma_t, sigma_s = _to(sigma_t, batch.device), _to(sigma_s, batch.device)
            if removes_all:  # an approximate step onto sigma = 0 could leave masks; the posterior leaves none
                weights = graph.posterior(log_score, batch.tokens, sigma_t, sigma_s)
            else:
                weights = self.transition(graph, log_score, batch.tokens, sigma_t, sigma_s)
            log_weights = torch.log(weights)
            if step == steps - 1:
                log_weights = score_model.drawable(log_weights)
            batch.update(categorical(log_weights, batch.uniforms()))
            report((step + 1) / steps)


def _to(sigma: Tensor, device: torch.device) -> Tensor:
    """In float64 where the device has it, since differences of neighbouring levels matter."""
    return sigma.float().to(device) if device.type == "mps" else sigma.to(device)
