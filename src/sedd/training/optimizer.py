"""AdamW, with weight decay on matrices only."""

from __future__ import annotations

import torch
from torch import nn

from sedd.config.config import Config


def make_optimizer(network: nn.Module, config: Config) -> torch.optim.AdamW:
    """AdamW, fused where torch has a fused kernel for the device.

    Weight decay pulls towards 0, so it skips gains and biases (vectors), `nn.Embedding`, and the parameters of modules
    with a true attribute `no_weight_decay`.
    """
    optim = config.optim
    trained = [p for p in network.parameters() if p.requires_grad]
    exempt = {
        id(p)
        for module in network.modules()
        if isinstance(module, nn.Embedding) or getattr(module, "no_weight_decay", False)
        for p in module.parameters()
    }
    decayed = [p for p in trained if p.dim() > 1 and id(p) not in exempt]
    others = [p for p in trained if p.dim() <= 1 or id(p) in exempt]
    groups = [{"params": decayed, "weight_decay": optim.weight_decay}, {"params": others, "weight_decay": 0.0}]
    groups = [group for group in groups if group["params"]]
    options = {"lr": optim.lr, "betas": (optim.beta1, optim.beta2), "eps": optim.eps}
    try:
        return torch.optim.AdamW(groups, fused=True, **options)  # type: ignore[arg-type]  # options is homogeneous
    except RuntimeError:  # the device has no fused kernel
        return torch.optim.AdamW(groups, foreach=True, **options)  # type: ignore[arg-type]  # likewise
