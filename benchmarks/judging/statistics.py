"""Intervals of shares."""

from __future__ import annotations

import math

from sedd.evaluation.intervals import Z95


def wilson(hits: int, count: int) -> tuple[float, float]:
    """The 95 % interval of a share (Wilson 1927); 0 to 1 without a case."""
    if not count:
        return 0.0, 1.0
    share, z2 = hits / count, Z95**2
    middle = (share + z2 / (2 * count)) / (1 + z2 / count)
    half = Z95 / (1 + z2 / count) * math.sqrt(share * (1 - share) / count + z2 / (4 * count**2))
    return max(0.0, middle - half), min(1.0, middle + half)


def share(hits: int, count: int) -> str:
    """A share in per cent with its 95 % interval, and the numbers behind it."""
    if not count:
        return "no case"
    low, high = wilson(hits, count)
    return f"{hits / count:.1%} ({low:.1%} to {high:.1%}; {hits} of {count})"
