"""A log as rows of named values, before it is clear which of them are steps and losses; and the numbers in it."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from sedd.errors import DataError

Value = str | float
NUMBER = re.compile(r"[-+]?(?:\d+(?:[.,]\d*)?|[.,]\d+)(?:[eE][-+]?\d+)?", re.ASCII)
"""A number as text. A comma in it is a decimal comma."""
THOUSANDS = re.compile(r"\d{1,3}(?:,\d{3})+(?:\.\d*)?", re.ASCII)
"""A number whose commas may separate thousands."""
DOTTED_THOUSANDS = re.compile(r"\d{1,3}(?:\.\d{3})+", re.ASCII)
"""A number whose dots separate thousands where the decimal mark is a comma."""
NOT_FINITE = re.compile(r"([-+]?)(?:(nan(?:\(.*\))?|1\.#(?:ind|[qs]nan)0*)|inf(?:inity)?|1\.#inf0*)", re.IGNORECASE)
"""NaN and infinity as Python, C, R and Microsoft's C library spell them."""
MISSING = frozenset({"", "-", "--", ".", "na", "n/a", "<na>", "none", "null", "nil", "missing", "undefined"})
"""Cells without a value, in lower case."""


@dataclass(frozen=True)
class Row:
    """The values that were logged together."""

    line: int | None
    """Line in the file, from 1; None where the format has no lines."""
    values: Mapping[str, Value]
    """Values by name; a value that is missing is not in it."""


@dataclass(frozen=True)
class Log:
    """What a format gives: rows in the order of the file."""

    file: Path
    form: str
    """The format in words, such as `a table separated by commas`."""
    names: tuple[str, ...]
    """Names of columns, keys or tags in the order in which they appear."""
    rows: Sequence[Row]
    line: int | None = None
    """Line of the names, where the file has one."""
    steps_per_epoch: int | None = None
    """The total of progress such as `[100/5000]`, where it is the same everywhere."""
    tabular: bool = False
    """Whether the rows are those of a table, whose first column often is the step."""
    named: bool = True
    """Whether the names are from the file; without names columns are `1`, `2`, ..."""
    notes: tuple[str, ...] = ()
    """What the reader of the format decided, one sentence each."""

    def error(self, message: str, row: Row | None = None) -> DataError:
        """An error about this log, at a row."""
        return DataError(message, file=self.file, line=self.line if row is None else row.line)


def is_missing(text: str) -> bool:
    """Whether a cell has no value."""
    return text.strip().lower() in MISSING


def number(value: Value) -> float | None:
    """A value as a number, NaN and infinities included; None if it is none."""
    if not isinstance(value, str):
        return float(value)
    text = value.strip().replace("\N{MINUS SIGN}", "-")
    if NUMBER.fullmatch(text):
        return float(text.replace(",", "."))
    if found := NOT_FINITE.fullmatch(text):
        return math.nan if found[2] else math.copysign(math.inf, -1.0 if found[1] == "-" else 1.0)
    return None


def is_number_or_missing(text: str) -> bool:
    """Whether a cell is empty or a number, as every cell of a row of numbers is."""
    return is_missing(text) or number(text) is not None or THOUSANDS.fullmatch(text.strip()) is not None


def listed(names: Sequence[str], most: int = 20) -> str:
    """Names for a message; the first ones of many."""
    text = ", ".join(map(repr, names[:most]))
    return text if len(names) <= most else f"{text} and {len(names) - most} more"
