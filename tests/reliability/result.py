"""What a row of the scoreboard counts: cases, and what went wrong in them."""

from __future__ import annotations

import signal
import time
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import TypeVar

PROGRESS = "progress"
"""The file in the folder of a row that has its number of cases done and in all."""
SECONDS = 100
"""After which a case counts as lost: it would never end."""
DETAILS = 40
"""Failed cases that a row describes; all are counted."""
T = TypeVar("T")


@dataclass
class Result:
    """The outcome of a row."""

    cases: int = 0
    lost: int = 0
    """Cases after which work was gone, or a run went on otherwise than undisturbed."""
    silent: int = 0
    """Cases in which a fault was not noticed."""
    tracebacks: int = 0
    """Cases that ended in anything but a result or a typed error."""
    details: list[str] = field(default_factory=list)
    """The failed cases."""
    notes: list[str] = field(default_factory=list)
    """What was measured or left out, and the reason."""

    @property
    def failed(self) -> bool:
        """Whether anything was lost, silent or a traceback."""
        return bool(self.lost or self.silent or self.tracebacks)


class LostError(Exception):
    """Work was lost in a case."""


class SilentError(Exception):
    """A fault was not noticed in a case."""


def lost_unless(kept: bool, what: str) -> None:
    """Check that nothing was lost. Raises LostError."""
    if not kept:
        raise LostError(what)


def silent_unless(noticed: bool, what: str) -> None:
    """Check that a fault was noticed. Raises SilentError."""
    if not noticed:
        raise SilentError(what)


class Tally:
    """Counts the cases of a row, and keeps its progress in a file for the runner.

    Args:
        workdir: the folder of the row.
        total: number of cases that are expected.
    """

    def __init__(self, workdir: Path, total: float) -> None:
        self.result = Result()
        self._file, self._total, self._shown = workdir / PROGRESS, total, 0.0

    @contextmanager
    def case(self, name: str) -> Iterator[None]:
        """One case: whatever its block raises is counted under its kind."""
        result = self.result
        result.cases += 1
        try:
            with _time_limit():
                yield
        except LostError as error:
            result.lost += 1
            self._describe(f"lost: {name}: {error}")
        except SilentError as error:
            result.silent += 1
            self._describe(f"silent: {name}: {error}")
        except Exception as error:
            result.tracebacks += 1
            where = traceback.extract_tb(error.__traceback__)[-1]
            self._describe(f"traceback: {name}: {type(error).__name__}: {error} ({where.filename}:{where.lineno})")
        self.show(result.cases)

    def control(self, name: str, *, found: bool) -> None:
        """A case in which a fault was made on purpose that the check must find, or the check is worth nothing."""
        with self.case(f"control: {name}"):
            silent_unless(found, "the check does not find it")

    def show(self, done: float) -> None:
        """Write the progress for the runner, at most a few times a second."""
        if time.monotonic() - self._shown > 0.3:
            self._shown = time.monotonic()
            self._file.write_text(f"{done} {self._total}")

    def note(self, text: str) -> None:
        """Add a note to the result."""
        self.result.notes.append(text)

    def _describe(self, text: str) -> None:
        if len(self.result.details) < DETAILS:
            self.result.details.append(" ".join(text.split())[:500])


@contextmanager
def _time_limit() -> Iterator[None]:
    """Raise LostError in the main thread if the block does not end."""

    def late(*_: object) -> None:
        raise LostError(f"no end after {SECONDS} s")

    before = signal.signal(signal.SIGALRM, late)
    signal.alarm(SECONDS)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def sampled(cases: Sequence[T], scale: float, random: Random, *, least: int = 1) -> list[T]:
    """A random share of the cases, in their order; at least `least` of them."""
    count = min(len(cases), max(least, round(scale * len(cases))))
    return [cases[index] for index in sorted(random.sample(range(len(cases)), count))]
