"""AdamW, with weight decay on matrices only."""

from __future__ import annotations

from fnmatch import fnmatchcase

import torch
from torch import nn

from sedd.config.config import Config
from sedd.config.sections import ParameterGroup
from sedd.errors import ConfigError

LR_FACTOR = "lr_factor"
"""Key of a parameter group of the optimizer: its learning rate as a factor of the run's."""


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
    factors = _lr_factors(network, config)
    groups = [
        {"params": chosen, "weight_decay": decay, LR_FACTOR: factor}
        for factor in dict.fromkeys(factors.values())
        for parameters, decay in ((decayed, optim.weight_decay), (others, 0.0))
        if (chosen := [p for p in parameters if factors[id(p)] == factor])
    ]
    options = {"lr": optim.lr, "betas": (optim.beta1, optim.beta2), "eps": optim.eps}
    try:
        return torch.optim.AdamW(groups, fused=True, **options)  # type: ignore[arg-type]  # options is homogeneous
    except RuntimeError:  # the device has no fused kernel
        return torch.optim.AdamW(groups, foreach=True, **options)  # type: ignore[arg-type]  # likewise


def freeze(network: nn.Module, config: Config) -> None:
    """Freeze the parameters of the groups of `optim.groups` that say so.

    Raises:
        ConfigError: if a group fits no parameter.
    """
    for name, group in _groups(network, config).items():
        if group.freeze:
            network.get_parameter(name).requires_grad_(False)


def _lr_factors(network: nn.Module, config: Config) -> dict[int, float]:
    """The factor of the learning rate of each trained parameter, by its `id`."""
    groups = _groups(network, config)
    parameters = [(name, parameter) for name, parameter in network.named_parameters() if parameter.requires_grad]
    return {id(p): groups[name].lr_factor if name in groups else 1.0 for name, p in parameters}


def _groups(network: nn.Module, config: Config) -> dict[str, ParameterGroup]:
    """The first group of `optim.groups` that fits each parameter, by name."""
    names = [name for name, _ in network.named_parameters()]
    found: dict[str, ParameterGroup] = {}
    for index, group in enumerate(config.optim.groups):
        matching = [name for name in names if fnmatchcase(name, group.pattern)]
        if not matching:
            raise ConfigError(
                f"optim.groups: {group.pattern!r} fits no parameter; the names are such as {', '.join(names[:3])} and "
                f"{names[-1]}. A pattern for a whole module ends in `.*`",
                keys=[f"optim.groups.{index}.pattern"],
            )
        found = dict.fromkeys(matching, group) | found
    return found
