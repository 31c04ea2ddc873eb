"""Temperature, top-p and symbols that must not be drawn, which change the distribution.

All of them act on p(x0 | the other positions), the network's distribution of a clean residue, for either graph; the
scores that belong to the changed distribution follow in closed form. So they mean the same for every predictor.
"""

from __future__ import annotations

import torch
from torch import Tensor

from sedd.diffusion.graphs import Graph

LEAST_LOG = -80.0
"""Of a log-probability, in nats: below anything that float32 keeps in a sum."""


def apply_temperature(
    log_score: Tensor,
    x_t: Tensor,
    sigma: Tensor,
    *,
    graph: Graph,
    temperature: float = 1.0,
    top_p: float = 1.0,
    never: Tensor | None = None,
) -> Tensor:
    """Log-scores with p(x0 | others) replaced; unchanged at temperature 1 and top-p 1 without `never`.

    p becomes 0 at the symbols `never` and proportional to p^(1/temperature) at the others, then only its nucleus of the
    share `top_p` is kept.

    Args:
        log_score: (batch, length, n), of the noisy tokens.
        x_t: (batch, length) noisy tokens.
        sigma: (batch,) their noise.
        graph: the forward process.
        temperature: above 0.
        top_p: in (0, 1].
        never: (n,) bool, symbols that have probability 0; not all of them.
    """
    if temperature == 1.0 and top_p == 1.0 and never is None:
        return log_score
    log_p = torch.log(graph.x0_probabilities(log_score, sigma))
    if never is not None:
        # The least log-probability keeps the softmax finite where the network gives all of its mass to `never`.
        log_p = log_p.clamp(min=LEAST_LOG).masked_fill(never.to(log_p.device), -torch.inf)
    p = torch.softmax(log_p / temperature, -1)
    return graph.score_with_x0(nucleus(p, top_p), log_score, x_t, sigma)


def nucleus(p: Tensor, share: float) -> Tensor:
    """`p` (..., n) of the likeliest symbols that together have at least `share`, normalised (Holtzman et al. 2020)."""
    ordered, symbols = p.sort(-1, descending=True)
    kept = torch.where(ordered.cumsum(-1) - ordered < share, ordered, 0.0)  # the likeliest one always stays
    kept = kept / kept.sum(-1, keepdim=True)
    return torch.zeros_like(p).scatter(-1, symbols, kept)
