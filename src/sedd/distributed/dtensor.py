"""Access to the local shard of a `DTensor`, without importing `torch.distributed`."""

from __future__ import annotations

from typing import cast

from torch import Tensor


def is_dtensor(tensor: Tensor) -> bool:
    """Whether a tensor is sharded over processes (FSDP2)."""
    return hasattr(tensor, "to_local")


def to_local(tensor: Tensor) -> Tensor:
    """The shard of this process, sharing memory with `tensor`; a tensor that is no `DTensor` is returned as it is."""
    return cast(Tensor, tensor.to_local()) if is_dtensor(tensor) else tensor  # type: ignore[attr-defined]  # a DTensor
