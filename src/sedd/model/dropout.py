"""Dropout whose masks are a pure function of a key per sequence.

So they do not depend on how a step is split into micro-batches, on the device, or on compilation. They cost a few
integer operations per activation, which compile into the kernels around them. The hash multiplies and shifts 32-bit
integers that overflow (constants: `lowbias32`, Wellons 2018).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from sedd.model.segments import Segments

_GOLDEN = -1640531527
"""2^32 divided by the golden ratio, as a signed number."""
_MULTIPLIERS = (0x7FEB352D, 0x846CA68B - (1 << 32))


def dropout_bits(tokens: Tensor, keys: Tensor | None, count: int, segments: Segments | None = None) -> list[Tensor]:
    """`count` independent tensors (batch, length, 1) of int32 random bits, one for each position.

    Args:
        tokens: (batch, length), for shape and device.
        keys: (sequences,) int64 below 2^31; None draws them from torch's generator.
        count: number of tensors, one for each block of the network.
        segments: of a packed row; None where each row is a sequence.
    """
    batch, length = tokens.shape
    if keys is None:
        sequences = batch if segments is None else len(segments.starts) - 1
        keys = torch.randint(1 << 31, (sequences,), device=tokens.device)
    hashed = _mixed(keys.to(torch.int32))
    if segments is None:
        hashed, places = hashed[:, None], torch.arange(length, device=tokens.device, dtype=torch.int32)
    else:
        hashed, places = hashed[segments.sequence][None], segments.position.to(torch.int32)
    numbers = torch.arange(1, count + 1, device=tokens.device, dtype=torch.int32) * _MULTIPLIERS[0]
    rows = _mixed(hashed ^ (places * _GOLDEN))
    return list(_mixed(rows[None, ..., None] ^ numbers[:, None, None, None]))


class Dropout(nn.Module):
    """Zeroes a share `p` of the activations and scales the others by 1 / (1 - p)."""

    def __init__(self, p: float) -> None:
        super().__init__()
        self.p = p
        self.threshold = round(p * 2**31)

    def forward(self, x: Tensor, bits: Tensor | None) -> Tensor:
        """Drop activations of x (..., size) by the random `bits` (..., 1) int32; None switches dropout off."""
        if bits is None:
            return x
        columns = torch.arange(x.shape[-1], device=x.device, dtype=torch.int32) * _GOLDEN
        mixed = (bits ^ columns) * _MULTIPLIERS[0]
        mixed = (mixed ^ _shifted(mixed, 15)) * _MULTIPLIERS[1]
        # Below the threshold the difference is negative, and its sign bit, shifted down, is -1. Not bools: kernels
        # compiled for CPUs read and write those slowly.
        kept = 1.0 + ((_shifted(mixed, 1) - self.threshold) >> 31).to(x.dtype)
        return x * (kept * (1.0 / (1.0 - self.p)))


def _mixed(bits: Tensor) -> Tensor:
    """Every bit of the result depends on every bit; a bijection of int32."""
    bits = (bits ^ _shifted(bits, 16)) * _MULTIPLIERS[0]
    bits = (bits ^ _shifted(bits, 15)) * _MULTIPLIERS[1]
    return bits ^ _shifted(bits, 16)


def _shifted(bits: Tensor, by: int) -> Tensor:
    """Shift `bits` right by `by`, filling with zeros."""
    return (bits >> by) & ((1 << (32 - by)) - 1)
