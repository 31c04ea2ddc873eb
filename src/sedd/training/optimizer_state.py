"""The state of a user's optimizer beyond its tensors: checked when the optimizer is given, saved and restored.

The tensors are in `optimizer.safetensors` of a checkpoint. Numbers beside them, and those in the parameter groups, are
plain data in its state.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from sedd.distributed.parallel import load_optimizer_state, optimizer_state
from sedd.errors import ConfigError

PLAIN = (bool, int, float, str, type(None))
"""What is saved as it is."""
OF_TORCH = frozenset({"param_groups", "state", "defaults"})
"""Attributes of an optimizer that are saved, or do not change. Those that torch adds begin with an underscore."""


@dataclass(frozen=True)
class OptimizerSnapshot:
    """The state of an optimizer at one step, from which it can be set back."""

    tensors: Mapping[str, Tensor]
    plain: Mapping[str, Any]

    @staticmethod
    def of(optimizer: torch.optim.Optimizer, network: nn.Module) -> OptimizerSnapshot:
        """A copy of the state."""
        tensors = {name: tensor.clone() for name, tensor in optimizer_state(optimizer, network).items()}
        return OptimizerSnapshot(tensors, plain_state(optimizer, network))

    def restore(self, optimizer: torch.optim.Optimizer, network: nn.Module) -> None:
        """Set the optimizer back."""
        load_optimizer_state(optimizer, network, {name: tensor.clone() for name, tensor in self.tensors.items()})
        restore_plain_state(optimizer, network, self.plain)


def plain_state(optimizer: torch.optim.Optimizer, network: nn.Module) -> dict[str, Any]:
    """What `restore_plain_state` reads: numbers of each parameter and of each group, and the names of the tensors."""
    numbers = {
        f"{name}/{key}": value
        for name, parameter in network.named_parameters()
        for key, value in optimizer.state.get(parameter, {}).items()
        if not isinstance(value, Tensor)
    }
    groups = [
        {key: value for key, value in group.items() if isinstance(value, PLAIN)} for group in optimizer.param_groups
    ]
    return {"numbers": numbers, "groups": groups, "tensors": sorted(optimizer_state(optimizer, network))}


def restore_plain_state(optimizer: torch.optim.Optimizer, network: nn.Module, plain: Mapping[str, Any]) -> None:
    """Set the numbers of each parameter and of each group, after the tensors are loaded."""
    parameters = dict(network.named_parameters())
    for place, value in plain["numbers"].items():
        name, _, key = place.rpartition("/")
        optimizer.state[parameters[name]][key] = value
    for group, saved in zip(optimizer.param_groups, plain["groups"], strict=True):
        group.update(saved)


def problem_with_state(optimizer: torch.optim.Optimizer, plain: Any, tensors: Mapping[str, Tensor]) -> str | None:
    """Why the saved state of a user's optimizer is not complete; None if it is."""
    name = type(optimizer).__qualname__
    if not isinstance(plain, Mapping):
        return f"it has no state of {name}"
    if lost := sorted(set(plain["tensors"]) ^ set(tensors)):
        return f"the state of {name} is not complete: {', '.join(lost[:3])}"
    if len(plain["groups"]) != len(optimizer.param_groups):
        return f"{name} had {len(plain['groups'])} parameter groups, and has {len(optimizer.param_groups)} now"
    return None


def check_can_be_saved(optimizer: torch.optim.Optimizer) -> None:
    """Check that everything that a step changes can be saved, by a step of a copy with copies of the parameters.

    Raises:
        ConfigError: if the step fails, or keeps state that a checkpoint cannot hold; names it.
    """
    name = type(optimizer).__qualname__
    try:
        probe = object.__new__(type(optimizer))
        probe.__dict__ = copy.deepcopy(optimizer.__dict__)
        parameters = [p for group in probe.param_groups for p in group["params"]]
        before = _unsaved(probe)
        for parameter in parameters:
            parameter.grad = torch.full_like(parameter, 1e-3)
        probe.step()
    except Exception as error:  # an optimizer may fail in any way
        raise ConfigError(
            f"optimizer: a step of {name} on copies of the parameters failed ({type(error).__name__}: {error}); sedd "
            "needs one whose step() works without a closure"
        ) from error
    changed = [key for key, value in _unsaved(probe).items() if key not in before or _differs(value, before[key])]
    held = {id(parameter) for parameter in parameters}
    wrong = [f"the attribute {key!r}" for key in changed]
    for key, state in probe.state.items():
        if id(key) not in held:
            wrong.append(f"state of {type(key).__name__} {key!r}"[:60] + ", which is no parameter")
            continue
        wrong += [_in_words(item, value) for item, value in state.items() if not _can_be_saved(item, value)]
    if wrong:
        raise ConfigError(
            f"optimizer: {name} cannot be saved and resumed: it keeps {wrong[0]}. A checkpoint holds dense tensors, "
            "numbers and texts by parameter, and numbers and texts by parameter group; use another optimizer"
        )


def _unsaved(optimizer: torch.optim.Optimizer) -> dict[str, Any]:
    """What no checkpoint holds: attributes, and what is no plain value in the groups; copies."""
    attributes = {
        key: value for key, value in vars(optimizer).items() if key not in OF_TORCH and not key.startswith("_")
    }
    in_groups = {
        f"{key} of a group": value
        for group in optimizer.param_groups
        for key, value in group.items()
        if key != "params" and not isinstance(value, PLAIN)
    }
    return copy.deepcopy(attributes | in_groups)


def _differs(one: Any, other: Any) -> bool:
    if isinstance(one, Tensor) and isinstance(other, Tensor):
        return one.shape != other.shape or not torch.equal(one, other)
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() != other.keys() or any(_differs(one[key], other[key]) for key in one)
    if isinstance(one, list | tuple) and isinstance(other, list | tuple):
        return len(one) != len(other) or any(map(_differs, one, other))
    return isinstance(one, PLAIN) and isinstance(other, PLAIN) and one != other


def _can_be_saved(key: Any, value: Any) -> bool:
    if not isinstance(key, str) or "/" in key:
        return False
    dense = type(value) in (Tensor, nn.Parameter) and value.layout == torch.strided and not value.is_quantized
    return dense or isinstance(value, PLAIN)


def _in_words(key: Any, value: Any) -> str:
    layout = f" of layout {value.layout}" if isinstance(value, Tensor) else ""
    return f"a {type(value).__name__}{layout} as {key!r} of a parameter"
