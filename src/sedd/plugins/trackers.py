"""The built-in trackers, `csv` and `tensorboard`. The metrics file `metrics.jsonl` is written without any tracker."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from sedd.errors import ConfigError
from sedd.plugins.contracts import Tracker
from sedd.plugins.hookspecs import hookimpl


class Csv(Tracker):
    """A CSV file in the run directory, with rows of `step,name,value`."""

    type: Literal["csv"] = "csv"
    name: str = "metrics.csv"
    """Name of the file in the run directory."""

    def open(self, run: Path, config: Mapping[str, Any]) -> Any:
        file = (run / self.name).open("a", newline="", encoding="utf-8")
        if not file.tell():
            csv.writer(file).writerow(["step", "name", "value"])
        return file

    def log(self, session: Any, step: int, metrics: Mapping[str, float]) -> None:
        csv.writer(session).writerows([step, name, value] for name, value in metrics.items())
        session.flush()

    def close(self, session: Any) -> None:
        session.close()


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
        return SummaryWriter(str(run / "tensorboard"))

    def log(self, session: Any, step: int, metrics: Mapping[str, float]) -> None:
        for name, value in metrics.items():
            session.add_scalar(name, value, step)

    def close(self, session: Any) -> None:
        session.close()


@hookimpl
def sedd_trackers() -> list[type[Tracker]]:
    return [Csv, TensorBoard]
