"""A loss curve that another program has written: `step,loss` in a text file."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sedd.errors import DataError

Array = NDArray[np.float64]

_SEPARATORS = ("\t", ";", ",")


@dataclass(frozen=True, eq=False)
class Curve:
    """Losses at some optimizer steps."""

    steps: NDArray[np.int64]
    """Optimizer steps, increasing."""
    losses: Array
    """Training loss at each, nats per residue; may be NaN or infinite, which says that the run broke."""

    def __len__(self) -> int:
        return len(self.steps)


def read_curve(path: Path) -> Curve:
    """Read the columns `step` and `loss`, separated by commas, semicolons or tabs.

    A first line of names is optional: without it the first column is the step and the second the loss. Empty lines and
    lines that begin with # are passed over. With semicolons or tabs a loss may have a decimal comma.

    Raises:
        DataError: if there is no such file, or a line cannot be read; names file and line.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise DataError(f"{path}: no such file") from None
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: cannot be read as UTF-8 text ({error})") from None
    columns: tuple[int, int] | None = None
    steps: list[int] = []
    losses: list[float] = []
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        separator = next((each for each in _SEPARATORS if each in line), ",")
        cells = [cell.strip().strip('"').strip() for cell in line.split(separator)]
        where = f"{path}:{number}"
        if columns is None:
            columns, named = _columns(cells, where)
            if named:
                continue
        step, loss = _numbers(cells, columns, separator, where)
        if steps and step <= steps[-1]:
            raise DataError(f"{where}: step {step} comes after step {steps[-1]}; the steps must increase")
        steps.append(step)
        losses.append(loss)
    if not steps:
        raise DataError(f"{path}: no losses in it; expected lines of step,loss such as 500,0.7816")
    return Curve(np.array(steps, np.int64), np.array(losses, np.float64))


def _columns(cells: list[str], where: str) -> tuple[tuple[int, int], bool]:
    """Which columns hold step and loss, and whether this line names them."""
    if _number(cells[0]) is not None:
        return (0, 1), False
    names = [cell.lower() for cell in cells]
    if "step" in names and "loss" in names:
        return (names.index("step"), names.index("loss")), True
    if len(names) == 2 and "loss" in names[1]:
        return (0, 1), True
    raise DataError(f"{where}: expected the columns step and loss, got {', '.join(cells)}")


def _numbers(cells: list[str], columns: tuple[int, int], separator: str, where: str) -> tuple[int, float]:
    if len(cells) <= max(columns):
        raise DataError(f"{where}: expected a step and a loss, got {separator.join(cells)!r}")
    texts = [cells[column] for column in columns]
    if separator != ",":
        texts = [text.replace(",", ".") for text in texts]
    step, loss = map(_number, texts)
    if step is None or step < 0 or step != math.floor(step) or math.isinf(step):
        raise DataError(f"{where}: step {texts[0]!r}: expected a whole number of optimizer steps, 0 or more")
    if loss is None or loss <= 0:
        raise DataError(f"{where}: loss {texts[1]!r}: expected a number above 0, in nats per residue")
    return int(step), loss


def _number(text: str) -> float | None:
    """A number; NaN and infinity as programs write them; None for anything else."""
    if not re.fullmatch(r"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?|[-+]?(nan|inf|infinity)", text, re.IGNORECASE):
        return None
    return float(text)
