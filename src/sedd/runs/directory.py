"""A run directory: configuration, metrics, checkpoints, samples. One directory, one configuration.

config.yaml  metrics.jsonl  environment.json  checkpoints/  samples/
"""

from __future__ import annotations

import json
import platform
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
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
from sedd.runs.history import read_metrics

MAY_DIFFER = (
    "device", "trackers", "checkpoint", "sampling", "monitoring", "evaluation.batch_size", "training.log_every",
    "training.max_skipped", "training.compile", "training.activation_checkpointing", "distributed", "data.train",
    "data.valid", "data.clusters", "data.cache",
)  # fmt: skip
"""Keys that may change when a run is resumed: none of them is part of what is trained. Where the data are does not
matter; that they are the same is checked by `Dataset.fingerprint`."""


class Run:
    """The files of one run.

    Args:
        path: the directory; made by `begin`.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.config = path / "config.yaml"
        self.metrics = path / "metrics.jsonl"
        self.checkpoints = path / "checkpoints"
        self.samples = path / "samples"

    @staticmethod
    def fresh(folder: Path = Path("runs")) -> Run:
        """A run named after the time it begins."""
        name = datetime.now(UTC).strftime("%Y-%m-%d-%H%M%S")
        names = (name, *(f"{name}-{count}" for count in range(2, 10_000)))
        return Run(next(folder / each for each in names if not (folder / each).exists()))

    @staticmethod
    def newest(folder: Path = Path("runs")) -> Path | None:
        """The run directory in `folder` that was begun last."""
        begun = sorted(folder.glob("*/config.yaml"), key=lambda file: file.stat().st_mtime)
        return begun[-1].parent if begun else None

    def check(self, config: Config, *, resume: bool) -> None:
        """Whether this directory may be used for `config`. Writes nothing.

        Raises:
            CheckpointError: if it holds a run and `resume` is off, a run of another configuration, or something else.
        """
        if self.path.exists() and not self.path.is_dir():
            raise CheckpointError(f"{self.path} is a file; choose a directory for the run")
        if not self.config.exists():
            if self.path.exists() and any(self.path.iterdir()):
                raise CheckpointError(f"{self.path} is not empty and not a run; choose another directory")
            return
        if not self.checkpoints.exists() and not self.metrics.exists():
            return  # a run that ended before it trained anything: nothing to lose
        if not resume:
            raise CheckpointError(
                f"{self.path} already holds a run; continue it with --resume (resume=True in Python), "
                "or choose another directory with --run"
            )
        changed = list(differences(self._recorded(), config.as_dict()))
        if changed:
            raise CheckpointError(
                f"{self.path} was trained with another configuration:\n  "
                + "\n  ".join(f"{key}: {old!r} there, {new!r} now" for key, old, new in changed)
                + "\nResume with the same configuration, or start a new run with --run"
            )

    def begin(self, config: Config, *, resume: bool, **about: str) -> None:
        """`check`, then make the directory and record the configuration and the environment, with more `about` it."""
        self.check(config, resume=resume)
        self.path.mkdir(parents=True, exist_ok=True)
        write_atomically(self.config, dump(config).encode())
        write_json(self.path / "environment.json", environment() | about)

    @contextmanager
    def held(self) -> Iterator[None]:
        """Keep other processes from training in this directory.

        Raises:
            CheckpointError: if one does already.
        """
        with ExitStack() as stack:
            try:
                stack.enter_context(locked(self.path / ".lock", wait=False))
            except LockHeld:
                raise CheckpointError(
                    f"{self.path}: another process is training this run; wait for it or stop it"
                ) from None
            yield

    def _recorded(self) -> dict[str, Any]:
        try:
            recorded = yaml.safe_load(self.config.read_text(encoding="utf-8"))
        except (yaml.YAMLError, UnicodeDecodeError) as error:
            raise CheckpointError(f"{self.config}: damaged ({error}); restore it, or start a new run") from None
        return recorded if isinstance(recorded, dict) else {}

    def latest(self) -> tuple[Path, checkpoint.Checkpoint] | None:
        """The newest intact checkpoint; damaged ones are set aside."""
        return checkpoint.latest(self.checkpoints, set_aside=True)

    def append(self, record: Mapping[str, Any]) -> None:
        """Add a line to the metrics file."""
        with self.metrics.open("a", encoding="utf-8") as file:
            file.write(json.dumps(record) + "\n")

    def read_metrics(self) -> list[dict[str, Any]]:
        """The lines of the metrics file; none where there is none yet."""
        return read_metrics(self.metrics) if self.metrics.exists() else []

    def rewind(self, step: int, skipped: int, *, aside: str | None = None) -> None:
        """Drop what was recorded later than `step` and than so many skipped steps: a resumed run goes on from there.

        With `aside`, what is dropped is kept in a file of that name.
        """
        if not self.metrics.exists():
            return
        kept: list[dict[str, Any]] = []
        dropped: list[dict[str, Any]] = []
        for line in self.read_metrics():
            (kept if line["step"] <= step and line.get("skipped", 0) <= skipped else dropped).append(line)
        if aside is not None:
            write_atomically(self.path / aside, _lines(dropped))
        write_atomically(self.metrics, _lines(kept))


def _lines(records: Iterable[Mapping[str, Any]]) -> bytes:
    return "".join(json.dumps(record) + "\n" for record in records).encode()


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
