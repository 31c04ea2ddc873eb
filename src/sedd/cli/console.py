"""What all commands share: consoles, exit codes, log messages, tables, numbers, JSON and progress displays."""

from __future__ import annotations

import json
import logging
import math
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from enum import IntEnum
from types import TracebackType
from typing import Any, Self

import typer
from rich.console import Console
from rich.logging import RichHandler
from rich.markup import escape
from rich.progress import BarColumn, DownloadColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Column, Table

from sedd.errors import LOST
from sedd.evaluation.statistics import Z95

out = Console(highlight=False, soft_wrap=True)
"""Results, on standard output."""
err = Console(stderr=True, highlight=False, soft_wrap=True)
"""Progress, warnings and errors, on standard error."""

DATA_LINE_SECONDS = 30.0
"""Time between two lines on the preparation of data where there is no terminal."""


class ExitCode(IntEnum):
    """Exit codes other than 0."""

    PROBLEM = 1
    """The command did its work and found a problem: `diagnose --fail`, `plugins`."""
    ERROR = 2
    """An expected error: one message on standard error."""
    LOST_RANK = LOST
    """Another process of the group was lost."""
    INTERRUPTED = 130
    """Ctrl-C."""


def attach_logging() -> None:
    """Show the messages that the library logs, on standard error."""
    logger = logging.getLogger("sedd")
    if not any(isinstance(handler, RichHandler) for handler in logger.handlers):
        logger.addHandler(RichHandler(console=err, show_time=False, show_path=False, show_level=False))
        logger.setLevel(logging.INFO)


def show_warning(message: Warning | str, *_: object, **__: object) -> None:
    """Replacement of `warnings.showwarning`: one line on standard error."""
    err.print(f"[yellow]warning:[/yellow] {escape(str(message))}")


def print_json(data: Mapping[str, Any]) -> None:
    """Print plain data as one line of JSON."""
    typer.echo(json.dumps(data))


def print_saved(figure: object) -> None:
    """Print where a figure was saved."""
    out.print(f"\nFigure: {figure}", markup=False)


# Tables and numbers ---------------------------------------------------------------------------------------------------


def table(title: str, *columns: str | Column) -> Table:
    """An empty table; a column that is given by its name alone is left-aligned and wraps."""
    columns = tuple(Column(escape(name), overflow="fold") if isinstance(name, str) else name for name in columns)
    return Table(*columns, title=f"[bold]{title}[/bold]", title_justify="left")


def number(name: str) -> Column:
    """A right-aligned column for numbers."""
    return Column(escape(name), justify="right", overflow="fold")


def print_table(made: Table) -> None:
    """Print a table after an empty line."""
    out.print()
    out.print(made, soft_wrap=False)


def margin(stderr: float) -> str:
    """Half of the 95 % interval of a number with this standard error, to print after ±."""
    return f"{Z95 * stderr:.4f}" if math.isfinite(stderr) else "?"


def duration(seconds: float) -> str:
    """A duration in seconds, minutes or hours, with three significant digits."""
    unit, size = ("h", 3600.0) if seconds >= 7200.0 else ("min", 60.0) if seconds >= 120.0 else ("s", 1.0)
    value = seconds / size
    digits = 2 if value < 10 else 1 if value < 100 else 0
    return f"{value:,.{digits}f} {unit}"


# Progress -------------------------------------------------------------------------------------------------------------


@contextmanager
def progress_bar(what: str, total: int) -> Iterator[Callable[[float], None]]:
    """A bar in a terminal, nothing elsewhere; call the yielded function with the number of items done so far."""
    columns = (TextColumn(what), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=err, transient=True, disable=not err.is_terminal) as bar:
        task = bar.add_task("", total=total)
        yield lambda done: bar.update(task, completed=done)


class DataProgress:
    """Progress of the preparation of data: a bar in a terminal, a line every 30 seconds elsewhere.

    Called with bytes done, bytes in total and sequences written. Nothing is shown before the first call, so nothing is
    shown for data that are prepared already.
    """

    def __init__(self, console: Console = err) -> None:
        self.console = console
        self.live = console.is_terminal
        self.bar = Progress(
            TextColumn("preparing data"),
            BarColumn(bar_width=20),
            DownloadColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[rate]}"),
            console=console,
            transient=True,
            disable=not self.live,
        )
        self.task = self.bar.add_task("", rate="", total=None)
        self.start: tuple[float, int, int] | None = None
        self.now = (0.0, 0, 0)
        self.total = 0
        self.printed_at = 0.0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.bar.live.is_started:
            self.bar.stop()

    def __call__(self, done: int, total: int, count: int) -> None:
        self.now, self.total = (time.monotonic(), done, count), total
        if self.start is None:
            self.start, self.printed_at = self.now, self.now[0]
            self.bar.start()
        rates = self._rates(self.now[0])
        self.bar.update(self.task, completed=done, total=total, rate=f"{count:,} sequences, {rates}")
        if not self.live and self.now[0] - self.printed_at >= DATA_LINE_SECONDS:
            self.printed_at = self.now[0]
            so_far = f"{done / 1e6:,.0f} of {total / 1e6:,.0f} MB, {count:,} sequences"
            self.console.print(f"preparing data: {so_far}, {rates}, {self._time_left()} left", markup=False)

    def summary(self) -> str | None:
        """What was done since the first call, and the rates; None if there was nothing to do."""
        if self.start is None:
            return None
        now = time.monotonic()
        (began, bytes_before, count_before), (_, done, count) = self.start, self.now
        return (
            f"prepared {(done - bytes_before) / 1e6:,.1f} MB of file and {count - count_before:,} sequences in "
            f"{duration(now - began)}: {self._rates(now)}"
        )

    def _speeds(self, until: float) -> tuple[float, float]:
        """Bytes and sequences per second since the first call."""
        assert self.start is not None  # noqa: S101  # tells the type checker
        seconds = max(until - self.start[0], 1e-3)
        return (self.now[1] - self.start[1]) / seconds, (self.now[2] - self.start[2]) / seconds

    def _rates(self, until: float) -> str:
        read, written = self._speeds(until)
        return f"{read / 1e6:,.1f} MB/s, {written:,.0f} sequences/s"

    def _time_left(self) -> str:
        read, _ = self._speeds(self.now[0])
        return duration((self.total - self.now[1]) / read if read else 0.0)
