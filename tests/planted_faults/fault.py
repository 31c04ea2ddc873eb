"""What a planted fault is: a plausible mistake as a small edit of one file."""

from __future__ import annotations

from dataclasses import dataclass


class PlantingError(Exception):
    """A fault that cannot be planted or judged; the list of faults is to be repaired, not the code."""


@dataclass(frozen=True)
class Fault:
    """A mistake that anyone could make."""

    name: str
    """Unique among all faults."""
    file: str
    """The file to edit, relative to `src/sedd`."""
    old: str
    """The right text. It is in the file exactly once."""
    new: str
    """The wrong text."""
    tests: tuple[str, ...] = ()
    """Test files to run, relative to `tests`; by default those of the room."""

    def planted(self, text: str) -> str:
        """The content `text` of the file with the mistake.

        Raises:
            PlantingError: if the right text is not in it exactly once.
        """
        count = text.count(self.old)
        if count != 1:
            raise PlantingError(f"{self.name}: expected once in {self.file}, found {count} times: {self.old!r}")
        return text.replace(self.old, self.new)


@dataclass(frozen=True)
class Room:
    """The faults of a part of the library, and the tests that are about it."""

    name: str
    tests: tuple[str, ...]
    """Test files, relative to `tests`, in the order in which they are run."""
    faults: tuple[Fault, ...]

    def tests_of(self, fault: Fault) -> tuple[str, ...]:
        """The test files to run for a fault of this room."""
        return fault.tests or self.tests
