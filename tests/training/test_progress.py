"""What is shown while a run trains: time left, first bound, evaluations; in a narrow terminal and without one."""

from __future__ import annotations

import io
import re
from contextlib import nullcontext

import pytest
from rich.console import Console

import sedd
from sedd.config.sections import Training
from sedd.training import progress
from sedd.training.evaluating import showing_evaluations
from sedd.training.progress import EVALUATING, Display


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(progress, "time", clock)
    return clock


def report(step: int) -> sedd.StepReport:
    return sedd.StepReport(
        step=step, loss=2.0, difficulty=1.0, mask_rate=0.5, mask_rate_max=1.0, grad_norm=1.0, lr=1e-3, residues=100,
        residues_per_second=100.0, skipped=False, skipped_total=0,
    )  # fmt: skip


def display(*, terminal: bool, width: int = 80, **training: int) -> tuple[Display, io.StringIO]:
    output = io.StringIO()
    console = Console(file=output, force_terminal=terminal, width=width, highlight=False)
    return Display(Training(**training), console=console), output


def test_lines_have_the_time_left_and_say_when_the_first_bound_comes(clock: Clock) -> None:
    shown, output = display(terminal=False, n_iters=400, log_every=10, eval_every=100)
    for step in range(1, 21):
        clock.now += 2.0
        shown.update(report(step))
    first, *_, last = output.getvalue().splitlines()
    assert "bound at step 100" in first
    assert last.startswith("step 20/400")
    assert last.endswith("13 min left")


def test_the_time_left_counts_evaluations_apart_from_steps(clock: Clock) -> None:
    shown, output = display(terminal=False, n_iters=30, log_every=1, eval_every=10)
    for step in range(1, 12):
        clock.now += 1.0
        if step == 10:
            with shown.doing(EVALUATING):
                clock.now += 100.0
        shown.update(report(step))
    lines = output.getvalue().splitlines()
    assert lines[8].endswith("21 s left")
    assert lines[10].endswith("4 min left")  # 19 steps and 2 evaluations, 219 s


def test_slow_steps_are_not_silent_until_the_next_log_line(clock: Clock) -> None:
    shown, output = display(terminal=False, n_iters=400, log_every=50)
    for step in range(1, 11):
        clock.now += 20.0
        shown.update(report(step))
    assert [line.split()[1] for line in output.getvalue().splitlines()] == [f"{n}/400" for n in (1, 3, 5, 7, 9)]


@pytest.mark.parametrize("width", [60, 80, 100, 200])
def test_the_time_left_is_readable_in_a_terminal(clock: Clock, width: int) -> None:
    shown, output = display(terminal=True, width=width, n_iters=500_000)
    with shown:
        for step in range(100_001, 100_011):
            clock.now += 0.5
            shown.update(report(step))
        shown.progress.refresh()
        with shown.doing("evaluating") as show:
            show(0.4)
            shown.progress.refresh()
    lines = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "\n", output.getvalue()).replace("\r", "\n").splitlines()
    assert any("55 h 33 min left  loss 2.000" in line for line in lines)
    assert any("evaluating 40%  55 h 33 min left" in line for line in lines)
    assert max(map(len, lines)) <= width


def test_evaluations_are_shown_with_the_share_that_is_done(tiny, tmp_path):
    trainer = sedd.Trainer(tiny(), run=tmp_path / "run")
    shown: list[tuple[str, float]] = []

    def doing(what):
        return nullcontext(lambda share: shown.append((what, share)))

    before = trainer.evaluator
    with showing_evaluations(trainer, doing):
        trainer.evaluate()
        shares = [share for _, share in shown]
        assert shares == sorted(set(shares))
        assert shares[-1] == 1.0
        shown.clear()
        trainer.evaluator.evaluated(report(1))  # with the probe, averaged and raw
    assert shown[-1] == ("evaluating", 1.0)
    assert trainer.evaluator is before


def test_a_shown_evaluation_gives_the_same_numbers(tiny, tmp_path):
    quiet = sedd.Trainer(tiny(), run=tmp_path / "quiet").fit(progress=False)
    assert sedd.Trainer(tiny(), run=tmp_path / "shown").fit() == quiet
