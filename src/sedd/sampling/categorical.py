"""Drawing a symbol from log-weights.

The usual Gumbel-max trick with float32 uniforms is wrong in the tails: such a uniform is at most 1 - 2^-24, so that its
Gumbel noise is at most 16.6, and coarse below that. It acts like a temperature below 1 (Zheng et al. 2024);
`benchmarks/sampling.py --noise` measures how much. So symbols are drawn by inversion: the weights may be float32, whose
error is relative and harmless, but the uniform and the cumulative sum are float64.
"""

from __future__ import annotations

import torch
from torch import Tensor


def categorical(log_weights: Tensor, u: Tensor) -> Tensor:
    """Draw an index along the last axis with probability proportional to e^log_weights.

    Args:
        log_weights: (..., symbols), of any scale; -inf for what must not be drawn.
        u: (...) in [0, 1), float64; one number decides one draw, by inversion.
    """
    # Apple GPUs have no float64.
    logs = log_weights.cpu() if log_weights.device.type == "mps" else log_weights
    cumulative = torch.exp(logs - logs.amax(-1, keepdim=True)).double().cumsum(-1)
    u = u.to(cumulative.device, torch.float64)
    drawn = torch.searchsorted(cumulative, (u * cumulative[..., -1])[..., None].contiguous(), right=True)[..., 0]
    return drawn.clamp(max=log_weights.shape[-1] - 1).to(log_weights.device)
