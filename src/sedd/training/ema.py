"""Exponential moving average of the weights, kept in a copy of the network that nothing trains."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from sedd.config.sections import Ema
from sedd.distributed.dtensor import local


class EmaNetwork:
    """A frozen copy of a network that follows it.

    The copy is what evaluation and sampling run; the weights of the live network are never swapped.
    """

    def __init__(self, network: nn.Module, config: Ema) -> None:
        self.network = copy.deepcopy(network).eval().requires_grad_(False)
        self.config = config
        self.updates = 0

    def decay(self) -> float:
        """The decay of the next update."""
        if not self.config.warmup:
            return self.config.decay
        return min(self.config.decay, (1 + self.updates) / (10 + self.updates))

    @torch.no_grad()
    def update(self, network: nn.Module) -> None:
        """Move towards `network`; call once per optimizer step."""
        mine: list[Tensor] = [local(parameter) for parameter in self.network.parameters()]
        live: list[Tensor] = [local(parameter) for parameter in network.parameters()]
        # One kernel for all tensors; torch has no public name for it (its own optimizers use this one).
        torch._foreach_lerp_(mine, live, 1.0 - self.decay())
        for own, theirs in zip(self.network.buffers(), network.buffers(), strict=True):
            own.copy_(theirs)
        self.updates += 1
