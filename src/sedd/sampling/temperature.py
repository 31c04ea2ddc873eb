"""Temperature and top-p, which change the distribution.

Both act on p(x0 | the other positions), the network's distribution of a clean residue, for either graph; the scores
that belong to the changed distribution follow in closed form. So they mean the same for every predictor.
"""

from __future__ import annotations

import torch
from torch import Tensor

from sedd.diffusion.graphs import Graph


def apply_temperature(
    log_score: Tensor, x_t: Tensor, sigma: Tensor, *, graph: Graph, temperature: float = 1.0, top_p: float = 1.0
) -> Tensor:
    """Log-scores, (batch, length, n), with p(x0 | others) replaced; unchanged at temperature 1 and top-p 1.

    Args:
        log_score: (batch, length, n).
        x_t: (batch, length) noisy tokens.
        sigma: (batch,) float32.
        graph: the forward process.
        temperature: p becomes proportional to p^(1/temperature).
        top_p: then only the nucleus of this share is kept.
    """
    if temperature == 1.0 and top_p == 1.0:
        return log_score
    p = torch.softmax(torch.log(graph.x0_probabilities(log_score, sigma)) / temperature, -1)
    return graph.score_with_x0(nucleus(p, top_p), log_score, x_t, sigma)


def nucleus(p: Tensor, share: float) -> Tensor:
    """`p` (..., n) of the likeliest symbols that together have at least `share`, normalised (Holtzman et al. 2020)."""
    ordered, symbols = p.sort(-1, descending=True)
    kept = torch.where(ordered.cumsum(-1) - ordered < share, ordered, 0.0)  # the likeliest one always stays
    kept = kept / kept.sum(-1, keepdim=True)
    return torch.zeros_like(p).scatter(-1, symbols, kept)
