"""The state of an optimizer by the names of the parameters, as checkpoints store it."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn


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
