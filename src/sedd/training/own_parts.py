"""The optimizer and the learning-rate schedule of a run: those of the configuration, or the user's own objects.

What a user gives is described in the configuration, which is written into the run: another one is refused on resuming.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from sedd.config.config import Config
from sedd.config.own_parts import OwnOptimizer, OwnSchedule
from sedd.errors import ConfigError, SeddError
from sedd.runs.directory import RunDirectory
from sedd.training.optimizer import make_optimizer
from sedd.training.optimizer_state import check_can_be_saved

MakeOptimizer = Callable[[list[nn.Parameter]], torch.optim.Optimizer]
"""Makes an optimizer of the parameters to train."""
OptimizerGiven = torch.optim.Optimizer | MakeOptimizer
LrFactor = Callable[[int], float]
"""The learning rate at an optimizer step, 0 the first, as a factor on its peak."""
OWN = "own"
"""The name in the configuration of what a user gave."""
PEAK = "initial_lr"
"""Where torch keeps the peak learning rate of a parameter group while a schedule changes `lr`."""
RECORDED_STEPS = 17
"""Steps at which a schedule is recorded, evenly spaced, and about as many on a logarithmic scale."""


@dataclass(frozen=True)
class OwnParts:
    """What the `Trainer` was given; None for what the configuration describes."""

    optimizer: OptimizerGiven | None = None
    lr_schedule: LrFactor | None = None

    def expected(self, config: Config, run: RunDirectory) -> Config:
        """The configuration before the optimizer is made: the optimizer is taken to be the one that the run has.

        Raises:
            ConfigError: if the schedule cannot be used, or the configuration has parts that were not given.
        """
        config = self._with_schedule(config)
        if self.optimizer is None:
            if config.optim.own is not None:
                raise _missing("optimizer", str(config.optim.own))
            return config
        recorded = run.config().get("optim", {}) if run.config_file.is_file() else {}
        if recorded.get("optimizer") == OWN:
            return _changed(config, optim={key: recorded[key] for key in ("optimizer", OWN, "lr")})
        return _changed(config, optim={"optimizer": OWN, OWN: {"name": name_of(self.optimizer)}})

    def make(self, network: nn.Module, config: Config, *, sharded: bool) -> tuple[torch.optim.Optimizer, Config]:
        """The optimizer of the network, and the configuration that describes it.

        Raises:
            ConfigError: if the user's optimizer cannot be used, or not be resumed.
        """
        if self.optimizer is None:
            return make_optimizer(network, config), config
        if sharded:
            raise ConfigError(
                "optimizer: an optimizer of your own needs the parameters in one piece; set distributed.strategy=ddp, "
                "or leave the optimizer to sedd",
                keys=["distributed.strategy"],
            )
        made = _made(self.optimizer, network)
        for group in made.param_groups:
            group.setdefault(PEAK, _number(group.get("lr", config.optim.lr)))
        check_can_be_saved(made)
        groups = tuple(_hyperparameters(group) for group in made.param_groups)
        own = OwnOptimizer(name=type(made).__qualname__, module=type(made).__module__, groups=groups)
        optim = {"optimizer": OWN, OWN: own.model_dump(mode="json"), "lr": made.param_groups[0][PEAK]}
        return made, _changed(config, optim=optim)

    def learning_rate(self, config: Config, step: int) -> float | None:
        """The learning rate at a step by the user's schedule; None without one.

        Raises:
            ConfigError: if the schedule fails, or returns anything but a number of at least 0.
        """
        return None if self.lr_schedule is None else config.optim.lr * checked_factor(self.lr_schedule, step)

    def _with_schedule(self, config: Config) -> Config:
        if self.lr_schedule is None:
            if config.lr_schedule.own is not None:
                raise _missing("lr_schedule", config.lr_schedule.own.name)
            return config
        steps = recorded_steps(config.training.n_iters)
        first, again = ([checked_factor(self.lr_schedule, step) for step in order] for order in (steps, steps[::-1]))
        if first != again[::-1]:
            raise ConfigError(
                "lr_schedule returned another factor for the same step when it was called again; expected a function "
                "of the step alone, without memory"
            )
        factors = tuple(float(f"{factor:.9g}") for factor in first)
        own = OwnSchedule(name=name_of(self.lr_schedule), steps=tuple(steps), factors=factors)
        return _changed(config, lr_schedule={"type": OWN, OWN: own.model_dump(mode="json")})


def recorded_steps(n_iters: int) -> list[int]:
    """The steps at which a schedule is recorded: from 0 to the last one, denser at the beginning."""
    last = max(n_iters - 1, 1)
    even, early = np.linspace(0, n_iters - 1, RECORDED_STEPS), np.geomspace(1, last, RECORDED_STEPS)
    return sorted({round(step) for step in (*even, *early) if step < n_iters})


def checked_factor(schedule: LrFactor, step: int) -> float:
    """`schedule(step)`. Raises ConfigError if it fails, or returns anything but a finite number of at least 0."""
    try:
        factor = schedule(step)
    except Exception as error:  # a user's function may fail in any way
        raise ConfigError(f"lr_schedule({step}) failed ({type(error).__name__}: {error})") from error
    try:
        number = math.nan if isinstance(factor, bool | str) else float(factor)
    except (TypeError, ValueError):
        number = math.nan
    if not 0.0 <= number < math.inf:
        raise ConfigError(
            f"lr_schedule({step}) returned {factor!r}, expected a factor on the peak learning rate, a number of at "
            "least 0"
        )
    return number


def name_of(given: Any) -> str:
    """The name of a function, of a class, or of the class of an object."""
    return str(getattr(given, "__qualname__", type(given).__qualname__))


def _made(given: OptimizerGiven, network: nn.Module) -> torch.optim.Optimizer:
    trained = {name: p for name, p in network.named_parameters() if p.requires_grad}
    made: Any = given
    if not isinstance(given, torch.optim.Optimizer):
        try:
            made = given(list(trained.values()))
        except SeddError:
            raise
        except Exception as error:  # a user's function may fail in any way
            raise ConfigError(f"optimizer(parameters) failed ({type(error).__name__}: {error})") from error
    if not isinstance(made, torch.optim.Optimizer):
        raise ConfigError(
            f"optimizer: got {made!r}, expected a torch.optim.Optimizer, or a function that makes one of a list of "
            "parameters, such as lambda parameters: torch.optim.SGD(parameters, lr=0.1)"
        )
    held = {id(p) for group in made.param_groups for p in group["params"]}
    if held - {id(p) for p in trained.values()}:
        raise ConfigError(
            f"the optimizer {type(made).__qualname__} has parameters that are not trained ones of the network: make it "
            "of the parameters that the function receives, or of model.parameters() of the model that you pass"
        )
    if missing := [name for name, p in trained.items() if id(p) not in held]:
        raise ConfigError(
            f"the optimizer {type(made).__qualname__} lacks {len(missing)} of the trained parameters "
            f"({', '.join(missing[:3])}); call requires_grad_(False) on those that are not to be trained"
        )
    return made


def _hyperparameters(group: dict[str, Any]) -> dict[str, Any]:
    """Those of a parameter group as plain data, with the peak learning rate."""
    named = {key: value for key, value in group.items() if key not in ("params", "param_names", PEAK)}
    return {key: _plain(group[PEAK] if key == "lr" else value) for key, value in named.items()}


def _plain(value: Any) -> Any:
    if isinstance(value, Tensor) and value.numel() == 1:
        return _plain(value.item())
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, Iterable) and not isinstance(value, Tensor):
        return [_plain(item) for item in value]
    return name_of(value)


def _number(value: Any) -> float:
    return float(value.item() if isinstance(value, Tensor) else value)


def _missing(argument: str, recorded: str) -> ConfigError:
    key, other = ("optim", "optimizer=AdamW") if argument == "optimizer" else (argument, "type=cosine")
    return ConfigError(
        f"{key}.{OWN}: this configuration was trained with {recorded}, which a run file cannot make; pass the same "
        f"again in Python, Trainer(config, {argument}=...); for a new run without it, set {key}.{other} "
        f"and {key}.{OWN}=null",
        keys=[f"{key}.{OWN}"],
    )


def _changed(config: Config, **changes: Any) -> Config:
    """A validated copy, without repeating the advice on the configuration."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return config.replace(**changes)
