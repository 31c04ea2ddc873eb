"""Exponential moving average (EMA) of the weights, kept in a frozen copy of the network."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from sedd.config.averaging import decay_at, initial_share
from sedd.config.sections import Ema
from sedd.distributed.dtensor import to_local


class EmaNetwork:
    """A frozen copy of a network whose weights are the EMA of the trained ones.

    Evaluation and sampling run this copy; the weights of the trained network are never swapped.
    """

    def __init__(self, network: nn.Module, config: Ema) -> None:
        self.network = copy.deepcopy(network).eval().requires_grad_(False)
        self.config = config
        self.updates = 0

    def decay(self) -> float:
        """The decay of the next update."""
        return decay_at(self.config, self.updates)

    @property
    def initial_share(self) -> float:
        """Weight of the untrained weights in the average, 0 to 1."""
        return initial_share(self.config, self.updates)

    @torch.no_grad()
    def update(self, network: nn.Module, *, skip: Tensor | None = None) -> None:
        """Update from the trained `network`; call once per optimizer step. Buffers are copied, not averaged.

        Args:
            network: the trained network.
            skip: scalar on the device; above 0, the average stays as it is. None: it does not.
        """
        # ema <- decay * ema + (1 - decay) * weights
        averages: list[Tensor] = [to_local(parameter) for parameter in self.network.parameters()]
        weights: list[Tensor] = [to_local(parameter) for parameter in network.parameters()]
        share = 1.0 - self.decay()
        # One kernel for all tensors; torch has no public name for it (its own optimizers use it).
        if skip is None:
            torch._foreach_lerp_(averages, weights, share)
        else:  # that kernel takes its weight from the host
            changes = torch._foreach_sub(weights, averages)
            torch._foreach_mul_(changes, share * (skip == 0.0))
            torch._foreach_add_(averages, changes)
        for copied, buffer in zip(self.network.buffers(), network.buffers(), strict=True):
            copied.copy_(buffer)
        self.updates += 1
