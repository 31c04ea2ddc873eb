"""A run directory: configuration, metrics, checkpoints, samples. One directory, one configuration.

    config.yaml  environment.json  metrics.jsonl  checkpoints/  samples/

A process that trains holds the lock `.lock` from before its first write to its last. All of it is written and read
here. What is read is plain data, so no plugin has to be installed to look at a run.
"""

from __future__ import annotations

import json
import platform
import shlex
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from importlib.metadata import version
from itertools import chain, count
from pathlib import Path
from typing import Any

import torch

from sedd.config.config import Config
from sedd.config.run_file import dump
from sedd.config.yaml_bounds import MOST_BYTES
from sedd.config.yaml_lines import parse
from sedd.errors import CheckpointError, ConfigError
from sedd.files import LockHeld, locked, naming, no_symlink, read_bounded, temporary_of, write_atomically, write_json
from sedd.runs import changes, checkpoint
from sedd.runs.differences import Difference
from sedd.runs.history import History, read_metrics
from sedd.runs.metrics import DataRecord
from sedd.runs.plugin_record import plugins_of

IDENTITY = "run"
"""The key of the identity in `environment.json`."""
MOST_JSON = 64 << 20
"""Bytes of a JSON file."""
LOCK = ".lock"
"""File of a run directory that the process which trains holds."""


class RunDirectory:
    """The files of one run.

    Args:
        path: the directory; `claim` or `lock` makes it.
        named: whether the user named it; the name of another one changes if a process is faster to take it.
        allow: keys of the configuration that may change when the run goes on, see `sedd.runs.changes.allowed_keys`.
    """

    def __init__(self, path: Path, *, named: bool = True, allow: Sequence[str] = ()) -> None:
        self.path = path
        self.named = named
        self.allow = tuple(allow)
        self.config_file = path / "config.yaml"
        self.environment_file = path / "environment.json"
        self.metrics_file = path / "metrics.jsonl"
        self.checkpoints = path / "checkpoints"
        self.samples = path / "samples"

    @staticmethod
    def fresh(folder: Path = Path("runs")) -> RunDirectory:
        """A run directory that does not exist yet, named after the current time; nothing is made before `claim`."""
        name = datetime.now(UTC).strftime("%Y-%m-%d-%H%M%S")
        return RunDirectory(next(path for path in _numbered(folder / name) if not path.exists()), named=False)

    def claim(self) -> RunDirectory:
        """Make the directory, so that no other process takes it; returns it, or the one with the next free name.

        A directory that the user named is returned as it is: `check` and `lock` decide whether it may be used.
        """
        if self.named:
            return self
        self.path.parent.mkdir(parents=True, exist_ok=True)
        for path in _numbered(self.path):
            with suppress(FileExistsError):
                path.mkdir()  # only one process can make it
                return RunDirectory(path)
        raise AssertionError("unreachable: the names do not end")

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
            if self.path.exists() and any(path.name not in self._left_over for path in self.path.iterdir()):
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
        refused, _ = changes.split(self.config(), config.to_dict(), self.allow)
        if refused:
            lines = (f"{item.key}: {item.values[0]!r} in the run, {item.values[1]!r} now" for item in refused)
            raise CheckpointError(
                "was trained with another configuration:\n  " + "\n  ".join(lines) + f"\n{changes.advice(refused)}",
                file=self.path,
            )

    def changes(self, config: Config) -> tuple[Difference, ...]:
        """What changes on purpose if the run goes on with this configuration: see `allow`."""
        if not self.config_file.exists():
            return ()
        return tuple(changes.split(self.config(), config.to_dict(), self.allow)[1])

    def begin(
        self, config: Config, *, resume: bool, step: int | None = None, identity: str | None = None, **environment: str
    ) -> None:
        """Write the configuration and the environment, with additions to it. The caller holds the lock.

        The identity of the run is the one that it has, else `identity`, else a new one.

        Args:
            config: of the run.
            resume: whether the directory may hold a run of this configuration.
            step: the optimizer step that training goes on from; None: it is not compared.
            identity: of the run, if the directory may have lost it.
            environment: more keys for the file of the environment.

        Raises:
            CheckpointError: as for `check`, which is repeated, since the directory may have changed in the meantime; or
                if another process has trained this run beyond `step`.
        """
        self.check(config, resume=resume)
        found = checkpoint.listing(self.checkpoints)
        beyond = [path for path in found if step is not None and checkpoint.step_of(path) > step]
        if beyond:
            raise CheckpointError(
                f"another process has trained this run to {beyond[-1].name} in the meantime, and this one is at step "
                f"{step:,}; start again with --resume (resume=True in Python)",
                file=self.path,
            )
        self.path.mkdir(parents=True, exist_ok=True)
        for file in (self.config_file, self.environment_file, self.metrics_file):
            temporary_of(file).unlink(missing_ok=True)  # of a process that was killed
        write_atomically(self.config_file, dump(config).encode())
        known = {IDENTITY: self.identity() or identity or uuid.uuid4().hex, "directory": str(Path.cwd())}
        write_json(self.environment_file, current_environment() | plugins_of(config) | environment | known)

    @property
    def _left_over(self) -> set[str]:
        """Names of what a process leaves that was killed before it had written the configuration."""
        return {LOCK, temporary_of(self.config_file).name}

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Keep other processes from training in this directory, which is made. Raises CheckpointError if another
        process is training in it, or it is a file."""
        try:
            self.path.mkdir(parents=True, exist_ok=True)
        except FileExistsError:
            raise CheckpointError("this is a file; choose a directory for the run", file=self.path) from None
        try:
            with locked(self.path / LOCK, wait=False):
                yield
        except LockHeld:
            message = "another process is training this run; wait for it or stop it"
            raise CheckpointError(message, file=self.path) from None

    def clean(self) -> None:
        """Remove what a killed process was writing; called by the process that holds the lock."""
        for path in self.path.glob("*.new"):
            path.unlink(missing_ok=True)
        checkpoint.clean(self.checkpoints)

    def append(self, record: Mapping[str, Any]) -> None:
        """Add a line to the metrics file."""
        with naming(self.metrics_file), open(self.metrics_file, "a", encoding="utf-8", opener=no_symlink) as file:
            file.write(json.dumps(record) + "\n")

    def rewind(self, step: int, skipped: int, *, aside: str | None = None) -> None:
        """Remove the metrics of later steps, and of more than `skipped` skipped steps, before a run goes on from there.

        With `aside`, the removed lines are kept in a file of that name.
        """
        if not self.metrics_file.exists():
            return
        kept: list[dict[str, Any]] = []
        removed: list[dict[str, Any]] = []
        for number, record in enumerate(self.read_metrics(), 1):
            try:
                is_kept = record["step"] <= step and record.get("skipped", 0) <= skipped
            except (KeyError, TypeError) as error:
                damage = f"not a metrics line ({type(error).__name__}: {error}); repair or remove it"
                raise CheckpointError(damage, file=self.metrics_file, line=number) from None
            (kept if is_kept else removed).append(record)
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
            config, _ = parse(self.config_text(), self.config_file.name)
        except ConfigError as error:
            raise CheckpointError(f"damaged ({error}); restore it, or start a new run", file=self.config_file) from None
        return config

    def config_text(self) -> str:
        """The configuration as YAML. Raises CheckpointError if it cannot be read."""
        try:
            return read_bounded(self.config_file, most=MOST_BYTES).decode()
        except OSError as error:
            raise CheckpointError(f"cannot be read ({error.strerror or error})", file=self.config_file) from None
        except UnicodeDecodeError as error:
            raise CheckpointError(f"damaged ({error}); restore it, or start a new run", file=self.config_file) from None

    def environment(self) -> dict[str, str]:
        """Versions and hardware; empty where the file is missing or damaged."""
        return {key: str(value) for key, value in _object(self.environment_file).items() if key != IDENTITY}

    def identity(self) -> str | None:
        """What tells this run from all others, and is in its checkpoints; None where it is not known."""
        identity = _object(self.environment_file).get(IDENTITY)
        return identity if isinstance(identity, str) else None

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


def _numbered(path: Path) -> Iterator[Path]:
    """`path`, then the names that follow it: `NAME-2`, `NAME-3`, ..."""
    return chain([path], (path.with_name(f"{path.name}-{number}") for number in count(2)))


def _object(file: Path) -> dict[str, Any]:
    """A JSON object; empty where the file is missing or damaged."""
    try:
        data = json.loads(read_bounded(file, most=MOST_JSON))
    except (OSError, ValueError, RecursionError):
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
