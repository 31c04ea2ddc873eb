"""Tensors of which a process has only a share (DTensors), without importing `torch.distributed`."""

from __future__ import annotations

from typing import cast

from torch import Tensor


def is_shared(tensor: Tensor) -> bool:
    """Whether other processes have other shares of it."""
    return hasattr(tensor, "to_local")


def local(tensor: Tensor) -> Tensor:
    """The share of this process, with the same memory; of a tensor that is not shared, all of it."""
    return cast(Tensor, tensor.to_local()) if is_shared(tensor) else tensor  # type: ignore[attr-defined]  # it is a DTensor
