"""Query-key normalisation (Henry et al. 2020; Dehghani et al. 2023): attention logits that stay bounded."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class QueryKeyNorm(nn.Module):
    """Queries and keys, each head by itself, over their root mean square, times a gain per dimension that is learned.

    A logit is then at most sqrt(head_dim) times the products of the gains, however large the weights are.
    """

    def __init__(self, head_dim: int) -> None:
        super().__init__()
        self.query = nn.Parameter(torch.ones(head_dim))
        self.key = nn.Parameter(torch.ones(head_dim))

    def forward(self, qkv: Tensor) -> Tensor:
        """Normalise queries and keys of qkv (..., 3, heads, head_dim), in float32; values stay as they are."""
        *_, head_dim = qkv.shape
        gains = torch.stack([self.query, self.key])[:, None]  # (2, 1, head_dim)
        normed = F.rms_norm(qkv[..., :2, :, :].float(), (head_dim,), eps=1e-6) * gains
        return torch.cat([normed.to(qkv.dtype), qkv[..., 2:, :, :]], -3)
