"""The data of a run, wherever they lie now: a run and its data may have been moved, or the caller stands elsewhere."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping, Sequence
from glob import glob, has_magic
from pathlib import Path
from typing import Any

from sedd.config.config import Config
from sedd.config.messages import dotted
from sedd.config.run_file import parse_override
from sedd.config.sections import Data
from sedd.data import Dataset, open_data
from sedd.data.prepare.preparing import Progress
from sedd.errors import ConfigError, DataError
from sedd.runs.directory import RunDirectory

KEYS = {"data.train": "train", "data.valid": "valid", "data.validation": "valid", "data.clusters": "clusters",
        "data.cache": "cache"}  # fmt: skip
"""Overrides that say where data lie, and the keys of the `data` section that they set."""
LOCATIONS = ("train", "valid", "clusters")
"""Keys of the `data` section that name a file."""


def open_run_data(
    config: Config,
    run: Path,
    *,
    trained_on: Mapping[str, Any],
    parts: Sequence[str] = ("train", "valid", "alphabet"),
    overrides: Sequence[str] = (),
    progress: Progress | None = None,
) -> tuple[Dataset, Data]:
    """Open the sequences that a run was trained on.

    A file is looked for under its name from the current directory, then from the run, from the two directories above
    it, and from the directory in which the run was begun; first under its path and then under its file name alone.

    Args:
        config: of the run.
        run: its directory, or a checkpoint in it.
        trained_on: `Dataset.fingerprint` of the data of the run.
        parts: the entries of it that must be equal.
        overrides: where the data lie, such as ``"data.train=/new/my.fasta"``.
        progress: called with the progress of data that must be prepared first.

    Returns:
        The data, and the `data` section that names the files.

    Raises:
        DataError: if they are nowhere, or are other sequences now.
        ConfigError: if an override is about something else.
    """
    if trained_on["train"] is None:
        raise DataError(f"{run}: its weights were imported, and what they were trained on is not known; name a file")
    folder = run.parent.parent if (run / "manifest.json").exists() else run
    found = list(_sections(config.data, folder, overrides))
    if not found:
        tried = ", ".join(str(base) for base in _bases(folder))
        raise DataError(
            f"{run}: its data, data.train={config.data.train}, were not found from {tried}; {_advice(folder)}"
        )
    for section in found:
        dataset = open_data(section, seed=config.seed, progress=progress)
        if all(dataset.fingerprint[part] == trained_on[part] for part in parts):
            return dataset, section
    raise DataError(f"{run} was trained on other data than data.train={found[0].train} gives now; {_advice(folder)}")


def _advice(folder: Path) -> str:
    return f"name the data it was trained on: data.train=PATH (and data.valid=PATH), beside {shlex.quote(str(folder))}"


def _sections(data: Data, folder: Path, overrides: Sequence[str]) -> Iterator[Data]:
    """The `data` section with the paths that exist, once for each way to read them."""
    named = _named(overrides)
    given = data.model_copy(update=named)
    if given.train == "synthetic" or "train" in named:
        yield given
        return
    seen = []
    for base in _bases(folder):
        for short in (False, True):
            paths = {key: _found(getattr(given, key), base, short=short) for key in LOCATIONS if key not in named}
            if any(path is None and getattr(given, key) is not None for key, path in paths.items()):
                continue
            if paths not in seen:
                seen.append(paths)
                yield given.model_copy(update=paths)


def _named(overrides: Sequence[str]) -> dict[str, Any]:
    named = {}
    for text in overrides:
        path, value = parse_override(text)
        key = dotted(path)
        if key not in KEYS:
            raise ConfigError(f"{text}: only where data lie can be given here: {', '.join(KEYS)}", keys=[key])
        named[KEYS[key]] = None if value is None else str(value)
    return named


def _bases(folder: Path) -> tuple[Path, ...]:
    begun_in = RunDirectory(folder).environment().get("directory")
    inside = folder.absolute()
    bases = (Path(), inside, inside.parent, inside.parent.parent, *([Path(begun_in)] if begun_in else []))
    return tuple(dict.fromkeys(base if base == Path() else base.absolute() for base in bases))


def _found(given: str | Sequence[str] | None, base: Path, *, short: bool) -> str | list[str] | None:
    """Where the files lie that are given relative to `base`; None if any of them is not there."""
    if given is None:
        return None
    if not isinstance(given, str):
        found = [_found(name, base, short=short) for name in given]
        return [path for path in found if isinstance(path, str)] if all(found) else None
    path = Path(given).expanduser()
    path = base / (path.name if short else path)
    return str(path) if path.exists() or (has_magic(str(path)) and glob(str(path))) else None


def split_overrides(words: Sequence[str]) -> tuple[list[str], list[str]]:
    """Separate words of a command line: paths, and overrides such as ``data.train=my.fasta``."""
    assigned = [word for word in words if word.startswith("data.") and "=" in word and not Path(word).exists()]
    return [word for word in words if word not in assigned], assigned
