"""What the directory of a run tells about it, for a comparison. No plugin has to be installed."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from sedd.errors import CheckpointError
from sedd.runs.directory import RunDirectory
from sedd.runs.history import History
from sedd.runs.metrics import BoundRecord

NEGLIGIBLE = 0.01
"""Mask rates at either end of a range whose absence does not matter."""


@dataclass(frozen=True, eq=False)
class RecordedRun:
    """The configuration and the metrics of one run."""

    directory: RunDirectory
    name: str
    """Tells it from the other runs of the comparison."""
    config: Mapping[str, Any] = field(repr=False)
    """`config.yaml` as plain data."""
    history: History = field(repr=False)

    @cached_property
    def fingerprint(self) -> Mapping[str, Any]:
        """`Dataset.fingerprint`: hashes of the training and the held-out sequences; empty without a checkpoint."""
        return self.directory.fingerprint()

    @cached_property
    def environment(self) -> Mapping[str, str]:
        """Versions and hardware."""
        return self.directory.environment()

    @property
    def token_counts(self) -> tuple[int, ...]:
        """(n,) how often each token occurs in the training set; empty where it was not recorded."""
        return () if self.history.data is None else self.history.data.token_counts

    @property
    def last_bound(self) -> BoundRecord | None:
        """The last evaluation; None before the first one."""
        return self.history.bounds[-1] if self.history.bounds else None

    @property
    def mask_range(self) -> tuple[float, float]:
        """The least and the largest mask rate of its noise at full difficulty, 1 - e^(-sigma).

        Raises:
            CheckpointError: if the configuration lacks sigma_min or sigma_max.
        """
        ends = [self.option("noise.sigma_min"), self.option("noise.sigma_max")]
        if not all(isinstance(sigma, int | float) for sigma in ends):
            raise CheckpointError(
                f"noise.sigma_min={ends[0]!r}, noise.sigma_max={ends[1]!r}: expected two "
                "numbers; no run of sedd wrote this file",
                file=self.directory.config_file,
            )
        low, high = (-math.expm1(-float(sigma)) for sigma in ends)
        return low, high

    def covers(self, low: float, high: float) -> bool:
        """Whether it was trained on a range of mask rates, up to a negligible part."""
        return self.mask_range[0] <= low + NEGLIGIBLE and self.mask_range[1] >= high - NEGLIGIBLE

    def option(self, key: str) -> Any:
        """The value of a dotted key of the configuration; None where there is no such key."""
        value: Any = self.config
        for part in key.split("."):
            value = value.get(part) if isinstance(value, Mapping) else None
        return value


def read_runs(paths: Sequence[str | Path]) -> tuple[RecordedRun, ...]:
    """Read run directories, each a different one.

    Raises:
        CheckpointError: if one is not a run directory, is given twice, or has no metrics.
    """
    folders = [Path(path) for path in paths]
    seen: dict[Path, Path] = {}
    for folder in folders:
        if folder.resolve() in seen:
            raise CheckpointError(f"given twice (also as {seen[folder.resolve()]}); name different runs", file=folder)
        seen[folder.resolve()] = folder
    return tuple(_read(RunDirectory(folder), name) for folder, name in zip(folders, _names(folders), strict=True))


def _names(folders: Sequence[Path]) -> list[str]:
    """The last parts of each path, as many as it takes to tell the paths apart."""
    parts = [folder.resolve().parts for folder in folders]
    for length in range(1, max(map(len, parts)) + 1):
        names = ["/".join(path[-length:]) for path in parts]
        if len(set(names)) == len(names):
            break
    return names


def _read(directory: RunDirectory, name: str) -> RecordedRun:
    return RecordedRun(directory, name, directory.config(), directory.history())
