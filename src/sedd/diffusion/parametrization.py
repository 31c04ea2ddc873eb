"""From what the network puts out to log-scores over the real symbols, (batch, length, n), in float32.

* `normalised`: the output is logits of p(x0 | x_t); the score follows in closed form. For `absorb` it is
  p(y) / (e^sigma - 1), and the loss becomes a weighted cross-entropy. For `uniform` the logits are those of the letter
  *given the other residues*, w, and s_y = (n w_y + e^sigma - 1) / (n w_x + e^sigma - 1): what the residue itself says
  is added analytically, and the score tends to 1 at high noise whatever the network does.
* `score`: the output is the log-score itself, as in the published SEDD network.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from sedd.config.sections import Model
from sedd.diffusion.graphs import Absorb, Graph, log_expm1
from sedd.errors import ConfigError

Network = Callable[..., Tensor]
"""Anything called as `network(tokens (B, L), sigma (B,), mask (B, L) or None)` that returns (B, L, outputs)."""


def outputs(graph: Graph, model: Model) -> int:
    """How many numbers per residue the network puts out."""
    return graph.n if model.head == "normalised" else graph.states


def check_output(output: Tensor, x_t: Tensor, *, graph: Graph, model: Model) -> None:
    """Hold what a network returned for `x_t` to its shape.

    Raises:
        ConfigError: if it is another one.
    """
    if output.shape != (expected := (*x_t.shape, outputs(graph, model))):
        raise ConfigError(
            f"the network returned shape {tuple(output.shape)}; model.head={model.head} with this alphabet needs "
            f"(batch, length, outputs) = {expected}",
            keys=["model.head"],
        )


def log_score(output: Tensor, x_t: Tensor, sigma: Tensor, *, graph: Graph, model: Model) -> Tensor:
    """Log-scores from the network's `output`, (batch, length, `outputs`); always float32."""
    check_output(output, x_t, graph=graph, model=model)
    output = output.float()
    log_odds = log_expm1(sigma)[:, None, None]
    absorb = isinstance(graph, Absorb)
    if model.head == "score":
        if not absorb:  # the ratio of a residue to itself is 1, whatever the network says
            return output.scatter(-1, x_t[..., None], 0.0)
        return output[..., : graph.n] - (log_odds + math.log(graph.n) if model.scale_by_sigma else 0.0)
    log_p = torch.log_softmax(output, -1)
    if absorb:
        return log_p - log_odds
    # Divided by e^sigma - 1 above and below: at high noise both are 1 and a little, and the little is what counts.
    marginal = F.softplus(log_p + math.log(graph.n) - log_odds)
    return marginal - marginal.gather(-1, x_t[..., None])
