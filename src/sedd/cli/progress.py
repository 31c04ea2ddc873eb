"""How far the preparation of data is: a bar in a terminal, a line now and then elsewhere."""

from __future__ import annotations

import time
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

EVERY = 30.0
"""Seconds between lines where there is no terminal."""


class DataProgress:
    """Called with bytes done, bytes in all and sequences written; shows nothing before the first call."""

    def __init__(self, console: Console) -> None:
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
        self.first: tuple[float, int, int] | None = None
        self.now = (0.0, 0, 0)
        self.total = 0
        self.printed = 0.0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.bar.live.is_started:
            self.bar.stop()

    def __call__(self, done: int, total: int, count: int) -> None:
        self.now, self.total = (time.monotonic(), done, count), total
        if self.first is None:
            self.first, self.printed = self.now, self.now[0]
            self.bar.start()
        self.bar.update(self.task, completed=done, total=total, rate=f"{count:,} sequences, {self._rate(self.now[0])}")
        if not self.live and self.now[0] - self.printed >= EVERY:
            self.printed = self.now[0]
            self._print(f"preparing data: {self._so_far()}, {self._rate(self.now[0])}, {self._left()}")

    def summary(self) -> str | None:
        """What was done since the first call, and how fast; None if there was nothing to do."""
        if self.first is None:
            return None
        now = time.monotonic()
        seconds = now - self.first[0]
        return (
            f"prepared {(self.now[1] - self.first[1]) / 1e6:,.1f} MB of file and {self.now[2] - self.first[2]:,} "
            f"sequences in {seconds:,.1f} s: {self._rate(now)}"
        )

    def _print(self, text: str) -> None:
        self.console.print(text, highlight=False, soft_wrap=True, markup=False)

    def _so_far(self) -> str:
        return f"{self.now[1] / 1e6:,.0f} of {self.total / 1e6:,.0f} MB, {self.now[2]:,} sequences"

    def _speeds(self, until: float) -> tuple[float, float]:
        assert self.first is not None  # noqa: S101  # tells the type checker
        seconds = max(until - self.first[0], 1e-3)
        return (self.now[1] - self.first[1]) / seconds, (self.now[2] - self.first[2]) / seconds

    def _rate(self, until: float) -> str:
        read, written = self._speeds(until)
        return f"{read / 1e6:,.1f} MB/s, {written:,.0f} sequences/s"

    def _left(self) -> str:
        read, _ = self._speeds(self.now[0])
        seconds = (self.total - self.now[1]) / read if read else 0.0
        return f"{seconds:,.0f} s left" if seconds < 100 else f"{seconds / 60:,.0f} min left"
