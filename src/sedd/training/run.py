"""A run directory: configuration, metrics, checkpoints, samples. One directory, one configuration.

config.yaml  metrics.jsonl  environment.json  checkpoints/  samples/
"""

from __future__ import annotations

import json
import platform
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
import yaml

from sedd.config import Config
from sedd.errors import CheckpointError
from sedd.runfile import dump
from sedd.training import checkpoint

MAY_DIFFER = ("device", "trackers", "checkpoint", "sampling", "training.log_every", "training.max_skipped")
"""Keys that may change when a run is resumed: none of them is part of what is trained."""


class Run:
    """The files of one run.

    Args:
        path: the directory; created by `begin`.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.metrics = path / "metrics.jsonl"
        self.checkpoints = path / "checkpoints"
        self.samples = path / "samples"

    @staticmethod
    def fresh(folder: Path = Path("runs")) -> Run:
        """A run named after the time it begins."""
        return Run(folder / datetime.now(UTC).strftime("%Y-%m-%d-%H%M%S"))

    @staticmethod
    def newest(folder: Path = Path("runs")) -> Path | None:
        """The run directory in `folder` that was begun last."""
        begun = sorted(folder.glob("*/config.yaml"), key=lambda file: file.stat().st_mtime)
        return begun[-1].parent if begun else None

    def begin(self, config: Config, *, resume: bool) -> None:
        """Make the directory, or check that it is this configuration's.

        Raises:
            CheckpointError: if the directory holds a run and `resume` is off, or a run of another configuration.
        """
        file = self.path / "config.yaml"
        if file.exists():
            self._check(config, resume=resume)
        elif self.path.exists() and any(self.path.iterdir()):
            raise CheckpointError(f"{self.path} is not empty and not a run; choose another directory")
        self.path.mkdir(parents=True, exist_ok=True)
        checkpoint.write_atomically(file, dump(config).encode())
        checkpoint.write_atomically(self.path / "environment.json", json.dumps(environment(), indent=1).encode())

    def _check(self, config: Config, *, resume: bool) -> None:
        if not resume:
            raise CheckpointError(
                f"{self.path} already holds a run; continue it with --resume (resume=True in Python), "
                "or choose another directory with --run"
            )
        before = yaml.safe_load((self.path / "config.yaml").read_text(encoding="utf-8"))
        changed = list(differences(before, config.as_dict()))
        if changed:
            raise CheckpointError(
                f"{self.path} was trained with another configuration:\n  "
                + "\n  ".join(f"{key}: {old!r} there, {new!r} now" for key, old, new in changed)
                + "\nResume with the same configuration, or start a new run with --run"
            )

    def latest(self) -> tuple[Path, checkpoint.Checkpoint] | None:
        """The newest intact checkpoint."""
        return checkpoint.latest(self.checkpoints)

    def append(self, record: Mapping[str, Any]) -> None:
        """Add a line to the metrics file."""
        with self.metrics.open("a", encoding="utf-8") as file:
            file.write(json.dumps(record) + "\n")

    def read_metrics(self) -> list[dict[str, Any]]:
        """The lines of the metrics file; a last line torn by a kill is left out."""
        if not self.metrics.exists():
            return []
        records = []
        for line in self.metrics.read_text(encoding="utf-8").splitlines():
            try:
                records.append(json.loads(line))
            except ValueError:
                break
        return records

    def rewind(self, step: int) -> None:
        """Drop metrics after `step`, so that a resumed run continues its own curve."""
        kept = [record for record in self.read_metrics() if record["step"] <= step]
        checkpoint.write_atomically(self.metrics, "".join(json.dumps(record) + "\n" for record in kept).encode())


def differences(old: Mapping[str, Any], new: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any, Any]]:
    """Keys with different values, dotted; those that may differ are passed over."""
    for key in dict.fromkeys((*old, *new)):
        name = f"{prefix}{key}"
        before, after = old.get(key), new.get(key)
        if name in MAY_DIFFER or before == after:
            continue
        if isinstance(before, Mapping) and isinstance(after, Mapping):
            yield from differences(before, after, f"{name}.")
        else:
            yield name, before, after


def environment() -> dict[str, str]:
    """Versions and hardware, for the record."""
    return {
        "sedd": version("sedd-torch"),
        "torch": torch.__version__,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "processor": str(torch.get_num_threads()) + " threads",
    }
