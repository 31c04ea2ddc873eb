"""Which positions are evaluated: those that contribute to the loss, and others that fill up their number."""

from __future__ import annotations

import torch
from torch import Tensor


def positions_first(contributes: Tensor, multiple: int | None = None) -> tuple[Tensor, int]:
    """`CorruptedBatch.positions` and `count`, from (positions,) bool: whether each contributes to the loss.

    Their number is rounded up to a `multiple`, by default to one of `bucketed_length`.
    """
    count, total = int(contributes.sum()), len(contributes)
    chosen = bucketed_length(count, total) if multiple is None else min(total, max(1, -(-count // multiple)) * multiple)
    # A stable sort puts the contributing positions first and keeps their order; no position comes twice.
    return torch.argsort(~contributes, stable=True)[:chosen], count


def bucketed_length(count: int, positions: int) -> int:
    """Round `count` up by at most a 32nd of all `positions`, or 8.

    Libraries keep a kernel for each shape they meet (oneDNN: 0.3 MB), so that shapes must recur.
    """
    step = max(8, 1 << (positions // 32).bit_length() - 1) if positions >= 32 else 8
    return min(positions, max(1, -(-count // step)) * step)
