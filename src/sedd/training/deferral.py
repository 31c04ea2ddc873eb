"""Signals wait while the weights change, so that none of them leaves half an update."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

# SIGINT last: once its own handler is back, it may raise KeyboardInterrupt at any moment.
_NAMES = ("SIGTERM", "SIGHUP", "SIGALRM", "SIGUSR1", "SIGUSR2", "SIGINT")
DEFERRED = tuple(getattr(signal, name) for name in _NAMES if hasattr(signal, name))


@contextmanager
def signals_deferred() -> Iterator[None]:
    """A context in which signals that a Python function handles wait for its end.

    Python runs handlers in the main thread only, so in any other thread nothing has to wait.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    received: list[int] = []

    def note(number: int, frame: FrameType | None) -> None:
        received.append(number)

    handlers = [(number, signal.getsignal(number)) for number in DEFERRED]
    handlers = [(number, handler) for number, handler in handlers if callable(handler)]
    try:
        for number, _ in handlers:
            signal.signal(number, note)
        yield
    finally:
        for number, handler in handlers:
            signal.signal(number, handler)
        for number in received:
            signal.raise_signal(number)
