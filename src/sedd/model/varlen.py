"""FlashAttention over sequences of any lengths, which lie one after the other."""

from __future__ import annotations

import torch
from torch import Tensor


def has_varlen(device: torch.device) -> bool:
    """Whether a device has the kernel: NVIDIA GPUs from Ampere on (8.0). See `sedd.training.compiling`."""
    if device.type != "cuda" or torch.version.hip is not None:
        return False
    return torch.cuda.get_device_capability(device)[0] >= 8


def takes_varlen(x: Tensor) -> bool:
    """Whether the kernel takes heads of this type and size, x (..., head_dim); it computes in half precision."""
    return x.dtype in (torch.bfloat16, torch.float16) and x.shape[-1] % 8 == 0 and x.shape[-1] <= 256


def varlen_attention(q: Tensor, k: Tensor, v: Tensor, cu_seqlens: Tensor, longest: int) -> Tensor:
    """Attention within each segment.

    Args:
        q: (tokens, heads, head_dim).
        k: likewise.
        v: likewise.
        cu_seqlens: (segments + 1,) int32: where each segment begins, and the number of tokens.
        longest: no segment has more tokens.

    Returns:
        (tokens, heads, head_dim).
    """
    from torch.nn.attention.varlen import varlen_attn

    mixed = varlen_attn(q, k, v, cu_seqlens, cu_seqlens, longest, longest)
    assert isinstance(mixed, Tensor)  # noqa: S101  # tells the type checker
    return mixed


def varlen_works(device: torch.device) -> bool:
    """Whether the kernel and its backward pass give the right numbers for two tiny sequences on a device."""
    try:
        values = torch.arange(8.0, device=device).bfloat16()[:, None, None].expand(-1, 2, 16).contiguous()
        values.requires_grad_()
        cu_seqlens = torch.tensor([0, 3, 8], dtype=torch.int32, device=device)
        equal = torch.zeros_like(values)  # all keys weigh the same
        mixed = varlen_attention(equal, equal, values, cu_seqlens, 5)
        (grad,) = torch.autograd.grad(mixed[3:].sum(), values)
    except Exception:  # kernels are missing in many ways
        return False
    means = torch.tensor([1.0] * 3 + [5.0] * 5, device=device)
    weights = torch.tensor([0.0] * 3 + [1.0] * 5, device=device)
    checks = ((mixed.float() - means[:, None, None]).abs() < 0.05, (grad.float() - weights[:, None, None]).abs() < 0.05)
    return all(bool(check.all()) for check in checks)
