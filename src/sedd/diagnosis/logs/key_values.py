"""Text logs: lines with names and numbers, such as `step: 50, training_loss: 5.32e+03` or `[100/5000] loss=0.53`."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from sedd.diagnosis.logs.lines import Line
from sedd.diagnosis.logs.log import Log, Row, Value
from sedd.diagnosis.logs.names import held_out_rank, loss_rank, step_rank

_NUMBER = r"""(?:[-+]?(?:\d{1,3}(?:,\d{3})+(?:\.\d+)?|\d+,\d+|\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?
              |[-+]?(?:nan|inf(?:inity)?|1\.\#(?:ind|qnan|snan|inf)0*))"""
_PAIR = re.compile(
    rf"""(?P<name>[A-Za-z_][\w/.\-]*)['"]?      # a name, perhaps in quotes
         (?:\s*[:=]\s*['"]?|\s+|(?=\[))         # then : or = or spaces
         \[?\s*(?:tensor\()?\s*
         (?P<value>{_NUMBER})
         (?:\s*/\s*(?P<total>\d+))?             # 100/5000
         (?!\w|[.,]\d|\s*/\s*\d)""",
    re.VERBOSE | re.IGNORECASE | re.ASCII,
)
_PROGRESS = re.compile(r"(?<![\w./:\-])(?P<step>\d+)\s*/\s*(?P<total>\d+)(?![\w./:]|\s*\(\s*\d+\s*%)", re.ASCII)
"""`100/5000`, but no date, no share of samples such as `6400/60000 (11%)`."""
_QUALIFIER = re.compile(
    r"(train(?:ing)?|val(?:id(?:ation)?)?|eval(?:uation)?|test|dev|held-out|learning|grad(?:ient)?|global|mean|avg"
    r"|average|total|running|smoothed)['\"]?[ \t]+$",
    re.IGNORECASE,
)
"""A word before a name that belongs to it: `train loss`, `learning rate`."""


def read_key_values(file: Path, lines: Sequence[Line], loss: str | None = None) -> Log | None:
    """The numbers with names in a text; None where no line has a loss.

    Args:
        file: for messages.
        lines: the numbered lines of the file.
        loss: a name that the user has given to the training loss.
    """
    rows: list[Row] = []
    totals: set[int] = set()
    names: dict[str, None] = {}
    for number, line in lines:
        values = _values(line, totals)
        if any(name == loss or _is_wanted(name) for name in values):
            rows.append(Row(number, values))
            names.update(dict.fromkeys(values))
    if not any(name == loss or loss_rank(name) is not None or held_out_rank(name) is not None for name in names):
        return None
    total = next(iter(totals)) if len(totals) == 1 else None
    return Log(file, "a text with names and numbers", tuple(names), rows, steps_per_epoch=total)


def _is_wanted(name: str) -> bool:
    return loss_rank(name) is not None or held_out_rank(name) is not None


def _values(line: str, totals: set[int]) -> dict[str, Value]:
    """The named numbers of a line; of a name that occurs twice the first one. Adds the totals of steps to `totals`."""
    values: dict[str, Value] = {}
    for pair in _PAIR.finditer(line):
        before = _QUALIFIER.search(line, 0, pair.start())
        name = f"{before[1]} {pair['name']}" if before else pair["name"].strip("-./_") or pair["name"]
        values.setdefault(name, pair["value"])
        if pair["total"] and step_rank(name) is not None:
            totals.add(int(pair["total"]))
    if not any(step_rank(name) is not None for name in values):
        used = [pair.span() for pair in _PAIR.finditer(line)]
        for bare in _PROGRESS.finditer(line):
            if not any(start <= bare.start() < end for start, end in used):
                values["step"] = bare["step"]
                totals.add(int(bare["total"]))
                break
    return values
