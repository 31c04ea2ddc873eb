"""The optimizer step of every row of a log: read, counted on over epochs, newest-first logs turned round."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

from sedd.diagnosis.logs.columns import Columns
from sedd.diagnosis.logs.log import DOTTED_THOUSANDS, THOUSANDS, Log, Row, number

MAX_STEP = 2**53
"""Beyond it not every integer is a float."""
MIN_RESTARTS = 3
"""Returns to the first step from which a log without epochs is taken to count steps within epochs."""
MAX_UNKNOWN_SHARE = 0.05
"""Share of an epoch by which its length may be uncertain, if steps are to be counted on over epochs."""


@dataclass(frozen=True)
class Timed:
    """A row with its step."""

    row: Row
    step: int


def timed_rows(log: Log, columns: Columns) -> tuple[list[Timed], list[str]]:
    """The rows that have a step, in the order in which they were logged, and notes.

    Raises:
        DataError: if a step is no integer of 0 or more, or steps are counted within epochs of unknown length; names the
            line.
    """
    wanted = {columns.loss, columns.held_out}
    rows, without = [], 0
    for row in log.rows:
        name = columns.step_of(row)
        if name is not None:
            strict = bool(wanted & row.values.keys())
            step = _step(log, row, name, columns.loss, strict=strict)
            if step is not None:
                rows.append(Timed(row, step))
        else:
            without += columns.loss in row.values
    notes = [f"Losses without a step were left out ({without})."] if without else []
    steps = [timed.step for timed in rows if columns.loss in timed.row.values]
    if len(steps) > 2 and steps[0] > steps[-1] and all(a >= b for a, b in pairwise(steps)):
        rows.reverse()
        notes.append("The log has its newest lines first.")
        return rows, notes
    return _over_epochs(log, columns, rows, notes)


def _step(log: Log, row: Row, name: str, loss: str, *, strict: bool) -> int | None:
    value = row.values[name]
    step = number(value)
    if isinstance(value, str) and _has_thousands(value.strip(), str(row.values.get(loss, ""))):
        if strict:
            raise log.error(f"step {value!r}: are thousands separated in it? Write the step without separators", row)
        return None
    if step is None or not 0 <= step <= MAX_STEP or step != math.floor(step):
        if strict:
            raise log.error(f"step {value!r}: expected an integer number of optimizer steps, 0 or more", row)
        return None
    return int(step)


def _has_thousands(step: str, loss: str) -> bool:
    """Whether a step may have separators of thousands: commas, or dots where the loss has a decimal comma."""
    return bool(THOUSANDS.fullmatch(step) or (DOTTED_THOUSANDS.fullmatch(step) and "," in loss))


def _over_epochs(log: Log, columns: Columns, rows: list[Timed], notes: list[str]) -> tuple[list[Timed], list[str]]:
    """Steps that start anew with each epoch, counted on."""
    losses = [timed for timed in rows if columns.loss in timed.row.values]
    back = [place for place in range(1, len(losses)) if losses[place].step < losses[place - 1].step]
    if not back:
        return rows, notes
    steps = [timed.step for timed in losses]
    spacing = min((b - a for a, b in pairwise(steps) if b > a), default=1)
    epochs = [_epoch(timed.row, columns) for timed in losses]
    if all(_grows(epochs[place - 1], epochs[place]) for place in back):
        length, note = _length(log, losses, spacing)
        start = min(epoch for epoch in epochs if epoch is not None) > 0
        counted = []
        for timed in rows:
            epoch = _epoch(timed.row, columns)
            if epoch is not None:
                counted.append(replace(timed, step=(epoch - start) * length + timed.step))
        return counted, [*notes, note]
    start_of_epoch = min(steps) + spacing
    to_start = [place for place in back if steps[place] <= start_of_epoch]
    total = log.steps_per_epoch
    if total is not None and to_start == back and all(steps[place - 1] + spacing >= total for place in back):
        return _counted(rows, columns, total), [*notes, _note(f"{total:,}, the total that the log shows")]
    if len(back) >= MIN_RESTARTS and len(set(steps)) == len(steps):
        # A resumed run does some steps again; here none is.
        rows.sort(key=lambda timed: timed.step)
        return rows, [*notes, "The log is not in the order of its steps; it was sorted."]
    if len(to_start) >= MIN_RESTARTS:
        raise log.error(
            f"the steps start anew {len(to_start)} times, as steps within an epoch do; give a log whose steps are "
            "counted on over epochs, or one with a column epoch",
            losses[to_start[0]].row,
        )
    return rows, notes


def _epoch(row: Row, columns: Columns) -> int | None:
    value = None if columns.epoch is None else row.values.get(columns.epoch)
    epoch = None if value is None else number(value)
    return None if epoch is None or not math.isfinite(epoch) or epoch != math.floor(epoch) else int(epoch)


def _grows(before: int | None, after: int | None) -> bool:
    return before is not None and after is not None and after > before


def _length(log: Log, losses: Sequence[Timed], spacing: int) -> tuple[int, str]:
    """Optimizer steps of an epoch, and a note on where they are from."""
    if log.steps_per_epoch is not None:
        return log.steps_per_epoch, _note(f"{log.steps_per_epoch:,}, the total that the log shows")
    first, last = min(timed.step for timed in losses), max(timed.step for timed in losses)
    # Logged every k steps from 0 on, an epoch has more than its last step and at most k more.
    least, most = (last + 1, last + spacing) if first == 0 else (last, last + spacing - 1)
    if most - least > MAX_UNKNOWN_SHARE * least:
        raise log.error(
            f"the steps start anew with each epoch, whose length is only known to be between {least:,} and {most:,} "
            "steps; give a log whose steps are counted on over epochs"
        )
    length = most if first == 0 else least
    return length, _note(f"{length:,}" if least == most else f"{length:,} (between {least:,} and {most:,})")


def _note(length: str) -> str:
    return f"The steps start anew with each epoch; they were counted on, with steps per epoch: {length}."


def _counted(rows: list[Timed], columns: Columns, total: int) -> list[Timed]:
    """Steps of rows without epochs, counted on at every return to the start."""
    counted, before, previous = [], 0, -1
    for timed in rows:
        if columns.loss in timed.row.values:
            before += total if timed.step < previous else 0
            previous = timed.step
        counted.append(replace(timed, step=before + timed.step))
    return counted
