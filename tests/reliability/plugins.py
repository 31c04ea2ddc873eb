"""Plugins that raise or return nonsense in each method, at some call."""

from __future__ import annotations

import itertools
import warnings
from pathlib import Path
from random import Random
from typing import Any, Literal

import pytest
import torch
from torch import Tensor

import sedd
from sedd.errors import SeddWarning
from sedd.plugins.networks import Ddit
from tests.reliability.result import Result, Tally, lost_unless, sampled, silent_unless
from tests.reliability.runs import configuration, digest, error_of, fresh, newest_step, train, weights_digest


class UserCurriculum(sedd.Curriculum):
    """A curriculum of a user."""

    difficulty_ramp: Literal["user"] = "user"

    def difficulty(self, step: int) -> float:
        return min(1.0, 0.25 * (step + 1))


class UserNoise(sedd.Noise):
    """A noise schedule of a user."""

    type: Literal["user"] = "user"
    sigma_max: float = 6.0

    def total(self, t: Tensor) -> Tensor:
        return self.sigma_max * t

    def rate(self, t: Tensor) -> Tensor:
        return torch.full_like(t, self.sigma_max)


class UserTracker(sedd.Tracker):
    """A tracker of a user."""

    type: Literal["user"] = "user"

    def open(self, run: Path, config: Any) -> Any:
        return []

    def log(self, session: Any, step: int, metrics: Any) -> None:
        pass

    def close(self, session: Any) -> None:
        pass


class UserMetric(sedd.Metric):
    """A metric of a user."""

    type: Literal["user"] = "user"

    def evaluate(self, model: sedd.Pretrained, data: sedd.Dataset) -> Any:
        return {"sequences": len(data.valid)}


class UserBackend(sedd.Backend):
    """A device of a user: the CPU."""

    type: Literal["user"] = "user"
    precision: Literal["auto", "float32", "bfloat16"] = "float32"

    def available(self) -> bool:
        return True

    def device(self, local_rank: int = 0) -> torch.device:
        return torch.device("cpu")


class UserNetwork(Ddit):
    """A network of a user: the built-in one, small."""

    type: Literal["user"] = "user"  # type: ignore[assignment]  # another name
    hidden_size: int = 16
    cond_dim: int = 8
    n_blocks: int = 1
    n_heads: int = 2
    length: int = 24


PARTS: dict[str, tuple[type[Any], tuple[str, ...]]] = {
    "curriculum": (UserCurriculum, ("difficulty",)),
    "noise": (UserNoise, ("total", "rate")),
    "network": (UserNetwork, ("build",)),
    "tracker": (UserTracker, ("open", "log", "close")),
    "metric": (UserMetric, ("evaluate",)),
    "backend": (
        UserBackend,
        ("available", "device", "fast_bfloat16", "prepare", "autocast", "memory", "seed", "process_group"),
    ),
}
RAISED = {
    "ValueError": ValueError("oh"),
    "KeyError": KeyError("oh"),
    "ZeroDivisionError": ZeroDivisionError("oh"),
    "RuntimeError": RuntimeError("oh"),
    "OSError": OSError("the service is down"),
    "TimeoutError": TimeoutError(),
    "AssertionError": AssertionError(),
    "StopIteration": StopIteration(),
    "RecursionError": RecursionError("maximum recursion depth exceeded"),
}
RETURNED: dict[str, Any] = {
    "None": None,
    "text": "nonsense",
    "nan": float("nan"),
    "-1": -1.0,
    "7.0": 7.0,
    "a list": [[]],
}
CALLS = (1, 2, 7)


class Misbehaving:
    """A method that at one call raises an error or returns nonsense."""

    def __init__(self, method: Any, call: int, outcome: Any) -> None:
        self.method, self.call, self.outcome, self.calls = method, call, outcome, 0

    def __get__(self, part: Any, cls: Any = None) -> Any:
        return lambda *arguments, **options: self(part, *arguments, **options)

    def __call__(self, part: Any, *arguments: Any, **options: Any) -> Any:
        self.calls += 1
        if self.calls < self.call:
            return self.method(part, *arguments, **options)
        if isinstance(self.outcome, BaseException):
            raise self.outcome
        return self.outcome


def _config(kind: str) -> sedd.Config:
    part: Any = PARTS[kind][0]()
    if kind == "metric":
        return configuration().replace(evaluation={"metrics": [part]})
    sections = {"tracker": "trackers", "backend": "device", "network": "model"}
    return configuration().replace(**{sections.get(kind, kind): [part] if kind == "tracker" else part})


def misbehaving_plugins(scale: float, seed: int, workdir: Path) -> Result:
    """Each method of curricula, noise schedules, networks, trackers, metrics, backends raises or returns nonsense."""
    outcomes = RAISED | RETURNED
    methods = [(kind, method) for kind, (_, names) in PARTS.items() for method in names]
    cases = list(itertools.product(methods, outcomes, CALLS))
    cases = sampled(cases, scale, Random(seed), least=20)
    tally = Tally(workdir, len(cases))
    straight: dict[str, str] = {}
    for (kind, method), outcome, call in cases:
        config, cls = _config(kind), PARTS[kind][0]
        compared = weights_digest if kind == "metric" else digest  # the numbers of a metric that fails are missing
        if kind not in straight:
            straight[kind] = compared(train(config, fresh(workdir, "straight")).run.path)
        run = fresh(workdir)
        with tally.case(f"{kind}.{method}, call {call}: {outcome}"), pytest.MonkeyPatch.context() as patched:
            misbehaving = Misbehaving(getattr(cls, method), call, outcomes[outcome])
            patched.setattr(cls, method, misbehaving)
            error, said = _train(config, run)
            patched.undo()
            if error is not None:
                silent_unless(
                    cls.__name__ in str(error) or _is_unavailable(method, outcome), f"the plugin is not named: {error}"
                )
                lost_unless(kind not in ("tracker", "metric"), f"a {kind} ended the run: {error}")
            elif kind in ("tracker", "metric") and misbehaving.calls >= call and outcome in RAISED:
                silent_unless(bool(said), f"a {kind} failed, and nothing was said")
            train(config, run, resume=True)
            lost_unless(compared(run) == straight[kind], f"the run differs, after {error!r}")
    return tally.result


def _is_unavailable(method: str, outcome: str) -> bool:
    return method == "available" and outcome in RETURNED  # a backend that says that it is not there


def _train(config: sedd.Config, run: Path) -> tuple[BaseException | None, list[str]]:
    trainers: list[sedd.Trainer] = []

    def begin_and_train() -> None:
        trainers.append(sedd.Trainer(config, run=run))
        trainers[0].fit(progress=False)

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        error = error_of(begin_and_train)
    said = [str(warning.message) for warning in caught if issubclass(warning.category, SeddWarning)]
    if error is not None and trainers:
        step = trainers[0].state.step
        lost_unless(newest_step(run) >= step, f"step {step} was not saved: {error!r}")
    return error, said
