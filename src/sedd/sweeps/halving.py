"""Successive halving that knows the error of what it compares (after Jamieson and Talwalkar 2016).

At each rung the better half of all trials goes on. A trial of the other half is stopped only if its bound is above that
of the last of the better half by more than the error of their difference. It is never stopped on its training loss, and
never before its curriculum has reached the end of its ramp.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

from sedd.sweeps.tasks import Measurement

KEPT = 0.5
"""Share of the trials that goes on in any case."""
Z_PRUNE = 1.96
"""Standard errors by which a trial must be above the border to be stopped."""


def stopped(measured: Mapping[int, Measurement], candidates: frozenset[int]) -> frozenset[int]:
    """The candidates that end at this rung.

    Args:
        measured: all measurements of this rung by trial number, those of earlier generations included.
        candidates: the trials of this generation that may be stopped.
    """
    order = sorted(measured, key=lambda number: (measured[number].nats, number))
    kept = order[: max(1, math.ceil(KEPT * len(order)))]
    border = measured[kept[-1]]
    return frozenset(number for number in candidates if number not in kept and _surely_above(measured[number], border))


def _surely_above(one: Measurement, border: Measurement) -> bool:
    if not one.finite:
        return True
    if not (one.full_range and border.finite):
        return False
    difference = one.minus(border)
    return difference.nats > Z_PRUNE * difference.stderr
