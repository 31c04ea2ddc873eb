"""An optimizer and a schedule of one's own train, are recorded, and resume bit for bit."""

from __future__ import annotations

import math

import pytest
import torch
import yaml
from torch import nn

import sedd
from sedd.training import own_parts
from tests.training.test_interruptions import Interrupter
from tests.training.test_trainer import Brittle, contents, lines


def sgd(parameters):
    return torch.optim.SGD(parameters, lr=0.5, momentum=0.9)


class Counted(torch.optim.Optimizer):
    """Keeps its state in numbers, per parameter and per group, beside a tensor."""

    def __init__(self, parameters, lr=0.1):
        super().__init__(parameters, {"lr": lr, "steps": 0, "scale": 1.0})

    @torch.no_grad()
    def step(self, closure=None):
        for group in self.param_groups:
            group["steps"] += 1
            group["scale"] *= 0.97
            for p in group["params"]:
                state = self.state[p]
                state["count"] = state.get("count", 0) + 1
                state["mean"] = 0.5 * state.get("mean", 0.0) + p.grad.double().mean().item()
                state["momentum"] = p.grad.clone() if "momentum" not in state else state["momentum"] * 0.9 + p.grad
                p.add_(state["momentum"], alpha=-group["lr"] * group["scale"] / math.sqrt(state["count"]))


class Hidden(Counted):
    """Keeps state where no checkpoint looks."""

    total = 0

    def step(self, closure=None):
        super().step()
        self.total += 1


class Listed(Counted):
    """Keeps a list by parameter."""

    def step(self, closure=None):
        super().step()
        for group in self.param_groups:
            for p in group["params"]:
                self.state[p]["history"] = [p.grad.clone()]


class Shared(Counted):
    """Keeps state that belongs to no parameter."""

    def step(self, closure=None):
        super().step()
        self.state["all"] = {"x": 1}


class Sparse(Counted):
    """Keeps a sparse tensor."""

    def step(self, closure=None):
        super().step()
        for p in self.param_groups[0]["params"]:
            self.state[p]["sparse"] = p.grad.to_sparse()


OPTIMIZERS = {
    "SGD": sgd,
    "Adagrad": torch.optim.Adagrad,
    "Adafactor": lambda parameters: torch.optim.Adafactor(parameters, lr=1e-2),
    "Counted": Counted,
}


@pytest.mark.parametrize("optimizer", OPTIMIZERS.values(), ids=OPTIMIZERS)
def test_a_run_with_an_optimizer_of_ones_own_resumes_bit_for_bit(tiny, tmp_path, optimizer):
    config = tiny("training.eval_every=8", "evaluation.sequences=8", "evaluation.train_sequences=0")
    for name in ("straight", "stopped"):
        trainer = sedd.Trainer(config, optimizer=optimizer, run=tmp_path / name)
        trainer.fit(progress=False, until=None if name == "straight" else 5)
    assert type(trainer.optimizer).__name__ == trainer.config.optim.own.name
    resumed = sedd.Trainer(config, optimizer=optimizer, run=tmp_path / "stopped", resume=True)
    assert resumed.state.step == 5
    resumed.fit(progress=False)
    assert contents(tmp_path / "straight") == contents(tmp_path / "stopped")
    assert lines(tmp_path / "straight") == lines(tmp_path / "stopped")


def test_an_update_that_was_interrupted_is_undone_with_the_state_of_the_optimizer(tiny, monkeypatch):
    for optimizer in (torch.optim.Adagrad, Counted):  # the state of Adagrad begins with numbers of its own
        expected = [report.loss for report in sedd.Trainer(tiny(), optimizer=optimizer).steps()]
        trainer = sedd.Trainer(tiny(), optimizer=optimizer)
        with monkeypatch.context() as patched:
            Interrupter(RuntimeError(), 3, after=True).patch(patched, trainer.ema, "update")
            with pytest.raises(RuntimeError):
                list(trainer.steps())
        assert [report.loss for report in trainer.steps()] == expected


def test_each_group_keeps_its_own_peak_and_the_schedule_of_the_run_file_scales_it(tiny):
    def two(parameters):
        return torch.optim.SGD([{"params": parameters[:1], "lr": 0.2}, {"params": parameters[1:]}], lr=0.1)

    trainer = sedd.Trainer(tiny("optim.warmup=4", "lr_schedule.type=constant"), optimizer=two)
    rates = [(report.lr, *(group["lr"] for group in trainer.optimizer.param_groups)) for report in trainer.steps()]
    assert rates[0] == pytest.approx((0.05, 0.05, 0.025))
    assert rates[-1] == pytest.approx((0.2, 0.2, 0.1))
    assert trainer.config.optim.lr == 0.2


def test_what_trained_is_in_the_run_file_and_the_model_loads_without_it(tiny, tmp_path):
    trainer = sedd.Trainer(tiny(), optimizer=sgd, lr_schedule=lambda step: 1 / (step + 1), run=tmp_path / "run")
    trainer.fit(progress=False)
    recorded = yaml.safe_load((tmp_path / "run" / "config.yaml").read_text())
    assert recorded["optim"]["own"]["name"] == "SGD"
    assert recorded["optim"]["own"]["groups"][0]["momentum"] == 0.9
    assert recorded["optim"]["lr"] == recorded["optim"]["own"]["groups"][0]["lr"] == 0.5
    assert recorded["lr_schedule"]["own"]["factors"][:2] == [1.0, 0.5]
    assert sedd.load(tmp_path / "run").step > 0
    assert sedd.diagnose(tmp_path / "run").config == trainer.config


DIFFERENT = {
    "AdamW": ({}, ("optim.own",)),
    "another momentum": ({"optimizer": lambda p: torch.optim.SGD(p, lr=0.5, momentum=0.8)}, ("0.9", "0.8")),
    "another class": ({"optimizer": lambda p: torch.optim.RMSprop(p, lr=0.5)}, ("SGD", "RMSprop")),
    "another peak": ({"optimizer": lambda p: torch.optim.SGD(p, lr=0.4, momentum=0.9)}, ("0.5", "0.4")),
    "no schedule": ({"optimizer": sgd, "lr_schedule": None}, ("own", "cosine")),
    "another schedule": ({"optimizer": sgd, "lr_schedule": lambda step: 1.0 - step / 17}, ("0.9375", "0.941176471")),
}


@pytest.mark.parametrize(("given", "named"), DIFFERENT.values(), ids=DIFFERENT)
def test_a_run_is_not_resumed_with_another_optimizer_or_schedule(tiny, tmp_path, given, named):
    schedule = {"lr_schedule": lambda step: 1.0 - step / 16}
    sedd.Trainer(tiny(), optimizer=sgd, **schedule, run=tmp_path / "run").fit(until=2, progress=False)
    with pytest.raises(sedd.CheckpointError) as caught:
        sedd.Trainer(tiny(), **{**schedule, **given}, run=tmp_path / "run", resume=True)
    assert all(word in str(caught.value) for word in named)
    same = {"optimizer": sgd, "lr_schedule": lambda step: (16 - step) / 16}
    again = sedd.Trainer(tiny(), **same, run=tmp_path / "run", resume=True)
    assert again.state.step == 2


def test_a_run_with_adamw_is_not_resumed_with_an_optimizer_of_ones_own(tiny, tmp_path):
    sedd.Trainer(tiny(), run=tmp_path / "run").fit(until=2, progress=False)
    with pytest.raises(sedd.CheckpointError):
        sedd.Trainer(tiny(), optimizer=sgd, run=tmp_path / "run", resume=True)


def test_the_recorded_configuration_alone_does_not_train(tiny, tmp_path):
    sedd.Trainer(tiny(), optimizer=sgd, run=tmp_path / "run").fit(until=2, progress=False)
    config = sedd.load_config(tmp_path / "run" / "config.yaml")
    with pytest.raises(sedd.ConfigError) as caught:
        sedd.Trainer(config, run=tmp_path / "run", resume=True)
    assert caught.value.keys == ("optim.own",)
    assert sedd.Trainer(config, optimizer=sgd, run=tmp_path / "run", resume=True).state.step == 2


def test_the_schedule_is_the_factor_of_the_peak_at_every_step(tiny):
    trainer = sedd.Trainer(tiny("optim.lr=0.01"), lr_schedule=lambda step: 0.5**step)
    assert [report.lr for report in trainer.steps()] == [0.01 * 0.5**step for step in range(8)]
    assert trainer.config.lr_schedule.own.factor(3) == 0.125


def growing(step, calls=[]):  # noqa: B006  # the memory is the point
    calls.append(step)
    return len(calls)


@pytest.mark.parametrize(
    "schedule", [lambda step: -1.0, lambda step: "1", lambda step: math.nan, lambda step: [][0], growing]
)
def test_a_schedule_that_is_no_function_of_the_step_is_refused(tiny, schedule):
    with pytest.raises(sedd.ConfigError):
        sedd.Trainer(tiny(), lr_schedule=schedule)


@pytest.mark.parametrize("optimizer", [torch.optim.LBFGS, Hidden, Listed, Shared, Sparse])
def test_an_optimizer_that_cannot_be_resumed_is_refused_before_it_trains(tiny, optimizer):
    with pytest.raises(sedd.ConfigError, match=optimizer.__name__):
        sedd.Trainer(tiny(), optimizer=optimizer)


def test_an_optimizer_of_other_parameters_is_refused(tiny):
    model = Brittle(set())
    for given in (
        torch.optim.SGD(nn.Linear(1, 1).parameters(), lr=0.1),
        lambda parameters: None,
        lambda parameters: 1 / 0,
        5,
        lambda parameters: torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=0.1),
    ):
        with pytest.raises(sedd.ConfigError):
            sedd.Trainer(tiny(), model=model, optimizer=given)
    with pytest.raises(sedd.ConfigError, match="lacks"):
        sedd.Trainer(tiny(), optimizer=lambda parameters: torch.optim.SGD(parameters[1:], lr=0.1))
    made = torch.optim.SGD(model.parameters(), lr=0.1)
    trainer = sedd.Trainer(tiny(), model=model, optimizer=made)
    assert trainer.optimizer is made
    before = model.table.weight.clone()
    next(trainer.steps())
    assert not torch.equal(before, model.table.weight)


def test_the_optimizer_of_a_trainer_cannot_be_assigned(tiny):
    trainer = sedd.Trainer(tiny())
    with pytest.raises(AttributeError):
        trainer.optimizer = sgd(list(trainer.network.parameters()))


@pytest.mark.parametrize("n_iters", [1, 2, 8, 500_000, 10**9])
def test_a_schedule_is_recorded_from_its_first_step_to_its_last(n_iters):
    steps = own_parts.recorded_steps(n_iters)
    assert steps[0] == 0
    assert steps[-1] == n_iters - 1
    assert steps == sorted(set(steps))
    assert len(steps) <= 2 * own_parts.RECORDED_STEPS
