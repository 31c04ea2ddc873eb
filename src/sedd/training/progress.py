"""Progress of training: a live bar in a terminal, a line every few steps without one."""

from __future__ import annotations

from typing import Self

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from sedd.evaluation.intervals import with_error
from sedd.runs.step_report import StepReport
from sedd.terminal.streams import message_console


class Display:
    """Displays the reports of training steps.

    Args:
        total: optimizer steps of the run.
        every: optimizer steps between lines without a terminal.
        enabled: whether to print at all.
        console: where to print; by default the standard error stream.
    """

    def __init__(self, total: int, *, every: int, enabled: bool, console: Console | None = None) -> None:
        self.console = console or message_console()
        self.total, self.every, self.enabled = total, every, enabled
        self.live = enabled and self.console.is_terminal
        self.bound = "-"
        self.explained = False
        self.recent = (0.0, 0.0)  # residues and seconds, exponentially weighted towards recent steps
        bar = [BarColumn(bar_width=20)] if self.console.width >= 130 else []  # narrow terminals show the numbers only
        columns = [
            TextColumn("[bold]{task.completed:,}/{task.total:,}"),
            *bar,
            TextColumn("{task.fields[numbers]}"),
            TimeRemainingColumn(compact=True),
        ]
        self.progress = Progress(*columns, console=self.console, disable=not self.live, refresh_per_second=4)
        self.task = self.progress.add_task("train", total=total, numbers="")

    def __enter__(self) -> Self:
        self.progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.progress.stop()

    def update(self, report: StepReport) -> None:
        """Display one step."""
        if not self.enabled:
            return
        self.recent = (
            0.95 * self.recent[0] + report.residues,
            0.95 * self.recent[1] + report.residues / report.residues_per_second,
        )
        if report.bound is not None:
            self.bound = with_error(report.bound.nats, report.bound.half_width)
        if self.live:
            self.progress.update(self.task, completed=report.step, numbers=self._numbers(report))
        elif report.bound is not None or report.step % self.every == 0 or report.step == self.total:
            text = f"step {report.step:,}/{self.total:,}  {self._numbers(report)}"
            if "±" in text and not self.explained:
                text, self.explained = f"{text}  (± is half of a 95 % interval)", True
            self.console.print(text, highlight=False, soft_wrap=True)

    def say(self, text: str) -> None:
        """Print a line of text above the bar."""
        if self.enabled:
            self.console.print(text, highlight=False, soft_wrap=True)

    def _numbers(self, report: StepReport) -> str:
        skipped = f"  skipped {report.skipped_total}" if report.skipped_total else ""
        return (
            f"loss {report.loss:.3f}  bound {self.bound}  difficulty {report.difficulty:.2f}  "
            f"{_rate(self.recent[0] / self.recent[1])} residues/s{skipped}"
        )


def _rate(value: float) -> str:
    return f"{value / 1000:.1f}k" if value >= 1000 else f"{value:.0f}"
