"""Self-attention with rotary embeddings (Su et al. 2021), by the implementation that is fast on the device."""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sedd.model.kernels import FusedCpuAttention
from sedd.model.segments import Segments
from sedd.model.varlen import has_varlen, takes_varlen, varlen_attention


class Rotary(nn.Module):
    """Cosines and sines of the rotary embedding."""

    inv_freq: Tensor

    def __init__(self, head_dim: int) -> None:
        super().__init__()
        self.register_buffer("inv_freq", 10_000.0 ** (-torch.arange(0, head_dim, 2).float() / head_dim))

    def forward(self, length: int) -> tuple[Tensor, Tensor]:
        """Cosines and sines of positions 0 .. length - 1, (length, head_dim / 2) each, float32."""
        positions = torch.arange(length, dtype=torch.float32, device=self.inv_freq.device)
        angles = torch.outer(positions, self.inv_freq)
        return angles.cos(), angles.sin()


class PaddingMask(NamedTuple):
    """Which positions are residues and which are padding, in the forms that attention takes."""

    mask: Tensor
    """(batch, length) float, 1.0 at residues and 0.0 at padding."""
    cu_seqlens: Tensor | None
    """(2 batch + 1,) int32 offsets into the flattened batch: where the residues and the padding of each row begin. None
    where attention takes `mask`."""


def padding_mask(mask: Tensor | None) -> PaddingMask | None:
    """From a (batch, length) bool mask that is False at padding, which ends each row; None where there is none."""
    if mask is None:
        return None
    return PaddingMask(mask.float(), _cu_seqlens(mask) if _prefers_varlen(mask.device) else None)


def _cu_seqlens(mask: Tensor) -> Tensor:
    batch, length = mask.shape
    starts = torch.arange(0, batch * length + 1, length, device=mask.device)
    padding = starts[:-1] + mask.sum(1)
    return torch.cat([torch.stack([starts[:-1], padding], 1).flatten(), starts[-1:]]).int()


def _prefers_varlen(device: torch.device) -> bool:
    """Whether attention is faster with offsets of rows than with a mask: on NVIDIA GPUs just before Hopper (8.x).

    There a mask rules out FlashAttention. From Hopper on torch takes cuDNN's attention, which has masks and is faster.
    """
    return has_varlen(device) and torch.cuda.get_device_capability(device)[0] == 8


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotate pairs (i, i + head_dim/2) of x (..., head_dim) by the angles of their positions."""
    left, right = x.chunk(2, -1)
    return torch.cat([left * cos - right * sin, right * cos + left * sin], -1)


Layout = PaddingMask | Segments | None
"""How sequences lie in a batch: in padded rows, one after the other in a single row, or in rows without padding."""


def attend(qkv: Tensor, angles: tuple[Tensor, Tensor], layout: Layout, *, fused: bool) -> Tensor:
    """Self-attention over residues, with rotary embeddings.

    Args:
        qkv: (batch, length, 3, heads, head_dim).
        angles: cosines and sines of `Rotary`, of as many positions as the longest sequence has.
        layout: which keys belong to a sequence.
        fused: use torch's scaled dot-product attention instead of matrix products.

    Returns:
        (batch, length, heads, head_dim).
    """
    cos, sin = (part.to(qkv.dtype) for part in angles)
    if not isinstance(layout, Segments):
        return _sdpa(qkv, cos[:, None], sin[:, None], layout) if fused else _matmul(qkv, cos, sin, layout)
    if fused and has_varlen(qkv.device) and takes_varlen(qkv):
        q, k, v = qkv[0].unbind(1)
        cos, sin = (part[layout.position, None] for part in (cos, sin))
        return varlen_attention(rotate(q, cos, sin), rotate(k, cos, sin), v, layout.cu_seqlens, layout.longest)[None]
    rows = attend(layout.to_rows(qkv), angles, PaddingMask(layout.row_mask().float(), None), fused=fused)
    return layout.from_rows(rows)


def _sdpa(qkv: Tensor, cos: Tensor, sin: Tensor, padding: PaddingMask | None) -> Tensor:
    q, k, v = qkv.unbind(2)
    q, k = rotate(q, cos, sin), rotate(k, cos, sin)
    if padding is not None and padding.cu_seqlens is not None and takes_varlen(q):
        # The residues and the padding of a row are two sequences to this kernel.
        flat = q.flatten(0, 1), k.flatten(0, 1), v.flatten(0, 1)
        return varlen_attention(*flat, padding.cu_seqlens, q.shape[1]).view(q.shape)
    mask = None if padding is None else padding.mask[:, None, None, :].bool()
    q, k, v = (part.transpose(1, 2) for part in (q, k, v))
    return F.scaled_dot_product_attention(q, k, v, mask).transpose(1, 2)


def _matmul(qkv: Tensor, cos: Tensor, sin: Tensor, padding: PaddingMask | None) -> Tensor:
    q, k, v = qkv.permute(2, 0, 3, 1, 4).unbind(0)
    q, k = rotate(q, cos, sin) * q.shape[-1] ** -0.5, rotate(k, cos, sin)
    if padding is not None and torch.compiler.is_compiling():
        fused: Tensor = FusedCpuAttention.apply(q, k, v, padding.mask)  # type: ignore[no-untyped-call]  # torch leaves it untyped
        return fused.transpose(1, 2)
    weights = q @ k.transpose(-1, -2)
    if padding is not None:
        weights = weights.masked_fill(padding.mask[:, None, None, :] == 0.0, -torch.inf)
    # Softmax in the type of the products: the sum is float32 inside, and half as much goes through memory.
    mixed: Tensor = torch.softmax(weights, -1, dtype=weights.dtype) @ v
    return mixed.transpose(1, 2)
