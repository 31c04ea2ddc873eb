"""Predictors that walk the noise back in steps: `euler`, `analytic`, `ancestral`.

All residues of a step are drawn independently given x_t, so what is drawn tends to the distribution of the model as the
steps grow, with an error that is first order in the step size. One residue alone is drawn exactly by `analytic` and
`ancestral`, whatever the number of steps. The cost is at most one evaluation per step, and one for `noise_removal`;
with a time-free head only steps after which something has changed cost one.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from sedd.diffusion.graphs import Graph
from sedd.sampling.categorical import categorical
from sedd.sampling.evaluations import CachedScoreModel
from sedd.sampling.rows import SampleBatch

Kernel = Callable[[Graph, Tensor, Tensor, Tensor, Tensor], Tensor]
"""`kernel(graph, log_score, x_t, sigma_t, sigma_s)`: weights of x_s, (batch, length, states)."""


def euler(graph: Graph, log_score: Tensor, x_t: Tensor, sigma_t: Tensor, sigma_s: Tensor) -> Tensor:
    """A tau-leaping step (Lou et al. 2024, section 4.1): the reverse rates of sigma_t, held for the whole step.

    Draws from the model in the limit of many steps, even for one residue. One evaluation per step.
    """
    return graph.euler(log_score, x_t, (sigma_t - sigma_s).float())


def analytic(graph: Graph, log_score: Tensor, x_t: Tensor, sigma_t: Tensor, sigma_s: Tensor) -> Tensor:
    """An analytic step (Tweedie; Lou et al. 2024, theorem 4.2): p(x_s | x_t) from the scores as they are.

    Draws from the model in the limit of many steps; one residue exactly if its scores are those of a distribution. The
    same as `ancestral` for `uniform`, and for `absorb` with the normalised head. With `absorb` and the raw `score` head
    it takes the rate at which residues are unmasked from the scores, too, so that a wrong sum of them leaves too
    many masks or too few. One evaluation per step.
    """
    return graph.tweedie(log_score, x_t, sigma_t - sigma_s)


def ancestral(graph: Graph, log_score: Tensor, x_t: Tensor, sigma_t: Tensor, sigma_s: Tensor) -> Tensor:
    """The posterior p(x_s | x_t) of each residue, with scores normalised to p(x0 | x_t) and unmasking at the process's
    own rate.

    Draws from the model in the limit of many steps; one residue exactly. One evaluation per step.
    """
    return graph.posterior(log_score, x_t, sigma_t, sigma_s)


KERNELS: dict[str, Kernel] = {"euler": euler, "analytic": analytic, "ancestral": ancestral}


def walk(
    rows: SampleBatch, evaluate: CachedScoreModel, levels: Tensor, *, kernel: Kernel, report: Callable[[float], None]
) -> None:
    """Take all rows down the columns of `levels`, (rows at the start, steps + 1)."""
    steps = levels.shape[1] - 1
    for step in range(steps):
        rows.retire_finished()
        if not len(rows):
            return
        sigma_t, sigma_s = levels[rows.places, step], levels[rows.places, step + 1]
        scores = evaluate(rows, sigma_t)
        # An inexact step onto sigma = 0 could leave masks behind; the posterior leaves none.
        chosen = ancestral if bool((sigma_s == 0).all()) else kernel
        weights = chosen(rows.graph, scores, rows.tokens, *(_to(level, rows.device) for level in (sigma_t, sigma_s)))
        rows.advance(categorical(torch.log(weights), rows.uniforms()))
        report((step + 1) / steps)


def _to(level: Tensor, device: torch.device) -> Tensor:
    """In float64 where the device has it: differences of neighbouring levels matter."""
    return level.float().to(device) if device.type == "mps" else level.to(device)
