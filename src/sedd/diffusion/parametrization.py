"""From the network's output to log-scores over the n symbols, (batch, length, n), float32.

* `normalised`: the output is logits of p(x0 | the other positions of x_t), and the score follows in closed form. For
  `absorb` it is p(y) / (e^sigma - 1), and the loss becomes a weighted cross-entropy. For `uniform` it is
  s_y = (n p_y + e^sigma - 1) / (n p_x + e^sigma - 1): the evidence of the residue itself is added analytically, and the
  score tends to 1 at high noise whatever the network does.
* `score`: the output is the log-score itself, as in the published SEDD network.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from sedd.diffusion.graphs import Graph
from sedd.errors import ConfigError
from sedd.plugins import contracts

Network = Callable[..., Tensor]
"""Anything called as `network(tokens (B, L), sigma (B,), mask (B, L) or None)` that returns (B, L, outputs)."""


@dataclass(frozen=True)
class Parametrization:
    """What a network is conditioned on and what its output means; the keys of the `model` section with these names."""

    head: Literal["normalised", "score"] = "normalised"
    scale_by_sigma: bool = True
    time_conditioning: bool = True

    @staticmethod
    def of(model: contracts.Network) -> Parametrization:
        """The parametrization that the `model` section of a run file asks for."""
        return Parametrization(model.head, model.scale_by_sigma, model.time_conditioning)

    def outputs(self, graph: Graph) -> int:
        """Numbers per residue in the network's output."""
        return graph.n if self.head == "normalised" else graph.states

    def check_output(self, output: Tensor, x_t: Tensor, graph: Graph) -> None:
        """Check the shape of the network's `output` for `x_t` (batch, length).

        Raises:
            ConfigError: if it is not (batch, length, `outputs`).
        """
        if output.shape != (expected := (*x_t.shape, self.outputs(graph))):
            raise ConfigError(
                f"the network returned shape {tuple(output.shape)}; model.head={self.head} with this alphabet needs "
                f"(batch, length, outputs) = {expected}",
                keys=["model.head"],
            )

    def log_score(self, output: Tensor, x_t: Tensor, sigma: Tensor, graph: Graph) -> Tensor:
        """Log-scores (batch, length, n), float32, from the network's `output` (batch, length, `outputs`).

        Args:
            output: of the network at `x_t` and `sigma`.
            x_t: (batch, length) noisy tokens.
            sigma: (batch,) cumulative noise.
            graph: the forward process.
        """
        self.check_output(output, x_t, graph)
        output = output.float()
        if self.head == "score":
            return graph.score_from_output(output, x_t, sigma, scale_by_sigma=self.scale_by_sigma)
        return graph.score_from_x0(torch.log_softmax(output, -1), x_t, sigma)
