"""`read_log`: find the log, recognise its format, read it as a curve."""

from __future__ import annotations

import re
from pathlib import Path
from typing import get_args

from sedd.diagnosis.curve import Curve, Unit
from sedd.diagnosis.logs.assembling import curve_of
from sedd.diagnosis.logs.json_log import read_json, read_json_lines
from sedd.diagnosis.logs.key_values import read_key_values
from sedd.diagnosis.logs.lines import numbered, read_text
from sedd.diagnosis.logs.log import Log
from sedd.diagnosis.logs.long_form import by_data, by_run, widened
from sedd.diagnosis.logs.table import read_table, read_table_within
from sedd.diagnosis.logs.tensorboard import is_event_file, read_events
from sedd.errors import ConfigError, DataError

FORMATS = (
    "a CSV or another table with a step and a loss, JSON lines, a trainer_state.json, TensorBoard event files, or a "
    "text log with lines such as 'step: 50, training_loss: 2.9'"
)
FILES = ("trainer_state.json", "metrics.csv", "logs", "log.txt", "train.log")
"""Names of logs in a directory: Hugging Face, Lightning, SEDD, others."""


def read_log(path: str | Path, *, loss: str | None = None, unit: Unit | None = None) -> Curve:
    """Read the log of another program.

    Args:
        path: a file, plain or compressed, or a directory with a log.
        loss: the column, key or tag of the training loss; by default the one that is clearly meant.
        unit: what the losses count; by default it is inferred later.

    Raises:
        ConfigError: if there is no column `loss` or unit `unit`, or a package that reads the format is missing.
        DataError: if there is no such file, it is no log, it is not clear which column is which, or a line cannot be
            read; names file and line.
    """
    if unit is not None and unit not in get_args(Unit):
        raise ConfigError(f"unit={unit!r} (--unit): expected one of {', '.join(get_args(Unit))}")
    return curve_of(open_log(Path(path), loss=loss), loss=loss, unit=unit)


def log_in(directory: Path) -> list[Path]:
    """The log of another program in a directory: one file, or the event files of one run; empty where there is none.

    Raises:
        DataError: if there are logs of more than one run.
    """
    if named := [directory / name for name in FILES if (directory / name).is_file()]:
        return named[:1]
    if events := sorted(file for file in directory.iterdir() if is_event_file(file)):
        return events
    if states := sorted(directory.glob("checkpoint-*/trainer_state.json"), key=_checkpoint_step):
        return states[-1:]
    folders = sorted({file.parent for file in directory.rglob("*tfevents*") if file.is_file()})
    if len(folders) > 1:
        found = ", ".join(str(folder) for folder in folders[:10])
        raise DataError(f"event files of more than one run; give one of {found}", file=directory)
    return sorted(file for folder in folders for file in folder.iterdir() if is_event_file(file))


def open_log(path: Path, *, loss: str | None = None) -> Log:
    """Read the rows of a log, whatever its format. Arguments and errors as for `read_log`."""
    files = log_in(path) if path.is_dir() else [path]
    if not files:
        raise DataError(f"no log in this directory; give {FORMATS}", file=path)
    file = files[0]
    if is_event_file(file) and file.is_file():
        return read_events(files)
    text = read_text(file)
    log = read_json(file, text)
    if log is None:
        lines = numbered(text)
        log = read_json_lines(file, lines) or read_table(file, lines, loss)
        log = log or read_key_values(file, lines, loss) or read_table_within(file, lines, loss)
    if log is None:
        first = next((line for line in text.splitlines() if line.strip()), None)
        begins = "is empty" if first is None else f"begins with {first.strip()[:60]!r}"
        raise DataError(f"no losses in it; the file {begins}. Expected {FORMATS}", file=file)
    return by_run(by_data(widened(log)))


def _checkpoint_step(file: Path) -> int:
    found = re.search(r"checkpoint-(\d+)$", file.parent.name)
    return int(found[1]) if found else -1
