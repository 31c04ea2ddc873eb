"""A run as its directory tells it: raw configuration, history, and on what it was trained and measured.

Nothing is validated against the installed plugins, so a run can be looked at where its plugins are not.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from sedd.errors import CheckpointError
from sedd.runs.history import History, read_metrics


@dataclass(frozen=True, eq=False)
class Recorded:
    """One run directory."""

    path: Path
    name: str
    """How it is called among the runs at hand."""
    config: Mapping[str, Any] = field(repr=False)
    """`config.yaml` as plain data."""
    history: History = field(repr=False)
    data: Mapping[str, Any] = field(default_factory=dict, repr=False)
    """The `data` line of the metrics: `letter_counts` and `sequences` of the training set; empty in an old run."""
    evaluated: Mapping[str, Any] = field(default_factory=dict, repr=False)
    """The last `bound` line: `bound_sequences`, `bound_residues`, `bound_cropped`."""
    fingerprint: Mapping[str, Any] = field(default_factory=dict, repr=False)
    """`Dataset.fingerprint` from its newest checkpoint: hashes of both parts; empty where there is none."""
    environment: Mapping[str, Any] = field(default_factory=dict, repr=False)
    """`environment.json`."""

    def option(self, key: str) -> Any:
        """The value of a dotted key of the configuration; None where it is not there."""
        value: Any = self.config
        for part in key.split("."):
            value = value.get(part) if isinstance(value, Mapping) else None
        return value

    @property
    def mask_range(self) -> tuple[float, float]:
        """The least and the largest mask rate of its noise at full difficulty.

        Raises:
            CheckpointError: if the configuration does not say.
        """
        ends = [self.option("noise.sigma_min"), self.option("noise.sigma_max")]
        if not all(isinstance(end, int | float) for end in ends):
            raise CheckpointError(
                f"{self.path / 'config.yaml'}: noise.sigma_min={ends[0]!r}, noise.sigma_max={ends[1]!r}: expected two "
                "numbers; the file is not one that a run of sedd wrote"
            )
        low, high = (-math.expm1(-float(end)) for end in ends)
        return low, high

    @property
    def rolled_back(self) -> bool:
        """Whether a divergence made it go back to an older checkpoint."""
        return any(event["kind"] == "rollback" for event in self.history.events)


def read_runs(paths: Sequence[str | Path]) -> tuple[Recorded, ...]:
    """Read some runs, all different.

    Raises:
        CheckpointError: if one is no run directory, is given twice, or has recorded nothing.
    """
    places = [Path(path) for path in paths]
    seen: dict[Path, Path] = {}
    for place in places:
        if place.resolve() in seen:
            raise CheckpointError(f"{place} is given twice (as {seen[place.resolve()]}, too); name different runs")
        seen[place.resolve()] = place
    return tuple(_read(place, name) for place, name in zip(places, _names(places), strict=True))


def _names(places: Sequence[Path]) -> list[str]:
    """The last parts of each path, as many as it takes to tell them apart."""
    parts = [place.resolve().parts for place in places]
    for length in range(1, max(len(each) for each in parts) + 1):
        names = ["/".join(each[-length:]) for each in parts]
        if len(set(names)) == len(names):
            break
    return names


def _read(path: Path, name: str) -> Recorded:
    file = path / "config.yaml"
    if not file.is_file():
        what = "no run directory (it has no config.yaml)" if path.is_dir() else "no directory"
        raise CheckpointError(f"{path}: {what}; give the directory of a run, such as runs/mine")
    try:
        config = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise CheckpointError(f"{file}: damaged ({error}); restore it") from None
    if not isinstance(config, dict):
        raise CheckpointError(f"{file}: expected sections such as `optim:`, got {type(config).__name__}; restore it")
    history, records = History.read(path), read_metrics(path / "metrics.jsonl")
    return Recorded(
        path=path,
        name=name,
        config=config,
        history=history,
        data=next((record for record in records if record["kind"] == "data"), {}),
        evaluated=next((record for record in reversed(records) if record["kind"] == "bound"), {}),
        fingerprint=_fingerprint(path / "checkpoints"),
        environment=_json(path / "environment.json"),
    )


def _fingerprint(checkpoints: Path) -> Mapping[str, Any]:
    for folder in sorted(checkpoints.glob("step-*"), reverse=True):
        found = _json(folder / "state.json").get("data")
        if isinstance(found, dict) and {"train", "valid", "alphabet"} <= set(found):
            return found
    return {}


def _json(file: Path) -> Mapping[str, Any]:
    """An object; empty where the file is not there or damaged, since everything read here is only evidence."""
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
