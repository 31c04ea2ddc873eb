"""Progress of training: a live line in a terminal, a line every few steps without one. Both have the time left."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn

from sedd.config.sections import Training
from sedd.evaluation.intervals import with_error
from sedd.runs.step_report import StepReport
from sedd.terminal.activity import LINE_SECONDS, activity, time_left
from sedd.terminal.streams import message_console

EVALUATING = "evaluating"
"""What is shown during an evaluation."""
WIDE = 130
"""Columns from which a terminal has room for a bar."""


class Display:
    """Displays the reports of training steps.

    Args:
        training: number of steps, and how often they are logged and evaluated.
        step: optimizer steps done before.
        compiled: whether the first step compiles the network, which takes up to a minute.
        enabled: whether to print at all.
        console: where to print; by default the standard error stream.
    """

    def __init__(
        self,
        training: Training,
        *,
        step: int = 0,
        compiled: bool = False,
        enabled: bool = True,
        console: Console | None = None,
    ) -> None:
        self.console = console or message_console()
        self.total, self.every, self.enabled = training.n_iters, training.log_every, enabled
        self.eval_every = training.eval_every
        self.live = enabled and self.console.is_terminal
        self.bound = f"at step {min((step // training.eval_every + 1) * training.eval_every, self.total):,}"
        self.explained = False
        self.recent = (0.0, 0.0)  # residues and seconds, exponentially weighted towards recent steps
        self.clock: tuple[int, float] | None = None  # step and time at the end of the first step
        self.paused = 0.0  # seconds since then that were no steps
        self.evaluations: list[float] = []  # seconds of each evaluation
        self.printed_at = 0.0
        bar = [BarColumn(bar_width=20)] if self.console.width >= WIDE else []
        columns = [TextColumn("[bold]{task.completed:,}/{task.total:,}"), *bar, TextColumn("{task.fields[text]}")]
        self.progress = Progress(*columns, console=self.console, disable=not self.live, refresh_per_second=4)
        begins = "first step, which compiles the network: up to a minute" if compiled else "first step"
        self.task = self.progress.add_task("train", total=self.total, completed=step, text=begins)
        self.text = begins

    def __enter__(self) -> Self:
        self.progress.start()
        if self.enabled and not self.live and "compiles" in self.text:
            self.console.print(self.text)
        return self

    def __exit__(self, *_: object) -> None:
        self.progress.stop()

    def update(self, report: StepReport) -> None:
        """Display one step."""
        if not self.enabled or not report.residues:  # an evaluation that was made up for
            return
        now = time.monotonic()
        self.clock = self.clock or (report.step, now)
        self.recent = (
            0.95 * self.recent[0] + report.residues,
            0.95 * self.recent[1] + report.residues / report.residues_per_second,
        )
        if report.bound is not None:
            self.bound = with_error(report.bound.nats, report.bound.half_width)
        if self.live:
            self.text = self._fitting(report, now)
            self.progress.update(self.task, completed=report.step, text=self.text)
            return
        regular = report.bound is not None or report.step % self.every == 0 or report.step == self.total
        if regular or now - self.printed_at >= LINE_SECONDS:
            self.printed_at = now
            numbers = [f"step {report.step:,}/{self.total:,}", *self._numbers(report), self._left(report.step, now)]
            text = "  ".join(filter(None, numbers))
            if "±" in text and not self.explained:
                text, self.explained = f"{text}  (± is half of a 95 % interval)", True
            self.console.print(text, markup=False, highlight=False, soft_wrap=True)

    @contextmanager
    def doing(self, what: str) -> Iterator[Callable[[float], object]]:
        """Show something that is done between two steps; call what is yielded with the share that is done, 0 to 1."""
        began = time.monotonic()
        with self._shown(what) as show:
            yield show
        seconds = time.monotonic() - began
        self.paused += seconds if self.clock else 0.0
        if what == EVALUATING:
            self.evaluations.append(seconds)

    @contextmanager
    def _shown(self, what: str) -> Iterator[Callable[[float], object]]:
        if not self.enabled:
            yield lambda share: None
        elif not self.live:
            with activity(what, 1.0, console=self.console) as show:
                yield show
        else:

            def show_share(share: float) -> None:
                done = f" {share:.0%}" if share else ""
                self.progress.update(self.task, text=f"{what}{done}  {self.text}"[: self._room()])

            show_share(0.0)
            yield show_share
            self.progress.update(self.task, text=self.text)

    def say(self, text: str) -> None:
        """Print a line of text above the bar."""
        if self.enabled:
            self.console.print(text, highlight=False, soft_wrap=True, markup=False)

    def _left(self, step: int, now: float) -> str:
        """The time left: that of the steps and that of the evaluations, each from their mean so far.

        The first step is left out, because much is done in it for the first time.
        """
        if self.clock is None or not self.clock[0] < step < self.total:
            return ""
        began, since = self.clock
        seconds = (now - since - self.paused) / (step - began) * (self.total - step)
        if self.evaluations:
            coming = -(-self.total // self.eval_every) - step // self.eval_every
            seconds += coming * sum(self.evaluations) / len(self.evaluations)
        return time_left(seconds)

    def _room(self) -> int:
        """Columns for the text of the live line."""
        bar = 21 if self.console.width >= WIDE else 0
        return self.console.width - 2 * len(f"{self.total:,}") - 3 - bar

    def _fitting(self, report: StepReport, now: float) -> str:
        """What fits on the live line: the time left and the first of the numbers."""
        text = self._left(report.step, now)
        for number in self._numbers(report):
            longer = f"{text}  {number}" if text else number
            if len(longer) > self._room():
                break
            text = longer
        return text

    def _numbers(self, report: StepReport) -> list[str]:
        """The numbers of a step as texts, the most important one first."""
        skipped = [f"skipped {report.skipped_total}"] if report.skipped_total else []
        rate = _rate(self.recent[0] / self.recent[1])
        return [
            f"loss {report.loss:.3f}", f"bound {self.bound}", *skipped, f"difficulty {report.difficulty:.2f}",
            f"{rate} residues/s",
        ]  # fmt: skip


def _rate(value: float) -> str:
    return f"{value / 1000:.1f}k" if value >= 1000 else f"{value:.0f}"
