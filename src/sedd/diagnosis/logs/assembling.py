"""From a log to a curve."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from sedd.diagnosis.curve import Array, Curve, Unit
from sedd.diagnosis.logs.clock import Timed, timed_rows
from sedd.diagnosis.logs.columns import Columns, choose
from sedd.diagnosis.logs.log import Log, Row, number
from sedd.diagnosis.logs.series import Point, Restart, increasing, notes_on, points_of, without_zeros
from sedd.errors import DataError


def curve_of(log: Log, *, loss: str | None = None, unit: Unit | None = None) -> Curve:
    """The curve of a log.

    Args:
        log: the rows that a format gave.
        loss: the column, key or tag of the training loss; by default the one that is clearly meant.
        unit: the unit of the losses, where the user has named it.

    Raises:
        ConfigError: if there is no column `loss`.
        DataError: if it is not clear which column is the step or the loss, or a line cannot be read; names the line.
    """
    if not log.rows:
        raise log.error("no losses in it; expected lines of step and loss such as 500,0.7816")
    columns = choose(log, loss)
    log, fill_notes = _without_fill(log, columns)
    rows, clock_notes = timed_rows(log, columns)
    read = points_of(log, rows, columns.loss)
    usable, zero_notes = without_zeros(log, read, columns.grad_norm)
    points, restarts, repeated = increasing(usable)
    if not points:
        raise log.error(f"no losses in {columns.loss!r}; expected lines of step and loss such as 500,0.7816")
    held_out, held_out_notes = _held_out(log, columns, rows, restarts)
    steps = [point.step for point in points]
    current = [timed for place, timed in enumerate(rows) if not _written_over(place, timed.step, restarts)]
    notes = [*log.notes, *columns.notes, *_decimal_comma(columns, points), *fill_notes, *clock_notes, *zero_notes]
    return Curve(
        np.array(steps, np.int64),
        np.array([point.value for point in points], np.float64),
        np.array([point.step for point in held_out], np.int64),
        np.array([point.value for point in held_out], np.float64),
        lr=_beside(current, columns.lr, steps),
        grad_norm=_beside(current, columns.grad_norm, steps),
        epochs=_beside(current, columns.epoch, steps),
        unit=unit,
        notes=(*notes, *notes_on(restarts, repeated, "training losses"), *held_out_notes),
    )


def _without_fill(log: Log, columns: Columns) -> tuple[Log, list[str]]:
    """The log without NaN that fills the gaps of a table whose rows have a training or a held-out loss, never both."""
    if columns.held_out is None or not log.tabular:
        return log, []
    finite = [(_finite(row, columns.loss), _finite(row, columns.held_out)) for row in log.rows]
    gaps: dict[tuple[bool | None, bool | None], str] = {(True, False): columns.held_out, (False, True): columns.loss}
    if (True, True) in finite or not gaps.keys() <= set(finite):
        return log, []
    rows = [
        Row(row.line, {name: value for name, value in row.values.items() if name != gaps.get(pair)})
        for row, pair in zip(log.rows, finite, strict=True)
    ]
    note = "NaN fills the gaps between training and held-out losses in this table; it was read as missing."
    return replace(log, rows=rows), [note]


def _finite(row: Row, name: str | None) -> bool | None:
    """Whether a value is finite; None where it is missing."""
    if name is None or name not in row.values:
        return None
    value = number(row.values[name])
    return value is None or math.isfinite(value)


def _held_out(
    log: Log, columns: Columns, rows: Sequence[Timed], restarts: Sequence[Restart]
) -> tuple[list[Point], list[str]]:
    """The held-out losses in increasing steps; none, and a note, where they cannot be used."""
    if columns.held_out is None:
        return [], []
    try:
        points = points_of(log, rows, columns.held_out)
        points, notes = without_zeros(log, points, None)
    except DataError as error:
        return [], [f"The held-out losses were not used: {error}."]
    points = [point for point in points if not _written_over(point.place, point.step, restarts)]
    kept, own_restarts, repeated = increasing(points)
    return kept, [*notes, *notes_on(own_restarts, repeated, "held-out losses")]


def _written_over(place: int, step: int, restarts: Sequence[Restart]) -> bool:
    """Whether a row belongs to a part of the run that was done again."""
    return any(place < restart.place and step > restart.to_step for restart in restarts)


def _beside(rows: Sequence[Timed], name: str | None, steps: Sequence[int]) -> Array | None:
    """The last value of a name at each step, (steps,); NaN where there is none. None if there is none at all."""
    if name is None:
        return None
    values = {timed.step: value for timed in rows if name in timed.row.values
              and (value := number(timed.row.values[name])) is not None}  # fmt: skip
    found = np.array([values.get(step, math.nan) for step in steps], np.float64)
    return None if np.isnan(found).all() else found


def _decimal_comma(columns: Columns, points: Sequence[Point]) -> list[str]:
    texts = (point.row.values[columns.loss] for point in points)
    found = any(isinstance(text, str) and "," in text for text in texts)
    return ["A comma within a loss was read as a decimal comma."] if found else []
