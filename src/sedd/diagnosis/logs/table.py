"""Tables: CSV with any separator, exports of Weights & Biases and TensorBoard, Lightning's `metrics.csv`."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from sedd.diagnosis.logs.lines import Line
from sedd.diagnosis.logs.log import Log, Row, is_missing, is_number_or_missing, number
from sedd.diagnosis.logs.names import is_known
from sedd.errors import DataError

SEPARATORS = {"\t": "tabs", ";": "semicolons", "|": "bars", ",": "commas", " ": "spaces"}
"""Separators and their names, in the order in which they are tried."""
LINES_BEFORE = 30
"""Lines of other text that may come before a table."""
_COMMENTS = ("#", "%", "//")
_EXCEL_SEPARATOR = re.compile(r"sep=(.)", re.IGNORECASE)
_PAIR = re.compile(r"[:=]\s*[-+.]?\d")
"""A name with its value, which is no name of a column."""
_UNNAMED = re.compile(r"^Unnamed: \d+$")
"""What pandas calls an index without a name when it has read it from a file."""
_CLEAN_NAME = re.compile(r"[\w./\\\-()\[\]]*")


def read_table_within(file: Path, lines: Sequence[Line], loss: str | None = None) -> Log | None:
    """A table with names that begins after lines of other text; arguments and errors as for `read_table`."""
    for place in range(1, min(len(lines), LINES_BEFORE)):
        log = read_table(file, lines[place:], loss)
        if log is not None and log.named:
            first = lines[place][0]
            return replace(log, notes=(f"The text before line {first} was passed over.", *log.notes))
    return None


def read_table(file: Path, lines: Sequence[Line], loss: str | None = None) -> Log | None:
    """A table, with or without a line of names; None where the lines are not a table.

    Args:
        file: for messages.
        lines: the numbered lines of the file.
        loss: a column that the user has named: a line that contains it is a line of names.

    Raises:
        DataError: if a line has more cells than there are names; names the line.
    """
    content, comment, given = _content(lines)
    if not content:
        return None
    following = content[1][1] if len(content) > 1 else None
    for separator in SEPARATORS if given is None else (given,):
        first = cells_of(content[0][1], separator)
        second = None if following is None else cells_of(following, separator)
        if len(first) < 2:
            continue
        if _is_row_of_numbers(first):
            return _without_names(file, content, comment, separator)
        if second is not None and _is_names(first, second, separator, loss):
            # pandas and R write an index for which there is no name.
            indexed = separator in "\t " and len(second) == len(first) + 1 and bool(second[-1])
            return _named(file, content[0], ["", *first] if indexed else first, content[1:], separator)
    return None


def cells_of(line: str, separator: str) -> list[str]:
    """The cells of a line without quotes and surrounding spaces."""
    if separator == " ":
        cells = line.split()
    elif '"' in line:
        try:
            cells = next(csv.reader([line], delimiter=separator, skipinitialspace=True))
        except csv.Error:
            cells = line.split(separator)
    else:
        cells = line.split(separator)
    cells = [_UNNAMED.sub("", cell.strip().strip("'\"").strip()) for cell in cells]
    if separator == "|" and len(cells) > 2 and not cells[0] and not cells[-1]:
        return cells[1:-1]  # Markdown has bars at both ends
    return cells


def _content(lines: Sequence[Line]) -> tuple[list[Line], str, str | None]:
    """The lines that are no comments, the last comment before them, and the separator that Excel's first line names."""
    content: list[Line] = []
    comment, given = "", None
    for number_, line in lines:
        text = line.strip()
        if not text or set(text) <= set("|-+: ="):
            continue
        if text.startswith(_COMMENTS):
            comment = text.lstrip("#%/ ") if not content else comment
        elif not content and (found := _EXCEL_SEPARATOR.fullmatch(text)):
            given = found[1]
        else:
            content.append((number_, line.strip("\n\r ")))
    return content, comment, given


def _is_row_of_numbers(cells: list[str]) -> bool:
    return all(map(is_number_or_missing, cells)) and any(number(cell) is not None for cell in cells)


def _is_names(first: list[str], second: list[str], separator: str, loss: str | None) -> bool:
    if not any(is_known(cell) or cell == loss for cell in first):
        return False
    if any(_PAIR.search(cell.rpartition(" - ")[2]) for cell in first):
        return False
    if separator == " ":  # words of a sentence are no names
        clean = all(_CLEAN_NAME.fullmatch(cell) for cell in first)
        return clean and len(second) - len(first) in (0, 1) and all(map(is_number_or_missing, second))
    return any(number(cell) is not None for cell in second)


def _without_names(file: Path, content: list[Line], comment: str, separator: str) -> Log:
    """A table without names, or with names in a comment, as numpy writes them."""
    width = max(len(cells_of(line, separator)) for _, line in content[:100])
    for candidate in (separator, " ", ","):
        names = cells_of(comment, candidate)
        if len(names) == width and any(map(is_known, names)):
            return _named(file, None, names, content, separator)
    names = [str(column) for column in range(1, 1 + max(len(cells_of(line, separator)) for _, line in content))]
    rows = list(_rows(file, names, content, separator))
    return Log(
        file, f"a table separated by {_name(separator)}, without names", tuple(names), rows, tabular=True, named=False
    )


def _named(file: Path, header: Line | None, cells: list[str], content: Sequence[Line], separator: str) -> Log:
    names: list[str] = []
    for column, cell in enumerate(cells, 1):
        names.append(f"{cell} (column {column})" if cell in names else cell)
    kept = [entry for entry in content if header is None or entry[1] != header[1]]
    repeated = len(content) - len(kept)
    notes = (f"Lines that repeat the names of the columns were passed over ({repeated}).",) if repeated else ()
    rows = list(_rows(file, names, kept, separator))
    line = None if header is None else header[0]
    return Log(file, f"a table separated by {_name(separator)}", tuple(names), rows, line, tabular=True, notes=notes)


def _name(separator: str) -> str:
    return SEPARATORS.get(separator, repr(separator))


def _rows(file: Path, names: list[str], content: Sequence[Line], separator: str) -> Iterator[Row]:
    for line, text in content:
        cells = cells_of(text, separator)
        if len(cells) > len(names) and any(cells[len(names) :]):
            raise DataError(
                f"{len(cells)} cells, and there are {len(names)} columns; numbers with a decimal comma need quotes, or "
                "another separator",
                file=file,
                line=line,
            )
        yield Row(line, {name: cell for name, cell in zip(names, cells, strict=False) if not is_missing(cell)})
