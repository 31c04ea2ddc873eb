"""`euler`: tau-leaping (Lou et al. 2024, section 4.1)."""

from __future__ import annotations

from torch import Tensor

from sedd.diffusion.graphs import Graph
from sedd.sampling.predictors.steps import StepPredictor


class Euler(StepPredictor):
    """Holds the reverse rates of sigma_t for the complete step.

    p(x_s = y | x_t) = (sigma_t - sigma_s) Q(x_t, y) s_y for y != x_t. First order in the step size, even for one
    residue.
    """

    def transition(self, graph: Graph, log_score: Tensor, x_t: Tensor, sigma_t: Tensor, sigma_s: Tensor) -> Tensor:
        return graph.euler(log_score, x_t, (sigma_t - sigma_s).float())
