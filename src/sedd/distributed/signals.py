"""Ctrl-C and SIGTERM end a run between two optimizer steps, after a checkpoint; a second Ctrl-C ends it at once."""

from __future__ import annotations

import signal
import threading
from types import FrameType
from typing import Any, Self

HANG_UP = [signal.SIGHUP] if hasattr(signal, "SIGHUP") else []  # a closed terminal; Windows has none
HANDLED = (signal.SIGINT, signal.SIGTERM, *HANG_UP)


class StopRequest:
    """A context in which the signals `HANDLED` set `number` instead of ending the process."""

    def __init__(self) -> None:
        self.number: int | None = None
        self._previous_handlers: dict[int, Any] = {}

    def __enter__(self) -> Self:
        # Only the main thread may set handlers; in any other thread the caller decides what signals do.
        if threading.current_thread() is threading.main_thread():
            for number in HANDLED:
                self._previous_handlers[number] = signal.signal(number, self._handle)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._previous_handlers.items():
            signal.signal(number, handler)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self.number is not None and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.number = number

    def exit(self) -> None:
        """End the process as the received signal would have; call it once everything is saved.

        Raises:
            KeyboardInterrupt: after SIGINT.
            SystemExit: with code 128 + number after any other signal.
        """
        if self.number == signal.SIGINT:
            raise KeyboardInterrupt
        if self.number is not None:
            raise SystemExit(128 + self.number)
