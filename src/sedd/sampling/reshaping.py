"""Temperature and top-p: options that change the distribution, and say so.

Both act on p(x0 | the other residues), what the network believes a clean residue to be, for either graph; the scores
that go with the new belief follow in closed form. So they mean the same for every predictor.
"""

from __future__ import annotations

import torch
from torch import Tensor

from sedd.diffusion.graphs import Graph


def reshaped(
    log_score: Tensor, x_t: Tensor, sigma: Tensor, *, graph: Graph, temperature: float = 1.0, top_p: float = 1.0
) -> Tensor:
    """Log-scores, (batch, length, n), with p(x0 | others) reshaped; untouched at temperature 1 and top-p 1."""
    if temperature == 1.0 and top_p == 1.0:
        return log_score
    letters = torch.softmax(torch.log(graph.x0_probabilities(log_score, sigma)) / temperature, -1)
    return graph.score_with_x0(nucleus(letters, top_p), log_score, x_t, sigma)


def nucleus(p: Tensor, share: float) -> Tensor:
    """The likeliest symbols that together have at least `share`, and no other; sums to 1 (Holtzman et al. 2020)."""
    ordered, place = p.sort(-1, descending=True)
    kept = torch.where(ordered.cumsum(-1) - ordered < share, ordered, 0.0)  # the likeliest one always stays
    kept = kept / kept.sum(-1, keepdim=True)
    return torch.zeros_like(p).scatter(-1, place, kept)
