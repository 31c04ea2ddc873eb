"""The optimizer, and its state by the names of the parameters."""

from __future__ import annotations

import torch
from torch import nn

from sedd.config.config import Config
from sedd.model.transformer import Embedding


def make_optimizer(network: nn.Module, config: Config) -> torch.optim.AdamW:
    """AdamW, fused where torch has a fused kernel for the device; decay on matrices only."""
    optim = config.optim
    trained = [p for p in network.parameters() if p.requires_grad]
    # Decay pulls towards 0, which is the wrong centre for gains, biases and embeddings.
    tables = {id(p) for m in network.modules() if isinstance(m, nn.Embedding | Embedding) for p in m.parameters()}
    matrices = [p for p in trained if p.dim() > 1 and id(p) not in tables]
    chosen = {id(p) for p in matrices}
    groups = [
        {"params": matrices, "weight_decay": optim.weight_decay},
        {"params": [p for p in trained if id(p) not in chosen], "weight_decay": 0.0},
    ]
    options = {"lr": optim.lr, "betas": (optim.beta1, optim.beta2), "eps": optim.eps}
    groups = [group for group in groups if group["params"]]
    try:
        return torch.optim.AdamW(groups, fused=True, **options)  # type: ignore[arg-type]  # options is homogeneous
    except RuntimeError:  # torch says so when the device has no fused kernel
        return torch.optim.AdamW(groups, foreach=True, **options)  # type: ignore[arg-type]
