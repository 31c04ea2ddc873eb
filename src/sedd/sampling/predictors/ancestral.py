"""`ancestral`: the posterior of the forward process."""

from __future__ import annotations

from torch import Tensor

from sedd.diffusion.graphs import Graph
from sedd.sampling.predictors.steps import StepPredictor


class Ancestral(StepPredictor):
    """p(x_s | x_t) from scores that are normalised to p(x0 | x_t), with unmasking at the rate of the forward process.

    One residue is drawn exactly, whatever the number of steps.
    """

    def transition(self, graph: Graph, log_score: Tensor, x_t: Tensor, sigma_t: Tensor, sigma_s: Tensor) -> Tensor:
        return graph.posterior(log_score, x_t, sigma_t, sigma_s)
