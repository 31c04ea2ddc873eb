"""Ctrl-C, SIGTERM and a closed terminal end a run after a checkpoint, within a second or two.

A signal is answered in words at once. Work that can be thrown away is cut short: the gradient of a step, an evaluation,
samples, what a tracker sends. `interruptible` marks it. Everything else, saving above all, is finished.
"""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any, ClassVar, NoReturn, Self

import torch

HANG_UP = [signal.SIGHUP] if hasattr(signal, "SIGHUP") else []  # a closed terminal; Windows has none
HANDLED = (signal.SIGINT, signal.SIGTERM, *HANG_UP)
SAVING = "stopping after a checkpoint"


class Interrupted(BaseException):  # like KeyboardInterrupt, so that `except Exception` lets it pass
    """A signal has cut short a block of `interruptible`."""


class StopRequest:
    """A context in which the signals `HANDLED` set `number` instead of ending the process.

    Args:
        announce: what a signal will do, printed on standard error when the first one arrives; None: print nothing.
    """

    current: ClassVar[StopRequest | None] = None
    """The one whose handlers are installed."""

    def __init__(self, announce: str | None = SAVING) -> None:
        self.number: int | None = None
        self.announce = announce
        self.saved = False
        """Set it once everything is saved: then a further signal ends the process at once, whatever it is doing."""
        self._previous_handlers: dict[int, Any] = {}
        self._grace: float | None = None  # of the innermost interruptible block; None outside
        self._alarm: list[Any] = []  # the handler of SIGALRM before an alarm was set; empty while none is
        self._outer: StopRequest | None = None

    def __enter__(self) -> Self:
        # Only the main thread may set handlers; in any other thread the caller decides what signals do.
        if threading.current_thread() is threading.main_thread():
            for number in HANDLED:
                if not (number in HANG_UP and signal.getsignal(number) is signal.SIG_IGN):  # nohup
                    self._previous_handlers[number] = signal.signal(number, self._handle)
            self._outer, StopRequest.current = StopRequest.current, self
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._previous_handlers.items():
            signal.signal(number, handler)
        if StopRequest.current is self:
            StopRequest.current = self._outer

    @contextmanager
    def interruptible(self, grace: float) -> Iterator[None]:
        """See the function `interruptible`."""
        gradients, outer = torch.is_grad_enabled(), self._grace
        self._grace = grace
        try:
            if self.number is not None:
                self._interrupt()
            yield
        finally:
            self._grace = outer
            self._disarm()
            torch.set_grad_enabled(gradients)  # an exception may arrive between the lines of `torch.no_grad`

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self.number is not None and self.saved:
            raise_for(number)
        if self.number is not None:
            self._say(f"still {self.announce}; nothing is lost. kill -9 {os.getpid()} would not wait")
            return
        self.number = number
        self._say(f"{signal.Signals(number).name}: {self.announce}")
        if self._grace is not None:
            self._interrupt()

    def _interrupt(self) -> None:
        if not self._grace:
            raise Interrupted
        if hasattr(signal, "setitimer") and not self._alarm:  # Windows has no alarm
            self._alarm = [signal.signal(signal.SIGALRM, self._time_is_up)]
            signal.setitimer(signal.ITIMER_REAL, self._grace)

    def _disarm(self) -> None:
        if self._alarm:
            signal.setitimer(signal.ITIMER_REAL, 0.0)
            signal.signal(signal.SIGALRM, self._alarm.pop())

    def _time_is_up(self, number: int, frame: FrameType | None) -> None:
        if self.number is not None and self._grace is not None:
            raise Interrupted

    def _say(self, text: str) -> None:
        if self.announce is not None:
            say_at_once(text)


@contextmanager
def interruptible(grace: float = 0.0) -> Iterator[None]:
    """A block that a signal may end at once, or `grace` seconds later, because nothing is lost with it.

    It does so within a `StopRequest` and in the main thread only. The block must not contain a collective: the other
    ranks would wait in it.

    Raises:
        Interrupted: when a signal ends the block, or has come before it.
    """
    request = StopRequest.current
    if request is None or threading.current_thread() is not threading.main_thread():
        yield
        return
    with request.interruptible(grace):
        yield


@contextmanager
def end_on_signals() -> Iterator[None]:
    """Within it, a signal ends this process in good order: a word at once, then an exception, so that temporary files
    are removed. A second signal ends it at once."""

    def end(number: int, frame: FrameType | None) -> None:
        for other in HANDLED:
            signal.signal(other, signal.SIG_DFL)
        say_at_once(f"{signal.Signals(number).name}: stopping")
        raise_for(number)

    if threading.current_thread() is not threading.main_thread():  # only the main thread may set handlers
        yield
        return
    previous = {number: signal.getsignal(number) for number in HANDLED}
    handled = {number: handler for number, handler in previous.items() if handler is not signal.SIG_IGN}
    for number in handled:
        signal.signal(number, end)
    try:
        yield
    finally:
        for number, handler in handled.items():
            if signal.getsignal(number) is end:  # and not after a first signal
                signal.signal(number, handler)


def raise_for(number: int) -> NoReturn:
    """Raise KeyboardInterrupt for SIGINT, and SystemExit with code 128 + `number` for another signal."""
    if number == signal.SIGINT:
        raise KeyboardInterrupt
    raise SystemExit(128 + number)


def say_at_once(text: str) -> None:
    """Print a line on standard error from within a signal handler, where a buffered stream may be in use already."""
    with contextlib.suppress(OSError):
        os.write(2, f"{chr(10) if os.isatty(2) else ''}{text}\n".encode())  # a progress bar ends without a line break
