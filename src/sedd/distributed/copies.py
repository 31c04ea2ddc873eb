"""Copies of a network that share no memory with it."""

from __future__ import annotations

import copy
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn


@torch.no_grad()
def copy_with_parameters(network: nn.Module, parameters: Iterable[Tensor], buffers: Iterable[Tensor]) -> nn.Module:
    """A deep copy of `network`, frozen, with these tensors as its parameters and copies of these buffers.

    Both are in the order of `network.parameters()` and `network.buffers()`.
    """
    memo: dict[int, Any] = {
        id(old): nn.Parameter(new, requires_grad=False)
        for old, new in zip(network.parameters(), parameters, strict=True)
    }
    copied = copy.deepcopy(network, memo)
    for buffer, current in zip(copied.buffers(), buffers, strict=True):
        buffer.copy_(current)
    return copied
