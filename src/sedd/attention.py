"""Attention with rotary embeddings (Su et al. 2021), in the way that is fast where it runs."""

from __future__ import annotations

from typing import Any

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


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotate pairs (i, i + head_dim/2) of x (batch, heads, length, head_dim) by their positions' angles."""
    left, right = x.chunk(2, -1)
    return torch.cat([left * cos - right * sin, right * cos + left * sin], -1)


def attend(q: Tensor, k: Tensor, v: Tensor, seen: Tensor | None, *, fused: bool) -> Tensor:
    """Attention over (batch, heads, length, head_dim), to the keys where `seen` (batch, length) is 1.0 and not 0.0."""
    if fused:
        mask = None if seen is None else seen[:, None, None, :].bool()
        fast: Tensor = F.scaled_dot_product_attention(q, k, v, mask)
        return fast
    q = q * q.shape[-1] ** -0.5
    if seen is not None and torch.compiler.is_compiling():
        once: Tensor = OnePass.apply(q, k, v, seen)  # type: ignore[no-untyped-call]  # torch leaves it untyped
        return once
    weights = q @ k.transpose(-1, -2)
    if seen is not None:
        weights = weights.masked_fill(seen[:, None, None, :] == 0.0, -torch.inf)
    # In the type of the products: the sum is float32 inside, and half as much goes through memory.
    mixed: Tensor = torch.softmax(weights, -1, dtype=weights.dtype) @ v
    return mixed


class OnePass(torch.autograd.Function):
    """Attention as products around kernels that go over the weights once, each way, when compiled for CPUs.

    The weights are divided by their sum after they are applied, and the backward pass needs the sum of gradient times
    result only, not that of gradient times weights (as in FlashAttention, Dao et al. 2022, section 3.1).
    """

    @staticmethod
    def forward(ctx: Any, q: Tensor, k: Tensor, v: Tensor, seen: Tensor) -> Tensor:
        """`attend` for a `q` that is scaled already."""
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
