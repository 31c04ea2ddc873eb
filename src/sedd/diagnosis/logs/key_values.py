"""Text logs: lines with names and numbers, such as `step: 50, training_loss: 5.32e+03` or `[100/5000] loss=0.53`."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from sedd.diagnosis.logs.lines import Line
from sedd.diagnosis.logs.log import Log, Row, Value
from sedd.diagnosis.logs.names import held_out_rank, loss_rank, step_rank, words

_NUMBER = r"""(?:[-+]?(?:\d{1,3}(?:,\d{3})+(?:\.\d+)?|\d{1,40},\d{1,40}|\d{1,40}(?:\.\d{0,40})?|\.\d{1,40})
               (?:[eE][-+]?\d+)?
              |[-+]?(?:nan|inf(?:inity)?|1\.\#(?:ind|qnan|snan|inf)0*))"""
_PAIR = re.compile(
    rf"""(?<![\w/.\-])(?P<name>[A-Za-z_][\w/.\-]{{0,80}})['"]?      # a name, perhaps in quotes
         (?:\s*[:=]\s*['"]?|\s+|(?=\[))         # then : or = or spaces
         [\[\#]?\s*(?:tensor\()?\s*
         (?P<value>{_NUMBER})
         (?:\s*/\s*(?P<total>\d+))?             # 100/5000
         (?!\w|[.,]\d|\s*/\s*\d)""",
    re.VERBOSE | re.IGNORECASE | re.ASCII,
)
_PROGRESS = re.compile(r"(?<![\w./:\-])(?P<step>\d+)\s*/\s*(?P<total>\d+)(?![\w./:]|\s*\(\s*\d+\s*%)", re.ASCII)
"""`100/5000`, but no date, no share of samples such as `6400/60000 (11%)`."""
_BEFORE = 24
"""Characters before a name in which a word that belongs to it is looked for."""
_BEFORE_LOSS = re.compile(r"(?<![\w/.\-])([A-Za-z][\w\-]*)['\"]?[ \t]+$", re.ASCII)
"""Any word before `loss` belongs to it: `train loss`, `best loss`, `aux loss`."""
_BEFORE_OTHERS = re.compile(r"\b(learning|grad(?:ient)?|global|train(?:ing)?|optimizer)['\"]?[ \t]+$", re.IGNORECASE)
"""A word before another name that belongs to it: `learning rate`, `global step`."""
_LEVELS = {"debug", "info", "warning", "error", "critical", "trace"}
_HELD_OUT = re.compile(
    r"(?<![\w./\-])(val(?:id(?:ation)?)?|eval(?:uation|uating)?|test(?:ing)?|dev)(?![\w/\-]|\.\w)", re.I
)
"""A word that says that a line is about held-out data."""


def read_key_values(file: Path, lines: Sequence[Line], loss: str | None = None) -> Log | None:
    """The numbers with names in a text; None where no line has a loss.

    Args:
        file: for messages.
        lines: the numbered lines of the file.
        loss: a name that the user has given to the training loss.
    """
    rows: list[Row] = []
    held_out: list[bool] = []
    before: list[dict[str, Value]] = []
    totals: set[int] = set()
    step: dict[str, Value] = {}
    for number, line in lines:
        values = _values(line, totals)
        step = {name: value for name, value in values.items() if step_rank(name) is not None} or step
        if any(name == loss or _is_wanted(name) for name in values):
            rows.append(Row(number, values))
            held_out.append(_is_held_out(line, values))
            before.append(step)
    if any(held_out) and not all(held_out):  # where every line has the word it is part of a name
        rows = [_renamed(row) if held else row for row, held in zip(rows, held_out, strict=True)]
    if not any(step_rank(name) is not None for row in rows for name in row.values):  # it has lines of its own
        rows = [Row(row.line, {**own, **row.values}) for row, own in zip(rows, before, strict=True)]
    names = dict.fromkeys(name for row in rows for name in row.values)
    if not any(name == loss or loss_rank(name) is not None or held_out_rank(name) is not None for name in names):
        return None
    total = next(iter(totals)) if len(totals) == 1 else None
    return Log(file, "a text with names and numbers", tuple(names), rows, steps_per_epoch=total)


def _is_wanted(name: str) -> bool:
    return loss_rank(name) is not None or held_out_rank(name) is not None


def _is_held_out(line: str, values: Mapping[str, Value]) -> bool:
    """Whether a line has losses of held-out data whose names do not say so: `eval step 100: loss 2.9`."""
    if any(held_out_rank(name) is not None for name in values):
        return False
    return _HELD_OUT.search(line) is not None


def _renamed(row: Row) -> Row:
    values = {f"eval/{name}" if loss_rank(name) is not None else name: value for name, value in row.values.items()}
    return Row(row.line, values)


def _full_name(line: str, pair: re.Match[str]) -> str:
    """The name of a pair, with the word before it where that belongs to it."""
    name = pair["name"].rstrip("-./") or pair["name"]
    before = (_BEFORE_LOSS if "loss" in words(name) else _BEFORE_OTHERS).search(
        line, max(0, pair.start() - _BEFORE), pair.start()
    )
    return name if before is None or before[1].lower() in _LEVELS else f"{before[1]} {name}"


def _values(line: str, totals: set[int]) -> dict[str, Value]:
    """The named numbers of a line; of a name that occurs twice the first one. Adds the totals of steps to `totals`."""
    values: dict[str, Value] = {}
    line = " ".join(line.split())  # long runs of spaces would cost quadratic time
    for pair in _PAIR.finditer(line):
        name = _full_name(line, pair)
        values.setdefault(name, pair["value"])
        if pair["total"] and step_rank(name) is not None:
            totals.add(int(pair["total"]))
    if values and not any(step_rank(name) is not None for name in values):
        used = [pair.span() for pair in _PAIR.finditer(line)]
        for bare in _PROGRESS.finditer(line):
            if not any(start <= bare.start() < end for start, end in used):
                values["step"] = bare["step"]
                totals.add(int(bare["total"]))
                break
    return values
