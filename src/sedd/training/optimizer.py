"""AdamW, or Muon with AdamW, with weight decay on matrices only."""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import Any

import torch
from torch import nn

from sedd.config.config import Config
from sedd.config.sections import ParameterGroup
from sedd.distributed.dtensor import is_dtensor
from sedd.distributed.muon import ShardedMuon
from sedd.errors import ConfigError
from sedd.training.muon import MuonWithAdamW, block_matrices

LR_FACTOR = "lr_factor"
"""Key of a parameter group of the optimizer: its learning rate as a factor of the run's."""


def make_optimizer(network: nn.Module, config: Config) -> torch.optim.Optimizer:
    """The optimizer of `optim.optimizer`, which is not `own`, for the trained parameters.

    Weight decay pulls towards 0, so it skips gains and biases (vectors), `nn.Embedding`, and the parameters of modules
    with a true attribute `no_weight_decay`.

    Raises:
        ConfigError: if Muon has no matrix, or is to have what is not one.
    """
    optim = config.optim
    groups = _parameter_groups(network, config)
    trained = {id(p) for group in groups for p in group["params"]}
    matrices = _matrices_of_muon(network, config) if optim.optimizer == "Muon" else set()
    adamw, muon = _restricted(groups, trained - matrices), _restricted(groups, matrices)
    if not muon:
        return _adamw(adamw, config)
    sharded = any(is_dtensor(p) for group in muon for p in group["params"])
    kind: Any = ShardedMuon if sharded else torch.optim.Muon
    made = kind(muon, lr=optim.lr, momentum=optim.momentum, adjust_lr_fn="match_rms_adamw")
    return MuonWithAdamW(made, *([_adamw(adamw, config)] if adamw else []))


def _adamw(groups: list[dict[str, Any]], config: Config) -> torch.optim.AdamW:
    """AdamW, fused where torch has a fused kernel for the device."""
    optim = config.optim
    options = {"lr": optim.lr, "betas": (optim.beta1, optim.beta2), "eps": optim.eps}
    try:
        return torch.optim.AdamW(groups, fused=True, **options)  # type: ignore[arg-type]  # options is homogeneous
    except RuntimeError:  # the device has no fused kernel
        return torch.optim.AdamW(groups, foreach=True, **options)  # type: ignore[arg-type]  # likewise


def _parameter_groups(network: nn.Module, config: Config) -> list[dict[str, Any]]:
    """The trained parameters by weight decay and by factor of the learning rate."""
    trained = [p for p in network.parameters() if p.requires_grad]
    exempt = _tables(network)
    decayed = [p for p in trained if p.dim() > 1 and id(p) not in exempt]
    others = [p for p in trained if p.dim() <= 1 or id(p) in exempt]
    factors = _lr_factors(network, config)
    return [
        {"params": chosen, "weight_decay": decay, LR_FACTOR: factor}
        for factor in dict.fromkeys(factors.values())
        for parameters, decay in ((decayed, config.optim.weight_decay), (others, 0.0))
        if (chosen := [p for p in parameters if factors[id(p)] == factor])
    ]


def _restricted(groups: list[dict[str, Any]], chosen: set[int]) -> list[dict[str, Any]]:
    """The groups with the chosen parameters alone, which are given by `id`; without those that have none."""
    restricted = [{**group, "params": [p for p in group["params"] if id(p) in chosen]} for group in groups]
    return [group for group in restricted if group["params"]]


def _tables(network: nn.Module) -> set[int]:
    """The parameters that are tables of vectors, by `id`: no weight decay, and not for Muon."""
    return {
        id(p)
        for module in network.modules()
        if isinstance(module, nn.Embedding) or getattr(module, "no_weight_decay", False)
        for p in module.parameters()
    }


def _matrices_of_muon(network: nn.Module, config: Config) -> set[int]:
    """The parameters that Muon updates, by `id`: the matrices of the blocks, and what `optim.groups` says."""
    chosen = block_matrices(network, _tables(network))
    for name, group in _groups(network, config).items():
        parameter = network.get_parameter(name)
        if group.optimizer == "AdamW":
            chosen.pop(name, None)
        elif group.optimizer == "Muon" and parameter.requires_grad:
            if parameter.dim() != 2:
                raise ConfigError(
                    f"optim.groups: {group.pattern!r} gives Muon the parameter {name} of shape "
                    f"{tuple(parameter.shape)}; it is for matrices, so leave out what has not two dimensions",
                    keys=["optim.groups"],
                )
            chosen[name] = parameter
    if not chosen:
        raise ConfigError(
            f"optim.optimizer=Muon: {type(network).__name__} has no trained matrix in repeated blocks (members of an "
            "nn.ModuleList); take AdamW, or name matrices, such as optim.groups=[{pattern: '*.weight', optimizer: "
            "Muon}]",
            keys=["optim.optimizer"],
        )
    return {id(parameter) for parameter in chosen.values()}


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
