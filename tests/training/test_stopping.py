"""A signal in any phase of a run: saved, ended, and resumed as if nothing had happened."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import pytest
import torch

import sedd
from sedd.distributed.signals import HANDLED, Interrupted, StopRequest, end_on_signals, interruptible
from sedd.evaluation.estimator import Estimator
from sedd.runs import checkpoint
from sedd.sampling.generation import Generation
from sedd.training.loading import Loader
from sedd.training.samples import SamplesAtSteps
from sedd.training.step import TrainStep

CONFIG = ("sampling.at_steps=[4]", "sampling.count=4", "training.log_every=2")
FOREVER = 600.0


class Slow(sedd.Tracker):
    """A tracker whose service answers late; a signal comes while it waits."""

    type: Literal["slow"] = "slow"
    at: Literal["open", "log", "close"]

    def open(self, run: Path, config: Any) -> Any:
        self._wait("open")

    def log(self, session: Any, step: int, metrics: Any) -> None:
        if step == 4:
            self._wait("log")

    def close(self, session: Any) -> None:
        self._wait("close")

    def _wait(self, at: str) -> None:
        if at == self.at:
            signal_and_wait()


def signal_and_wait(number: int = signal.SIGTERM) -> None:
    """Receive a signal, and go on for longer than anyone would wait."""
    os.kill(os.getpid(), number)
    time.sleep(FOREVER)


def once(
    monkeypatch: pytest.MonkeyPatch, cls: type, name: str, *, when: Callable[[Any], bool] = lambda _: True
) -> None:
    """Have the first call of a method for which `when` holds be cut short by a signal."""
    method = getattr(cls, name)

    def interrupted(self: Any, *arguments: Any, **options: Any) -> Any:
        if when(self):
            monkeypatch.setattr(cls, name, method)
            signal_and_wait()
        return method(self, *arguments, **options)

    monkeypatch.setattr(cls, name, interrupted)


def content(run: Path) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """The tensors of the last checkpoint, and the records without what depends on the clock."""
    saved = checkpoint.read(checkpoint.listing(run / "checkpoints")[-1])
    records = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    clocks = ("seconds", "residues_per_second", "memory")
    plain = [{key: value for key, value in record.items() if key not in clocks} for record in records]
    return dict(saved.tensors), plain


@pytest.fixture
def undisturbed(tiny: Callable[..., sedd.Config], tmp_path: Path) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    sedd.Trainer(tiny(*CONFIG), run=tmp_path / "undisturbed").fit(progress=False)
    return content(tmp_path / "undisturbed")


@pytest.mark.parametrize(
    ("cls", "name", "calls"),
    [
        (Loader, "__call__", 3),
        (TrainStep, "_gradient", 3),
        (Estimator, "_values", 2),
        (Generation, "draw", 1),
        (SamplesAtSteps, "_judge", 1),
    ],
    ids=["loading", "gradient", "evaluation", "sampling", "judging"],
)
def test_a_signal_ends_the_phase_at_once_and_a_resumed_run_is_as_if_nothing_had_happened(
    tiny, tmp_path, monkeypatch, capfd, undisturbed, cls, name, calls
):
    seen = []
    once(monkeypatch, cls, name, when=lambda _: len(seen.append(0) or seen) == calls)
    first = sedd.Trainer(tiny(*CONFIG), run=tmp_path / "run")
    with pytest.raises(SystemExit) as ended:
        first.fit(progress=False)
    assert ended.value.code == 128 + signal.SIGTERM
    assert "SIGTERM" in capfd.readouterr().err  # answered in words
    assert first.state.step == (2 if cls in (Loader, TrainStep) else 4)
    assert checkpoint.step_of(checkpoint.listing(tmp_path / "run" / "checkpoints")[-1]) == first.state.step
    sedd.Trainer(tiny(*CONFIG), run=tmp_path / "run", resume=True).fit(progress=False)
    tensors, records = content(tmp_path / "run")
    expected_tensors, expected_records = undisturbed
    assert records == expected_records
    for group, expected in expected_tensors.items():
        assert all(torch.equal(tensors[group][key], value) for key, value in expected.items())


@pytest.mark.parametrize("at", ["open", "log", "close"])
def test_a_tracker_that_waits_does_not_hold_up_a_signal(tiny, tmp_path, at):
    config = tiny().replace(trackers=[Slow(at=at)])
    trainer = sedd.Trainer(config, run=tmp_path / "run")
    with pytest.raises(SystemExit):
        trainer.fit(progress=False)
    assert trainer.state.step == {"open": 0, "log": 4, "close": 8}[at]
    assert checkpoint.step_of(checkpoint.listing(tmp_path / "run" / "checkpoints")[-1]) == trainer.state.step


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_second_signal_does_not_lose_what_the_first_one_saves(tiny, tmp_path, monkeypatch, capfd, number):
    write = checkpoint._write_files

    def impatient(*arguments: Any, **options: Any) -> Any:
        for _ in range(3):
            os.kill(os.getpid(), number)
        return write(*arguments, **options)

    once(monkeypatch, Estimator, "_values")
    monkeypatch.setattr(checkpoint, "_write_files", impatient)
    with pytest.raises(SystemExit):
        sedd.Trainer(tiny(), run=tmp_path / "run").fit(progress=False)
    saved = checkpoint.latest(tmp_path / "run" / "checkpoints")
    assert saved is not None
    assert saved[1].state["train"]["step"] == 4
    assert capfd.readouterr().err.count("nothing is lost") == 3


def test_once_saved_a_signal_ends_everything_at_once():
    with StopRequest(None) as stop:
        stop.number, stop.saved = signal.SIGTERM, True
        with pytest.raises(SystemExit) as ended:
            signal_and_wait()
    assert ended.value.code == 128 + signal.SIGTERM


def interrupted(grace: float) -> None:
    with interruptible(grace):
        torch.set_grad_enabled(False)  # as if the signal came between the lines of `no_grad`
        signal_and_wait()


def test_a_block_has_its_grace_and_leaves_torch_and_the_alarm_as_they_were():
    before = [signal.getsignal(number) for number in (*HANDLED, signal.SIGALRM)]
    for grace in (0.0, 0.05):
        with StopRequest(None):
            with pytest.raises(Interrupted):
                interrupted(grace)
            assert torch.is_grad_enabled()
    assert [signal.getsignal(number) for number in (*HANDLED, signal.SIGALRM)] == before
    assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)


def test_a_command_ends_in_good_order_and_puts_the_handlers_back(capfd):
    before = [signal.getsignal(number) for number in HANDLED]
    with end_on_signals():
        pass
    assert [signal.getsignal(number) for number in HANDLED] == before
    try:
        with pytest.raises(SystemExit) as ended, end_on_signals():
            signal_and_wait()
        assert ended.value.code == 128 + signal.SIGTERM
        assert "SIGTERM" in capfd.readouterr().err
        assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL  # a second one ends the process at once
    finally:
        for number, handler in zip(HANDLED, before, strict=True):
            signal.signal(number, handler)


def test_outside_of_a_run_a_block_changes_nothing():
    with interruptible():
        pass
    assert StopRequest.current is None


def test_a_hang_up_that_nohup_ignores_is_ignored():
    previous = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with StopRequest(None) as stop:
            os.kill(os.getpid(), signal.SIGHUP)
            assert stop.number is None
    finally:
        signal.signal(signal.SIGHUP, previous)
