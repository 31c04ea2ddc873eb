"""The built-in trackers that need no service, `csv` and `tensorboard`, and the hook; `metrics.jsonl` needs none."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator

from sedd.errors import ConfigError
from sedd.files import no_symlink, write_atomically
from sedd.plain_text import spreadsheet_cell
from sedd.plugins.contracts import Tracker
from sedd.plugins.hookspecs import hookimpl
from sedd.plugins.mlflow_tracker import Mlflow
from sedd.plugins.trackio_tracker import Trackio
from sedd.plugins.wandb_tracker import Wandb

Row = tuple[int, str, object]
"""Step, name and value."""
HEADER = ("step", "name", "value")
LONGEST_NAME = 200


def _csv_name(name: str) -> str:
    """The name of a CSV file, which can be neither outside of the run directory nor one of its other files."""
    plain = name.isprintable() and not any(character in name for character in '/\\:*?"<>|')
    if not (plain and name.lower().endswith(".csv") and not name.startswith(".") and len(name) <= LONGEST_NAME):
        raise ValueError(f"{name!r} is no name of a CSV file in the run directory; expected one such as metrics.csv")
    return name


class Csv(Tracker):
    """A CSV file in the run directory, with rows of `step,name,value`. Each step is in it once, also after a resume."""

    type: Literal["csv"] = "csv"
    name: Annotated[str, AfterValidator(_csv_name)] = "metrics.csv"
    """Name of the file in the run directory; it ends in `.csv`."""

    def open(self, run: Path, config: Mapping[str, Any]) -> Any:
        return CsvFile(run / self.name)

    def log(self, session: Any, step: int, metrics: Mapping[str, float]) -> None:
        session.write(step, metrics)

    def close(self, session: Any) -> None:
        session.close()


class CsvFile:
    """A file of rows `step,name,value` in the order of the steps. A run that goes back to an earlier step, after a kill
    or a rollback, writes over the rows from there on."""

    def __init__(self, path: Path) -> None:
        self._path = path
        rows = self._read()
        self._last = max((step for step, _, _ in rows), default=-1)
        self._names = {name for step, name, _ in rows if step == self._last}
        self._replace(rows)  # without a row that a kill has torn
        self._file = self._opened()

    def write(self, step: int, metrics: Mapping[str, float]) -> None:
        """Append rows, after those of earlier steps and of other names of this step."""
        metrics = {spreadsheet_cell(name): value for name, value in metrics.items()}
        if step < self._last or (step == self._last and self._names & metrics.keys()):
            rows = self._read()
            self.close()
            self._replace([row for row in rows if row[0] < step or (row[0] == step and row[1] not in metrics)])
            self._file = self._opened()
        if step != self._last:
            self._last, self._names = step, set()
        self._names |= metrics.keys()
        self._file.write(_rows((step, name, value) for name, value in metrics.items()))
        self._file.flush()

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _opened(self) -> io.TextIOWrapper:
        return open(self._path, "a", newline="", encoding="utf-8", opener=no_symlink)

    def _replace(self, rows: list[Row]) -> None:
        write_atomically(self._path, (_rows([HEADER]) + _rows(rows)).encode())

    def _read(self) -> list[Row]:
        """The rows of the file, none if it does not exist; what is no row is left out."""
        try:
            with open(self._path, newline="", encoding="utf-8", errors="replace", opener=no_symlink) as file:
                text = file.read()
        except FileNotFoundError:
            return []
        complete = text[: text.rfind("\n") + 1]
        cells = (row for row in csv.reader(io.StringIO(complete, newline="")) if len(row) == 3 and row[0].isdecimal())
        return [(int(step), name, value) for step, name, value in cells]


def _rows(rows: Iterable[tuple[object, ...]]) -> str:
    text = io.StringIO(newline="")
    csv.writer(text).writerows(rows)
    return text.getvalue()


class TensorBoard(Tracker):
    """TensorBoard scalars in `tensorboard/` of the run directory; needs ``pip install tensorboard``."""

    type: Literal["tensorboard"] = "tensorboard"

    def open(self, run: Path, config: Mapping[str, Any]) -> Any:
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError as error:
            raise ConfigError(
                "trackers: 'tensorboard' needs the tensorboard package; pip install tensorboard "
                "or remove it from trackers",
                keys=["trackers"],
            ) from error
        return EventFiles(lambda first: SummaryWriter(str(run / "tensorboard"), purge_step=first))

    def log(self, session: Any, step: int, metrics: Mapping[str, float]) -> None:
        session.write(step, metrics)

    def close(self, session: Any) -> None:
        session.close()


class EventFiles:
    """Event files of TensorBoard; where a run goes back, a new one tells TensorBoard to forget the steps from there on.

    Args:
        make: makes a writer that purges the steps from its argument on.
    """

    def __init__(self, make: Callable[[int], Any]) -> None:
        self._make, self._last = make, -1
        self._writer: Any = None

    def write(self, step: int, metrics: Mapping[str, float]) -> None:
        """Add the scalars of a step."""
        if self._writer is None or step < self._last:
            self.close()
            self._writer = self._make(step)
        self._last = step
        for name, value in metrics.items():
            self._writer.add_scalar(name, value, step)

    def close(self) -> None:
        """Close the last file."""
        if self._writer is not None:
            self._writer.close()


@hookimpl
def sedd_trackers() -> list[type[Tracker]]:
    return [Csv, TensorBoard, Wandb, Mlflow, Trackio]
