"""One value along the steps of a log, without what a resumed run wrote over; zeros and negative values."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from sedd.diagnosis.logs.clock import Timed
from sedd.diagnosis.logs.log import Log, Row, number


@dataclass(frozen=True)
class Point:
    """A value at a step."""

    place: int
    """Place of its row in the log."""
    row: Row
    step: int
    value: float


@dataclass(frozen=True)
class Restart:
    """A return to an earlier step."""

    place: int
    row: Row
    from_step: int
    to_step: int
    dropped: int
    """Values that came before and were written over."""


def points_of(log: Log, rows: Sequence[Timed], name: str) -> list[Point]:
    """The values of a name in the order of the log.

    Raises:
        DataError: if a value is not a number; names the line.
    """
    points = []
    for place, timed in enumerate(rows):
        if name not in timed.row.values:
            continue
        value = number(timed.row.values[name])
        if value is None:
            raise log.error(
                f"loss {timed.row.values[name]!r}: expected a number above 0, in nats per residue", timed.row
            )
        points.append(Point(place, timed.row, timed.step, value))
    return points


def increasing(points: Sequence[Point]) -> tuple[list[Point], list[Restart], int]:
    """The points in increasing steps, the later one counting; the returns to earlier steps, and the repeated steps."""
    kept: list[Point] = []
    restarts: list[Restart] = []
    repeated = 0
    for point in points:
        if kept and kept[-1].step == point.step:
            kept.pop()
            repeated += 1
        elif kept and kept[-1].step > point.step:
            last, count = kept[-1].step, len(kept)
            while kept and kept[-1].step >= point.step:
                kept.pop()
            restarts.append(Restart(point.place, point.row, last, point.step, count - len(kept)))
        kept.append(point)
    return kept, restarts, repeated


def notes_on(restarts: Sequence[Restart], repeated: int, what: str) -> list[str]:
    """What was dropped, in words."""
    notes = []
    for restart in restarts[:3]:
        line = "" if restart.row.line is None else f" at line {restart.row.line:,}"
        notes.append(
            f"The log goes back{line} from step {restart.from_step:,} to step {restart.to_step:,}, as a resumed run "
            f"does; the later {what} replace the earlier ones from there on (replaced: {restart.dropped:,})."
        )
    if len(restarts) > 3:
        notes.append(f"It goes back {len(restarts) - 3} more times.")
    if repeated:
        notes.append(f"Steps that were logged more than once: {repeated:,}; the last of the {what} counts.")
    return notes


def without_zeros(log: Log, points: list[Point], grad_norm: str | None) -> tuple[list[Point], list[str]]:
    """The losses without a single 0, which is the default of a logger, and with NaN where a run broke.

    Raises:
        DataError: if a loss is negative, or more than one is 0; names the line.
    """
    negative = next((point for point in points if point.value < 0.0 and math.isfinite(point.value)), None)
    if negative is not None:
        raise log.error(
            f"loss {negative.value:g}: expected a number above 0; a log-likelihood needs the opposite sign",
            negative.row,
        )
    zeros = [point for point in points if point.value == 0.0]
    if not zeros:
        return points, []
    # Hugging Face logs a loss of 0 for a step whose loss and gradient are not finite.
    broken = {point.place for point in zeros if _not_finite(point.row, grad_norm)}
    if len(broken) == len(zeros):
        note = f"A loss of 0 with a gradient that is not finite was read as a loss that is not finite ({len(zeros):,})."
        return [_broken(point) if point.place in broken else point for point in points], [note]
    if len(zeros) > 1:
        raise log.error(
            f"loss 0, the first of {len(zeros):,}: no model reaches it. Remove these lines if 0 is the default of the "
            "logger; write nan if the run broke",
            zeros[0].row,
        )
    note = f"The loss at step {zeros[0].step:,} is 0, probably the default of a logger; it was left out."
    return [point for point in points if point.value != 0.0], [note]


def _broken(point: Point) -> Point:
    return Point(point.place, point.row, point.step, math.nan)


def _not_finite(row: Row, grad_norm: str | None) -> bool:
    value = None if grad_norm is None or grad_norm not in row.values else number(row.values[grad_norm])
    return value is not None and not math.isfinite(value)
