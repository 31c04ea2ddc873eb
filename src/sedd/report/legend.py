"""How many columns a legend may have, so that it is not cut off."""

from __future__ import annotations

from collections.abc import Sequence

MOST_COLUMNS = 5
HANDLE = 9
"""Width of the line before a name and of the space after it, in characters."""


def legend_columns(names: Sequence[str], width: int) -> int:
    """The most columns with which a legend is at most `width` characters wide; 1 if none are few enough.

    matplotlib fills the columns one after the other, the first ones with one more name where it does not come out even.
    """
    return next((count for count in range(MOST_COLUMNS, 1, -1) if _width(names, count) <= width), 1)


def _width(names: Sequence[str], columns: int) -> int:
    rows, longer = divmod(len(names), columns)
    sizes = [rows + 1] * longer + [rows] * (columns - longer)
    rest = iter(names)
    return sum(HANDLE + max(len(next(rest)) for _ in range(size)) for size in sizes if size)
