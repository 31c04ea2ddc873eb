"""How much of an evaluation is done."""

from __future__ import annotations

from collections.abc import Callable


class ShareDone:
    """Adds up pieces of work, and reports which share of all of it is done, 0 to 1.

    Args:
        report: called with the share.
        total: all of the work; at least 1 is assumed.
    """

    def __init__(self, report: Callable[[float], object], total: float) -> None:
        self._report, self._total, self._done = report, max(total, 1.0), 0.0

    def __call__(self, work: float) -> None:
        """Report that so much more is done."""
        self._done += work
        self._report(min(self._done / self._total, 1.0))
