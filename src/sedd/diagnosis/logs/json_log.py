"""Logs in JSON: lines, lists, columns, `trainer_state.json` of Hugging Face, TensorBoard's JSON export."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from sedd.diagnosis.logs.lines import Line
from sedd.diagnosis.logs.log import Log, Row, Value, is_missing
from sedd.diagnosis.logs.names import loss_rank
from sedd.errors import DataError

DEEPEST = 20
"""Nesting of records."""


def read_json(file: Path, text: str) -> Log | None:
    """A file that is one JSON document; None where it is something else.

    Raises:
        DataError: if the document has no rows of values.
    """
    if not text.lstrip().startswith(("{", "[")):
        return None
    try:
        document = json.loads(text)
    except (ValueError, RecursionError):
        return None
    if isinstance(document, Mapping) and isinstance(document.get("log_history"), list):
        return _of(file, "a trainer_state.json", _without_summary(document["log_history"]))
    if isinstance(document, Mapping) and (history := _records_in(document)):
        return _of(file, "JSON", history)
    if isinstance(document, Mapping) and any(isinstance(value, list) for value in document.values()):
        return _of(file, "JSON columns", _transposed(document))
    entries = document if isinstance(document, list) else [document]
    if entries and all(isinstance(entry, list) and len(entry) == 3 for entry in entries):
        entries = [dict(zip(("Wall time", "Step", "Value"), entry, strict=True)) for entry in entries]
    return _of(file, "JSON", entries)


def read_json_lines(file: Path, lines: Sequence[Line]) -> Log | None:
    """Lines of JSON, among which may be lines of other text; None where the first line with a brace is not JSON.

    Raises:
        DataError: if a line is damaged, other than the last one; names the line.
    """
    braced = [(number, line.strip()) for number, line in lines if line.lstrip().startswith("{")]
    if not braced or _parsed(braced[0][1]) is None:
        return None
    rows, torn = [], False
    for number, line in braced:
        record = _parsed(line)
        if record is None and number == braced[-1][0]:
            torn = True
        elif record is None:
            raise DataError("not JSON; repair or remove this line", file=file, line=number)
        else:
            rows.append((number, record))
    notes = ("The last line is incomplete and was passed over.",) if torn else ()
    return _log(file, "JSON lines", rows, notes)


def _parsed(line: str) -> dict[str, Any] | None:
    try:
        record = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return record if isinstance(record, dict) else None


def _of(file: Path, form: str, entries: Sequence[Any]) -> Log:
    records = [(None, entry) for entry in entries if isinstance(entry, Mapping)]
    if not records:
        raise DataError("JSON without records of steps and losses", file=file)
    return _log(file, form, records)


def _log(
    file: Path, form: str, records: Sequence[tuple[int | None, Mapping[str, Any]]], notes: tuple[str, ...] = ()
) -> Log:
    rows = [Row(number, _flat(record)) for number, record in records]
    names = dict.fromkeys(name for row in rows for name in row.values)
    nulls = sum(
        value is None and loss_rank(str(name)) is not None for _, record in records for name, value in record.items()
    )
    if nulls:
        notes = (
            *notes,
            f"A training loss is null in {nulls:,} records: read as missing, but some programs write null for NaN.",
        )
    return Log(file, form, tuple(names), rows, notes=notes)


def _flat(record: Mapping[str, Any], prefix: str = "", *, deepest: int = DEEPEST) -> dict[str, Value]:
    """Nested records as one, with names such as `train/loss`; lists, nulls and what is too deep are left out."""
    values: dict[str, Value] = {}
    for name, value in record.items():
        if isinstance(value, Mapping):
            values |= _flat(value, f"{prefix}{name}/", deepest=deepest - 1) if deepest else {}
        elif isinstance(value, str) and not is_missing(value):
            values[prefix + str(name)] = value
        elif isinstance(value, int | float) and not isinstance(value, bool):
            values[prefix + str(name)] = _float(value)
    return values


def _float(value: int | float) -> float:
    try:
        return float(value)
    except OverflowError:  # an integer that no float holds
        return float("inf") if value > 0 else float("-inf")


def _records_in(document: Mapping[str, Any]) -> list[Any]:
    """The longest list of records in a document, such as its `history`."""
    lists = [
        value for value in document.values() if isinstance(value, list) and value and isinstance(value[0], Mapping)
    ]
    return max(lists, key=len, default=[])


def _without_summary(history: Sequence[Any]) -> list[Any]:
    """The records without the mean loss of the whole run, which the last one has as `train_loss`."""
    records = [record for record in history if isinstance(record, Mapping)]
    if not any("loss" in record for record in records):
        return records
    return [{name: value for name, value in record.items() if name != "train_loss"} for record in records]


def _transposed(columns: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Records from columns of one length, those that are lists."""
    lists = {name: values for name, values in columns.items() if isinstance(values, list)}
    count = max(len(values) for values in lists.values())
    return [{name: values[row] for name, values in lists.items() if row < len(values)} for row in range(count)]
