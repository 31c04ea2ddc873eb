"""The state of an optimizer by parameter name, as checkpoints store it."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn


def optimizer_state(optimizer: torch.optim.Optimizer, network: nn.Module) -> dict[str, Tensor]:
    """The optimizer state under flat keys: `NAME/step`, `NAME/exp_avg` and `NAME/exp_avg_sq` for parameter `NAME`."""
    return {
        f"{name}/{key}": torch.as_tensor(value)
        for name, parameter in network.named_parameters()
        for key, value in optimizer.state.get(parameter, {}).items()
    }


def load_optimizer_state(optimizer: torch.optim.Optimizer, network: nn.Module, saved: Mapping[str, Tensor]) -> None:
    """Load what `optimizer_state` returned; parameters without a saved entry keep their state."""
    for name, parameter in network.named_parameters():
        state = {key.rpartition("/")[2]: value for key, value in saved.items() if key.rpartition("/")[0] == name}
        if state:
            optimizer.state[parameter] = {key: value.to(parameter.device) for key, value in state.items()}
