"""Layers and functions written a second way where that was measured to be faster: on CPUs, and compiled.

Each computes what its plain counterpart computes. Measurements: `benchmarks/training.py parts`.
"""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Linear(nn.Linear):
    """A linear layer. Compiled for CPUs, the bias is added by the kernel that follows the matrix product.

    The gradient of the bias is then summed sequence by sequence. Down all rows of a batch at once it is slow there.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Map x (batch, ..., in) to (batch, ..., out)."""
        if not torch.compiler.is_compiling() or x.device.type != "cpu":
            return super().forward(x)
        product = F.linear(x, self.weight)
        return product + self.bias.expand(*x.shape[:-2], 1, -1).to(product.dtype)


class Gelu(nn.Module):
    """GELU with the tanh approximation, as in SEDD."""

    def forward(self, x: Tensor) -> Tensor:
        """Apply it to every element."""
        if not torch.compiler.is_compiling():
            return F.gelu(x, approximate="tanh")
        # 1 + tanh(z) = 2 sigmoid(2 z): compiled for CPUs, exp is much faster than tanh.
        x32 = x.float()
        doubled = 2.0 * math.sqrt(2.0 / math.pi) * x32 * (1.0 + 0.044715 * x32 * x32)
        return (x32 * torch.sigmoid(doubled)).to(x.dtype)


class GatherRows(torch.autograd.Function):
    """The rows of x (batch, length, size) at flat `positions` (N,), as (N, size).

    The positions are all different, so the backward pass writes gradients instead of adding them up. Adding is slow
    when compiled, and its order is not fixed.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, positions: Tensor) -> Tensor:
        """Read the rows."""
        ctx.shape = x.shape
        ctx.save_for_backward(positions)
        return x.flatten(0, 1)[positions]

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        """Write the gradients of the rows."""
        (positions,) = ctx.saved_tensors
        return scatter_rows(grad, positions, ctx.shape), None


def gather_rows(x: Tensor, positions: Tensor | None) -> Tensor:
    """`GatherRows`, or `x` itself where `positions` is None."""
    if positions is None:
        return x
    rows: Tensor = GatherRows.apply(x, positions)  # type: ignore[no-untyped-call]  # torch leaves it untyped
    return rows


def scatter_rows(x: Tensor, positions: Tensor, shape: torch.Size) -> Tensor:
    """Zeros of `shape` (batch, length, size) with the rows x (N, size) at flat `positions` (N,)."""
    return x.new_zeros(shape).flatten(0, 1).index_copy(0, positions, x).view(shape)


class FusedCpuAttention(torch.autograd.Function):
    """Attention as matrix products around kernels that, compiled for CPUs, pass over the weights once each way.

    The weights are divided by their sum after they are applied. The backward pass then needs the sum of gradient times
    result only, not the sum of gradient times weights (as in FlashAttention, Dao et al. 2022, section 3.1).
    """

    @staticmethod
    def forward(ctx: Any, q: Tensor, k: Tensor, v: Tensor, mask: Tensor) -> Tensor:
        """Attend.

        Args:
            ctx: of autograd.
            q: (batch, heads, length, head_dim), already scaled by head_dim^(-1/2).
            k: (batch, heads, length, head_dim).
            v: (batch, heads, length, head_dim).
            mask: (batch, length) float, 1.0 at residues and 0.0 at padding.
        """
        mask = mask[:, None, None, :]
        logits = (q @ k.transpose(-1, -2)).float() + (mask - 1.0) * 1e30  # not bools, which are slow when compiled
        exponentials = torch.exp(logits - logits.amax(-1, keepdim=True))
        weights = exponentials.to(v.dtype)
        # Padding has weight 0 already, but only a sum that reads `mask` is fused into the loop that makes the weights.
        scale = 1.0 / (exponentials * mask).sum(-1, keepdim=True)
        mixed = ((weights @ v).float() * scale).to(v.dtype)
        ctx.save_for_backward(q, k, v, weights, scale, mixed)
        return mixed

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:
        """The gradients of `q`, `k` and `v`."""
        q, k, v, weights, scale, mixed = ctx.saved_tensors
        scaled32 = grad.float() * scale
        total = (scaled32 * mixed.float()).sum(-1, keepdim=True)
        scaled = scaled32.to(v.dtype)
        grad_weights = (scaled @ v.transpose(-1, -2)).float()
        grad_logits = (weights.float() * (grad_weights - total)).to(v.dtype)
        return grad_logits @ k, grad_logits.transpose(-1, -2) @ q, weights.transpose(-1, -2) @ scaled, None
