"""The optimizer, and its state by the names of the parameters."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from sedd.config import Config
from sedd.model import Embedding


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


def moments(optimizer: torch.optim.Optimizer, network: nn.Module) -> dict[str, Tensor]:
    """The optimizer's state under the names of the parameters: `NAME/step`, `NAME/exp_avg`, `NAME/exp_avg_sq`."""
    return {
        f"{name}/{key}": torch.as_tensor(value)
        for name, parameter in network.named_parameters()
        for key, value in optimizer.state.get(parameter, {}).items()
    }


def set_moments(optimizer: torch.optim.Optimizer, network: nn.Module, saved: Mapping[str, Tensor]) -> None:
    """The inverse of `moments`."""
    for name, parameter in network.named_parameters():
        own = {key.rpartition("/")[2]: value for key, value in saved.items() if key.rpartition("/")[0] == name}
        if own:
            optimizer.state[parameter] = {key: value.to(parameter.device) for key, value in own.items()}
