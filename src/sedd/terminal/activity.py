"""What a program does right now and how long it will take: a bar in a terminal, lines of text elsewhere."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Lock, Timer

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TaskProgressColumn, TextColumn, TimeElapsedColumn

SILENT_SECONDS = 1.5
"""Time after which something that still runs is mentioned where there is no terminal."""
LINE_SECONDS = 30.0
"""Time between two lines where there is no terminal."""


def duration(seconds: float) -> str:
    """A duration in seconds, minutes or hours, with three significant digits."""
    unit, size = ("h", 3600.0) if seconds >= 7200.0 else ("min", 60.0) if seconds >= 120.0 else ("s", 1.0)
    value = seconds / size
    digits = 2 if value < 10 else 1 if value < 100 else 0
    return f"{value:,.{digits}f} {unit}"


def time_left(seconds: float) -> str:
    """A duration to come, as far as it can be known: whole seconds, minutes or hours and minutes."""
    if seconds < 99.5:
        return f"{seconds:.0f} s left"
    minutes = round(seconds / 60.0)
    return f"{minutes} min left" if minutes < 100 else f"{minutes // 60} h {minutes % 60:02d} min left"


@contextmanager
def activity(what: str, total: float | None = None, *, console: Console) -> Iterator[Callable[[float], None]]:
    """Show that something runs; call the yielded function with how much of `total` is done so far.

    Where there is no terminal, nothing is printed about what takes less than `SILENT_SECONDS`.

    Args:
        what: what is done, such as `evaluating 1,000 sequences`.
        total: how much there is to do; None if it is not known.
        console: where to show it.
    """
    shown = _Bar(what, total, console) if console.is_terminal else _Lines(what, total, console)
    with shown:
        yield shown.update


class _Clock:
    """Since when, how much, and how long it will take."""

    def __init__(self, total: float | None) -> None:
        self.total, self.done, self.began = total, 0.0, time.monotonic()

    def left(self) -> str:
        """The time left as text; empty while nothing is known."""
        if not self.total or self.done <= 0.0:
            return ""
        seconds = time.monotonic() - self.began
        return time_left(max(0.0, seconds / self.done * (self.total - self.done)))


class _Bar:
    def __init__(self, what: str, total: float | None, console: Console) -> None:
        self.clock = _Clock(total)
        known = [BarColumn(bar_width=20), TaskProgressColumn(), TextColumn("{task.fields[left]}")] if total else []
        columns = [SpinnerColumn(), TextColumn("{task.description}", markup=False), *known, TimeElapsedColumn()]
        self.bar = Progress(*columns, console=console, transient=True, disable=console.quiet)
        self.task = self.bar.add_task(what, total=total, left="")

    def __enter__(self) -> None:
        self.bar.start()

    def __exit__(self, *_: object) -> None:
        self.bar.stop()

    def update(self, done: float) -> None:
        self.clock.done = done
        self.bar.update(self.task, completed=done, left=self.clock.left())


class _Lines:
    def __init__(self, what: str, total: float | None, console: Console) -> None:
        self.what, self.console, self.clock = what, console, _Clock(total)
        self.printed_at: float | None = None
        self.lock = Lock()
        self.timer = Timer(SILENT_SECONDS, self._first)
        self.timer.daemon = True

    def __enter__(self) -> None:
        self.timer.start()

    def __exit__(self, *_: object) -> None:
        self.timer.cancel()

    def update(self, done: float) -> None:
        self.clock.done = done
        with self.lock:
            if done == self.clock.total:
                return
            if self.printed_at is not None and time.monotonic() - self.printed_at >= LINE_SECONDS:
                self._print()

    def _first(self) -> None:
        with self.lock:
            self._print()

    def _print(self) -> None:
        self.printed_at = time.monotonic()
        total = self.clock.total
        share = f": {self.clock.done / total:.0%}" if total and self.clock.done else ""
        left = self.clock.left()
        self.console.print(f"{self.what}{share}{', ' + left if left else ' ...'}", markup=False)
