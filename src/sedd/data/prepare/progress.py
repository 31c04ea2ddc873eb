"""The progress display of the preparation of data, for the command line and the trainer."""

from __future__ import annotations

import time
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

from sedd.terminal.activity import duration
from sedd.terminal.streams import message_console

DATA_LINE_SECONDS = 30.0
"""Time between two lines where there is no terminal."""


class DataProgress:
    """Progress of the preparation of data: a bar in a terminal, a line every 30 seconds elsewhere.

    Called with bytes done, bytes in total and sequences written. Nothing is shown before the first call, so nothing is
    shown for data that are prepared already.
    """

    def __init__(self, console: Console | None = None, *, enabled: bool = True) -> None:
        self.console = console or message_console()
        self.enabled, self.live = enabled, enabled and self.console.is_terminal
        self.bar = Progress(
            TextColumn("preparing data"),
            BarColumn(bar_width=20),
            DownloadColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[rate]}"),
            console=self.console,
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

    def __exit__(self, *_: object) -> None:
        if self.bar.live.is_started:
            self.bar.stop()

    def __call__(self, done: int, total: int, count: int) -> None:
        self.now, self.total = (time.monotonic(), done, count), total
        if self.start is None:
            self.start, self.printed_at = self.now, self.now[0]
            self.bar.start()
        rates = self._rates(self.now[0])
        self.bar.update(self.task, completed=done, total=total, rate=f"{count:,} sequences, {rates}")
        if self.enabled and not self.live and self.now[0] - self.printed_at >= DATA_LINE_SECONDS:
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
