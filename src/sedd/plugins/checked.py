"""What plugins return, checked where it is used; a message names the class, its distribution and the value."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from sedd.errors import PluginError, SeddError
from sedd.plugins.contracts import Curriculum, Network, Noise, Part
from sedd.plugins.registry import source_of

ROUNDING = 1e-9
"""A fall of the difficulty by less is rounding."""
SIGMA_ROUNDING = 1e-5
"""Relative to the largest sigma."""


def broken(part: Part | type[Part], kind: str, problem: str) -> PluginError:
    """The error of a part, or of its class, that does not do what its base class promises."""
    cls = part if isinstance(part, type) else type(part)
    return PluginError(f"{kind} {cls.__qualname__}: {problem}{_origin(cls)}")


def checked_difficulty(curriculum: Curriculum, step: int) -> float:
    """`curriculum.difficulty(step)`, checked.

    Raises:
        PluginError: if it raises, or returns anything but a number in [0, 1].
    """
    try:
        difficulty = curriculum.difficulty(step)
    except Exception as error:  # a plugin may fail in any way
        problem = f"difficulty({step}) failed ({type(error).__name__}: {error})"
        raise broken(curriculum, "curriculum", problem) from error
    if not isinstance(difficulty, float | int) or not 0.0 <= difficulty <= 1.0:
        problem = f"difficulty({step}) returned {difficulty!r}, expected a number in [0, 1]"
        raise broken(curriculum, "curriculum", problem)
    return float(difficulty)


def rising_difficulty(curriculum: Curriculum, step: int) -> float:
    """`curriculum.difficulty(step)`, checked.

    Raises:
        PluginError: if it raises, returns anything but a number in [0, 1], or is lower than at the step before.
    """
    difficulty = checked_difficulty(curriculum, step)
    if step > 0:
        before = checked_difficulty(curriculum, step - 1)
        if difficulty < before - ROUNDING:
            fall = f"the difficulty falls from {before!r} at step {step - 1} to {difficulty!r} at step {step}"
            raise broken(curriculum, "curriculum", f"{fall}; a curriculum never falls: repair it, or use another one")
    return difficulty


def checked_sigma(noise: Noise, t: Tensor) -> Tensor:
    """`noise.total(t)`, checked.

    Raises:
        PluginError: if it raises, or returns anything but numbers from 0 to `sigma_max`, in the shape of `t`.
    """
    sigma = _of_shape(noise, "total", t)
    largest = noise.sigma_max
    slack = SIGMA_ROUNDING * max(largest, 1.0)
    if not bool(((sigma >= -slack) & (sigma <= largest + slack)).all()):
        wrong = sigma[~((sigma >= -slack) & (sigma <= largest + slack))].flatten()[0].item()
        raise broken(noise, "noise", f"total(t) returned {wrong!r}, expected 0 to sigma_max ({largest!r})")
    return sigma


def checked_rate(noise: Noise, t: Tensor) -> Tensor:
    """`noise.rate(t)`, checked.

    Raises:
        PluginError: if it raises, or returns anything but numbers of at least 0, in the shape of `t`; at the ends of
            the path, t = 0 and t = 1, it may be infinite.
    """
    rate = _of_shape(noise, "rate", t)
    usable = (rate >= 0.0) & (rate.isfinite() | (t <= 0.0) | (t >= 1.0))
    if not bool(usable.all()):
        wrong, at = rate[~usable].flatten()[0].item(), t[~usable].flatten()[0].item()
        raise broken(noise, "noise", f"rate({at:.6g}) returned {wrong!r}, expected a number of at least 0")
    return rate


def built_network(network: Network, states: int, outputs: int) -> nn.Module:
    """`network.build(states, outputs)`, checked. Errors of sedd, and too little memory, are raised as they are.

    Raises:
        PluginError: if it raises anything else, or returns anything but a module with parameters.
    """
    arguments = f"build(states={states}, outputs={outputs})"
    try:
        made: Any = network.build(states, outputs)
    except (SeddError, MemoryError, torch.OutOfMemoryError):
        raise
    except Exception as error:  # a plugin may fail in any way
        raise broken(network, "network", f"{arguments} failed ({type(error).__name__}: {error})") from error
    if not isinstance(made, nn.Module) or not any(True for _ in made.parameters()):
        given = f"a {type(made).__name__} without parameters" if isinstance(made, nn.Module) else repr(made)
        raise broken(network, "network", f"{arguments} returned {given}, expected a torch.nn.Module with parameters")
    return made


def check_output(network: Network, made: nn.Module, states: int, outputs: int) -> None:
    """Call what `network` has built once, with two short sequences on the CPU, before a run begins with it.

    Raises:
        PluginError: if the call raises anything but errors of sedd, or does not return (batch, length, outputs).
    """
    tokens = torch.arange(2 * min(2, network.length)).view(2, -1) % states
    training = made.training
    try:
        with torch.no_grad():
            output: Any = made.eval()(tokens, torch.full((2,), 0.5), None)
    except (SeddError, MemoryError, torch.OutOfMemoryError):
        raise
    except Exception as error:  # a plugin may fail in any way
        problem = f"the network failed at its first call ({type(error).__name__}: {error})"
        raise broken(network, "network", problem) from error
    finally:
        made.train(training)
    expected = (*tokens.shape, outputs)
    if not isinstance(output, Tensor) or output.shape != expected or not torch.is_floating_point(output):
        is_tensor = isinstance(output, Tensor)
        given = f"a tensor of shape {tuple(output.shape)} and {output.dtype}" if is_tensor else repr(output)
        wanted = f"floating-point numbers of the shape (batch, length, outputs) = {expected}"
        raise broken(
            network, "network", f"called as network(tokens, sigma, mask) it returned {given}, expected {wanted}"
        )


def _of_shape(noise: Noise, method: str, t: Tensor) -> Tensor:
    try:
        value: Any = getattr(noise, method)(t)
    except Exception as error:  # a plugin may fail in any way
        raise broken(noise, "noise", f"{method}(t) failed ({type(error).__name__}: {error})") from error
    if not isinstance(value, Tensor) or value.shape != t.shape or not torch.is_floating_point(value):
        is_tensor = isinstance(value, Tensor)
        given = f"a tensor of shape {tuple(value.shape)} and {value.dtype}" if is_tensor else repr(value)
        wanted = f"a tensor of floating-point numbers of the shape of t, {tuple(t.shape)}"
        raise broken(noise, "noise", f"{method}(t) returned {given}, expected {wanted}")
    return value


def _origin(cls: type[Part]) -> str:
    source = source_of(cls)
    return f" ({source})" if source else ""
