"""A run directory: configuration, metrics, checkpoints, samples. One directory, one configuration.

    config.yaml  environment.json  metrics.jsonl  checkpoints/  samples/

All of it is written and read here. What is read is plain data, so no plugin has to be installed to look at a run.
"""

from __future__ import annotations

import json
import platform
import shlex
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
import yaml

from sedd.config.config import Config
from sedd.config.run_file import dump
from sedd.errors import CheckpointError
from sedd.files import LockHeld, locked, write_atomically, write_json
from sedd.runs import checkpoint
from sedd.runs.differences import blocking_differences
from sedd.runs.history import History, read_metrics
from sedd.runs.metrics import DataRecord


class RunDirectory:
    """The files of one run.

    Args:
        path: the directory; `begin` makes it.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.config_file = path / "config.yaml"
        self.environment_file = path / "environment.json"
        self.metrics_file = path / "metrics.jsonl"
        self.checkpoints = path / "checkpoints"
        self.samples = path / "samples"

    @staticmethod
    def fresh(folder: Path = Path("runs")) -> RunDirectory:
        """Return a run directory that does not exist yet, named after the current time."""
        name = datetime.now(UTC).strftime("%Y-%m-%d-%H%M%S")
        names = (name, *(f"{name}-{count}" for count in range(2, 10_000)))
        return RunDirectory(next(folder / name for name in names if not (folder / name).exists()))

    @staticmethod
    def newest(folder: Path = Path("runs")) -> Path | None:
        """The run directory in `folder` that was begun last; None if there is none."""
        begun = sorted(folder.glob("*/config.yaml"), key=lambda file: file.stat().st_mtime)
        return begun[-1].parent if begun else None

    @property
    def resume_command(self) -> str:
        """The command that continues this run."""
        return shlex.join(["sedd", "train", "--resume", "--run", str(self.path)])

    # Writing -------------------------------------------------------------------------------------------------------

    def check(self, config: Config, *, resume: bool) -> None:
        """Check that this directory may be used for `config`. Writes nothing. Raises CheckpointError if it holds a run
        and `resume` is off, a run of another configuration, or other files."""
        if self.path.exists() and not self.path.is_dir():
            raise CheckpointError("this is a file; choose a directory for the run", file=self.path)
        if not self.config_file.exists():
            if self.path.exists() and any(self.path.iterdir()):
                raise CheckpointError("neither empty nor a run; choose another directory", file=self.path)
            return
        if not self.checkpoints.exists() and not self.metrics_file.exists():
            return  # a run that ended before it trained anything: nothing to lose
        if not resume:
            raise CheckpointError(
                f"already holds a run; continue it with {self.resume_command} (resume=True in Python), or choose "
                "another directory with --run",
                file=self.path,
            )
        if changed := blocking_differences(self.config(), config.to_dict()):
            lines = (f"{item.key}: {item.values[0]!r} in the run, {item.values[1]!r} now" for item in changed)
            raise CheckpointError(
                "was trained with another configuration:\n  "
                + "\n  ".join(lines)
                + "\nResume with the same configuration, or start a new run with --run",
                file=self.path,
            )

    def begin(self, config: Config, *, resume: bool, **environment: str) -> None:
        """`check`, then make the directory and write the configuration and the environment, with additions to it."""
        self.check(config, resume=resume)
        self.path.mkdir(parents=True, exist_ok=True)
        write_atomically(self.config_file, dump(config).encode())
        write_json(self.environment_file, current_environment() | {"directory": str(Path.cwd())} | environment)

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Keep other processes from training in this directory. Raises CheckpointError if another process is training
        in it."""
        try:
            with locked(self.path / ".lock", wait=False):
                yield
        except LockHeld:
            message = "another process is training this run; wait for it or stop it"
            raise CheckpointError(message, file=self.path) from None

    def append(self, record: Mapping[str, Any]) -> None:
        """Add a line to the metrics file."""
        with self.metrics_file.open("a", encoding="utf-8") as file:
            file.write(json.dumps(record) + "\n")

    def rewind(self, step: int, skipped: int, *, aside: str | None = None) -> None:
        """Remove the metrics of later steps, and of more than `skipped` skipped steps, before a run goes on from there.

        With `aside`, the removed lines are kept in a file of that name.
        """
        if not self.metrics_file.exists():
            return
        kept: list[dict[str, Any]] = []
        removed: list[dict[str, Any]] = []
        for record in self.read_metrics():
            (kept if record["step"] <= step and record.get("skipped", 0) <= skipped else removed).append(record)
        if aside is not None:
            write_atomically(self.path / aside, _lines(removed))
        write_atomically(self.metrics_file, _lines(kept))

    # Reading -------------------------------------------------------------------------------------------------------

    def config(self) -> dict[str, Any]:
        """The configuration as plain data, not validated. Raises CheckpointError if there is none, or it is damaged."""
        if not self.config_file.is_file():
            what = "not a run directory (it has no config.yaml)" if self.path.is_dir() else "not a directory"
            raise CheckpointError(f"{what}; give the directory of a run, such as runs/mine", file=self.path)
        try:
            config = yaml.safe_load(self.config_file.read_text(encoding="utf-8"))
        except (yaml.YAMLError, UnicodeDecodeError) as error:
            raise CheckpointError(f"damaged ({error}); restore it, or start a new run", file=self.config_file) from None
        if not isinstance(config, dict):
            raise CheckpointError(
                f"expected sections such as `optim:`, got {type(config).__name__}; restore it", file=self.config_file
            )
        return config

    def environment(self) -> dict[str, str]:
        """Versions and hardware; empty where the file is missing or damaged."""
        return {key: str(value) for key, value in _object(self.environment_file).items()}

    def read_metrics(self) -> list[dict[str, Any]]:
        """The lines of the metrics file as plain data; none where there is no file yet."""
        return read_metrics(self.metrics_file) if self.metrics_file.exists() else []

    def history(self) -> History:
        """The metrics file as records. Raises CheckpointError if there is none, or a line is damaged; names the
        line."""
        return History.read(self.metrics_file)

    def data_record(self) -> DataRecord | None:
        """The training set as it was recorded when the run began; None where it was not."""
        lines = (line for line in self.read_metrics() if line.get("kind") == DataRecord.kind)
        return next(map(DataRecord.from_dict, lines), None)

    def fingerprint(self) -> dict[str, Any]:
        """`Dataset.fingerprint` from the newest checkpoint that has one; empty where there is none."""
        for folder in reversed(checkpoint.listing(self.checkpoints)):
            fingerprint = _object(folder / "state.json").get("data")
            if isinstance(fingerprint, dict) and {"train", "valid", "alphabet"} <= set(fingerprint):
                return fingerprint
        return {}

    def latest(self) -> tuple[Path, checkpoint.Checkpoint] | None:
        """The newest intact checkpoint; damaged ones are renamed."""
        return checkpoint.latest(self.checkpoints, set_aside=True)


def _object(file: Path) -> dict[str, Any]:
    """A JSON object; empty where the file is missing or damaged."""
    try:
        data = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return data if isinstance(data, dict) else {}


def _lines(records: Iterable[Mapping[str, Any]]) -> bytes:
    return "".join(json.dumps(record) + "\n" for record in records).encode()


def current_environment() -> dict[str, str]:
    """Versions and hardware of this process."""
    return {
        "sedd": version("sedd-torch"),
        "torch": torch.__version__,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "processor": str(torch.get_num_threads()) + " threads",
    }
