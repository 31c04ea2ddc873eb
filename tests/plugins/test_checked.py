"""A plugin that breaks its promise stops at once, and the message names its class, its distribution and the step."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

import pytest
import torch
from torch import Tensor

import sedd
from sedd.plugins.checked import checked_rate, checked_sigma, rising_difficulty
from sedd.plugins.curricula import Linear
from sedd.plugins.noises import LogLinear
from sedd.runs import checkpoint


class Falls(sedd.Curriculum):
    """Falls at one step."""

    difficulty_ramp: Literal["falls"] = "falls"

    def difficulty(self, step: int) -> float:
        return 0.9 if step == 6 else 1.0


class Impure(sedd.Curriculum):
    """Returns another number at each call."""

    difficulty_ramp: Literal["impure"] = "impure"
    calls: ClassVar[list[int]] = []

    def difficulty(self, step: int) -> float:
        self.calls.append(step)
        return 1.0 if step == 7 else 1.0 - 1.0 / (len(self.calls) + 1)


def test_a_curriculum_that_falls_stops_at_that_step_and_the_run_is_saved(tiny, tmp_path):
    trainer = sedd.Trainer(tiny("training.eval_every=1000"), curriculum=Falls(), run=tmp_path / "run")
    with pytest.raises(sedd.PluginError, match=r"step 7.*curriculum Falls: .*from 1.0 at step 5 to 0.9 at step 6"):
        trainer.fit(progress=False)
    assert checkpoint.step_of(checkpoint.listing(trainer.run.checkpoints)[-1]) == 6


def test_a_curriculum_that_is_not_a_function_of_the_step_is_named(tiny):
    with pytest.raises(sedd.PluginError, match="curriculum Impure: "):
        list(sedd.Trainer(tiny(), curriculum=Impure()).steps())


@pytest.mark.parametrize("wrong", [float("nan"), 1.5, -0.1, "1", None, torch.ones(())])
def test_a_difficulty_that_is_no_number_from_0_to_1_is_refused(wrong, monkeypatch):
    monkeypatch.setattr(Linear, "difficulty", lambda self, step: wrong)
    with pytest.raises(sedd.PluginError, match=r"curriculum Linear: .*\(sedd \(built in\)\)"):
        rising_difficulty(Linear(), 3)


class Odd(sedd.Noise):
    """A noise schedule of a user, which is not installed as a plugin."""

    type: Literal["odd"] = "odd"
    sigma_max: float = 6.0

    def total(self, t: Tensor) -> Tensor:
        return self.sigma_max * t

    def rate(self, t: Tensor) -> Tensor:
        return torch.full_like(t, self.sigma_max)


def wrong_values(t: Tensor) -> dict[str, Any]:
    return {
        "nothing": None,
        "a number": 1.0,
        "another shape": torch.ones(len(t) + 1),
        "integers": torch.ones(len(t), dtype=torch.long),
        "not finite": torch.full_like(t, torch.nan),
        "infinite": torch.full_like(t, torch.inf),
        "negative": -torch.ones_like(t),
    }


@pytest.mark.parametrize("method", ["total", "rate"])
@pytest.mark.parametrize("wrong", list(wrong_values(torch.ones(1))))
def test_a_noise_schedule_that_returns_nonsense_is_named_with_the_step(tiny, monkeypatch, method, wrong):
    config = tiny().replace(noise=Odd())
    trainer = sedd.Trainer(config)
    monkeypatch.setattr(Odd, method, lambda self, t: wrong_values(t)[wrong])
    with pytest.raises(sedd.PluginError, match=rf"step 1.*noise Odd: {method}"):
        next(trainer.steps())


@pytest.mark.parametrize("method", ["total", "rate"])
def test_a_noise_schedule_that_raises_is_named(tiny, monkeypatch, method):
    trainer = sedd.Trainer(tiny().replace(noise=Odd()))

    def fails(self: Odd, t: Tensor) -> Tensor:
        raise ZeroDivisionError("oh")

    monkeypatch.setattr(Odd, method, fails)
    with pytest.raises(sedd.PluginError, match=rf"step 1.*noise Odd: {method}.*ZeroDivisionError: oh"):
        next(trainer.steps())


def test_more_noise_than_sigma_max_is_refused_and_an_infinite_rate_at_an_end_is_not(monkeypatch):
    ends = torch.tensor([0.0, 1.0], dtype=torch.float64)
    assert checked_sigma(LogLinear(), ends).tolist() == LogLinear().total(ends).tolist()
    monkeypatch.setattr(Odd, "rate", lambda self, t: 1.0 / t)
    assert checked_rate(Odd(), ends)[0] == torch.inf
    monkeypatch.setattr(Odd, "total", lambda self, t: 7.0 * t)
    with pytest.raises(sedd.PluginError, match="sigma_max"):
        checked_sigma(Odd(), ends)


class Device(sedd.Backend):
    """A device of a user, which is the CPU."""

    type: Literal["device"] = "device"

    def available(self) -> bool:
        return True

    def device(self, local_rank: int = 0) -> torch.device:
        return torch.device("cpu")


@pytest.mark.parametrize("method", ["available", "device", "fast_bfloat16", "prepare", "autocast", "memory", "seed"])
def test_a_backend_that_raises_is_named(tiny, tmp_path, monkeypatch, method):
    def fails(self: Device, *arguments: object) -> object:
        raise ZeroDivisionError("oh")

    monkeypatch.setattr(Device, method, fails)
    with pytest.raises(sedd.PluginError, match=rf"device backend Device: {method}.*ZeroDivisionError: oh"):
        sedd.Trainer(tiny().replace(device=Device()), run=tmp_path / "run").fit(progress=False)


@pytest.mark.parametrize("method", ["device", "autocast", "memory", "process_group"])
@pytest.mark.parametrize("wrong", [None, 1.0, [[]]])
def test_a_backend_that_returns_nonsense_is_named(monkeypatch, method, wrong):
    monkeypatch.setattr(Device, method, lambda self: wrong)
    with pytest.raises(sedd.PluginError, match=rf"device backend Device: {method}"):
        getattr(Device(), method)()


def test_too_little_memory_is_no_fault_of_a_backend(monkeypatch):
    def fails(self: Device) -> None:
        raise MemoryError

    monkeypatch.setattr(Device, "prepare", fails)
    with pytest.raises(MemoryError):
        Device().prepare()
