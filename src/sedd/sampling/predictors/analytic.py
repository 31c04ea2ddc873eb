"""`analytic`: Tweedie's formula (Lou et al. 2024, theorem 4.2)."""

from __future__ import annotations

from torch import Tensor

from sedd.diffusion.graphs import Graph
from sedd.sampling.predictors.steps import StepPredictor


class Analytic(StepPredictor):
    """p(x_s | x_t) from the scores without normalising them.

    One residue is drawn exactly if its scores are those of a distribution. Equal to `ancestral` for `uniform`, and for
    `absorb` with the normalised head. With `absorb` and the raw `score` head the rate of unmasking is taken from the
    scores too, so that a wrong sum of them leaves too many masks or too few.
    """

    def transition(self, graph: Graph, log_score: Tensor, x_t: Tensor, sigma_t: Tensor, sigma_s: Tensor) -> Tensor:
        return graph.tweedie(log_score, x_t, sigma_t - sigma_s)
