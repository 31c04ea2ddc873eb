"""Attention with rotary embeddings (Su et al. 2021), in the way that is fast where it runs."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Rotary(nn.Module):
    """Cosines and sines of the rotary embedding, (length, head_dim / 2), float32."""

    inv_freq: Tensor

    def __init__(self, head_dim: int) -> None:
        super().__init__()
        self.register_buffer("inv_freq", 10_000.0 ** (-torch.arange(0, head_dim, 2).float() / head_dim))

    def forward(self, length: int) -> tuple[Tensor, Tensor]:
        positions = torch.arange(length, dtype=torch.float32, device=self.inv_freq.device)
        angles = torch.outer(positions, self.inv_freq)
        return angles.cos(), angles.sin()


class PaddingMask(NamedTuple):
    """Which places are residues and not pads, for attention."""

    mask: Tensor
    """(batch, length), 1.0 at residues and 0.0 at pads."""
    ends: Tensor | None
    """(2 batch + 1,) int32: where residues and pads of each row begin, in the flattened batch. None where attention
    takes the mask."""


def padding_mask(mask: Tensor | None) -> PaddingMask | None:
    """Of a (batch, length) mask that is False at pads, which are at the end of each row; None if there are none."""
    if mask is None:
        return None
    return PaddingMask(mask.float(), _cu_seqlens(mask) if _varlen(mask.device) else None)


def _cu_seqlens(mask: Tensor) -> Tensor:
    batch, length = mask.shape
    starts = torch.arange(0, batch * length + 1, length, device=mask.device)
    pads = starts[:-1] + mask.sum(1)
    return torch.cat([torch.stack([starts[:-1], pads], 1).flatten(), starts[-1:]]).int()


def _varlen(device: torch.device) -> bool:
    """Whether attention is faster told where rows end: on NVIDIA's chips just before Hopper (8.x).

    There a mask shuts out FlashAttention; from Hopper on torch takes that of cuDNN, which has masks and is faster.
    """
    if device.type != "cuda" or torch.version.hip is not None:
        return False
    return torch.cuda.get_device_capability(device)[0] == 8


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotate pairs (i, i + head_dim/2) of x (..., head_dim) by their positions' angles."""
    left, right = x.chunk(2, -1)
    return torch.cat([left * cos - right * sin, right * cos + left * sin], -1)


def attend(qkv: Tensor, angles: tuple[Tensor, Tensor], seen: PaddingMask | None, *, fused: bool) -> Tensor:
    """Attention to what is `seen`, with rotary embeddings.

    Args:
        qkv: (batch, length, 3, heads, head_dim).
        angles: of `Rotary`.
        seen: which keys count; None means all.
        fused: by torch's own attention, not by matrix products.

    Returns:
        (batch, length, heads, head_dim).
    """
    cos, sin = (part.to(qkv.dtype) for part in angles)
    return _fused(qkv, cos[:, None], sin[:, None], seen) if fused else _products(qkv, cos, sin, seen)


def _fused(qkv: Tensor, cos: Tensor, sin: Tensor, seen: PaddingMask | None) -> Tensor:
    q, k, v = qkv.unbind(2)
    q, k = rotate(q, cos, sin), rotate(k, cos, sin)
    half = q.dtype in (torch.bfloat16, torch.float16)
    if seen is not None and seen.ends is not None and half and q.shape[-1] % 8 == 0 and q.shape[-1] <= 256:
        # Residues and pads of a row are two sequences to it.
        from torch.nn.attention.varlen import varlen_attn

        flat = q.flatten(0, 1), k.flatten(0, 1), v.flatten(0, 1)
        mixed = varlen_attn(*flat, seen.ends, seen.ends, q.shape[1], q.shape[1])
        assert isinstance(mixed, Tensor)  # noqa: S101  # tells the type checker
        return mixed.view(q.shape)
    mask = None if seen is None else seen.mask[:, None, None, :].bool()
    q, k, v = (each.transpose(1, 2) for each in (q, k, v))
    return F.scaled_dot_product_attention(q, k, v, mask).transpose(1, 2)


def _products(qkv: Tensor, cos: Tensor, sin: Tensor, seen: PaddingMask | None) -> Tensor:
    q, k, v = qkv.permute(2, 0, 3, 1, 4).unbind(0)
    q, k = rotate(q, cos, sin) * q.shape[-1] ** -0.5, rotate(k, cos, sin)
    if seen is not None and torch.compiler.is_compiling():
        once: Tensor = FusedCpuAttention.apply(q, k, v, seen.mask)  # type: ignore[no-untyped-call]  # torch leaves it untyped
        return once.transpose(1, 2)
    weights = q @ k.transpose(-1, -2)
    if seen is not None:
        weights = weights.masked_fill(seen.mask[:, None, None, :] == 0.0, -torch.inf)
    # In the type of the products: the sum is float32 inside, and half as much goes through memory.
    mixed: Tensor = torch.softmax(weights, -1, dtype=weights.dtype) @ v
    return mixed.transpose(1, 2)


class FusedCpuAttention(torch.autograd.Function):
    """Attention as products around kernels that go over the weights once, each way, when compiled for CPUs.

    The weights are divided by their sum after they are applied, and the backward pass needs the sum of gradient times
    result only, not that of gradient times weights (as in FlashAttention, Dao et al. 2022, section 3.1).
    """

    @staticmethod
    def forward(ctx: Any, q: Tensor, k: Tensor, v: Tensor, seen: Tensor) -> Tensor:
        """Of (batch, heads, length, head_dim), for a scaled `q`; `seen` is the mask of `PaddingMask`."""
        seen = seen[:, None, None, :]
        logits = (q @ k.transpose(-1, -2)).float() + (seen - 1.0) * 1e30  # not bools, which are slow when compiled
        wide = torch.exp(logits - logits.amax(-1, keepdim=True))
        weights = wide.to(v.dtype)
        # What is not seen is 0 already, but only a sum that reads `seen` comes into the loop that makes the weights.
        scale = 1.0 / (wide * seen).sum(-1, keepdim=True)
        mixed = ((weights @ v).float() * scale).to(v.dtype)
        ctx.save_for_backward(q, k, v, weights, scale, mixed)
        return mixed

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:
        """Of `q`, `k` and `v`."""
        q, k, v, weights, scale, mixed = ctx.saved_tensors
        wide = grad.float() * scale
        total = (wide * mixed.float()).sum(-1, keepdim=True)
        scaled = wide.to(v.dtype)
        of_weights = (scaled @ v.transpose(-1, -2)).float()
        of_logits = (weights.float() * (of_weights - total)).to(v.dtype)
        return of_logits @ k, of_logits.transpose(-1, -2) @ q, weights.transpose(-1, -2) @ scaled, None
