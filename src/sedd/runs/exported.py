"""An exported model: a folder to share, with what is needed to load it and where it came from.

    config.json  model.safetensors  alphabet.json  network.py  README.md

`config.json` has the configuration of the run and the SHA-256 of the weights, which is compared when they are read.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import safetensors.torch

from sedd.errors import CheckpointError
from sedd.files import check_regular, json_bytes, read_bounded, write_synced
from sedd.runs.checkpoint import Checkpoint
from sedd.runs.lineage import KEY as LINEAGE
from sedd.runs.lineage import lineage_of
from sedd.runs.manifest import DamagedError

FORMAT = 1
CONFIG, WEIGHTS, ALPHABET, CARD = "config.json", "model.safetensors", "alphabet.json", "README.md"
NETWORK = "network.py"
"""The network in plain PyTorch, for programs without sedd."""
MOST_JSON = 64 << 20
"""Bytes of a JSON file."""
STATE = ("lengths", "token_counts", "data", "plugins")
"""Keys of the state of a checkpoint that `config.json` has too."""


@dataclass(frozen=True)
class Exported:
    """What is written: a checkpoint, which of its weights, and where it came from."""

    checkpoint: Checkpoint
    weights: str
    """`ema` or `model`."""
    lineage: Mapping[str, Any]

    @property
    def step(self) -> int:
        """Optimizer steps that the weights were trained for."""
        return int(self.checkpoint.state["train"]["step"])

    @property
    def config(self) -> dict[str, Any]:
        """The configuration, with the names of data files in place of their paths."""
        config = dict(self.checkpoint.config)
        data = dict(config["data"])
        named = {key: _file_names(data.get(key)) for key in ("train", "valid", "clusters")}
        training = dict(config["training"])
        training["init_from"] = _source_name(training.get("init_from"))
        return config | {"data": data | named | {"cache": None}, "training": training}


def is_exported(path: Path) -> bool:
    """Whether a folder has the files of an exported model."""
    return all((path / name).is_file() for name in (CONFIG, WEIGHTS, ALPHABET))


def check_target(folder: Path) -> None:
    """Raise CheckpointError if there is something at `folder` already."""
    if os.path.lexists(folder) and not (folder.is_dir() and not any(folder.iterdir())):
        raise CheckpointError("exists already; choose another folder, or remove it", file=folder)


def write(folder: Path, exported: Exported, more: Mapping[str, bytes]) -> None:
    """Write an exported model as by `write_folder`, with `more` files by name. Raises CheckpointError too if the
    checkpoint lacks the weights."""
    saved = exported.checkpoint
    if exported.weights not in saved.tensors:
        raise CheckpointError(f"the checkpoint has no weights {exported.weights!r}", file=folder)
    weights = safetensors.torch.save(dict(saved.tensors[exported.weights]), {"format": "pt"})
    about = {
        "library": "sedd",
        "format": FORMAT,
        "step": exported.step,
        "weights": exported.weights,
        "sha256": hashlib.sha256(weights).hexdigest(),
        "lineage": without_paths(exported.lineage),
        "config": exported.config,
        **{key: saved.state.get(key) for key in STATE},
    }
    content = {WEIGHTS: weights, CONFIG: json_bytes(about), ALPHABET: json_bytes(saved.state["alphabet"])}
    write_folder(folder, content | dict(more))


def write_folder(folder: Path, content: Mapping[str, bytes]) -> None:
    """Write files by name into a folder, complete or not at all. Raises CheckpointError if there is something at
    `folder` already."""
    check_target(folder)
    partial = folder.parent / f".{folder.name}.partial"
    folder.parent.mkdir(parents=True, exist_ok=True)
    shutil.rmtree(partial, ignore_errors=True)  # of a process that was killed
    try:
        partial.mkdir()
        for name, data in content.items():
            write_synced(partial / name, data)
        if folder.is_dir():
            folder.rmdir()  # empty, see `check_target`
        partial.rename(folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def read(folder: Path) -> Checkpoint:
    """Read and verify an exported model; its weights count as averaged and as raw ones.

    Raises:
        DamagedError: if a file is not what was written.
        CheckpointError: if it has the format of a newer version of sedd.
    """
    about, alphabet = (_object(folder / name) for name in (CONFIG, ALPHABET))
    if about.get("library") != "sedd":
        raise CheckpointError("no model that sedd exported; see `sedd import weights`", file=folder)
    if about.get("format") != FORMAT:
        raise CheckpointError(
            f"format {str(about.get('format'))[:20]}, this version of sedd reads {FORMAT}; upgrade sedd", file=folder
        )
    check_regular(folder / WEIGHTS)
    weights = (folder / WEIGHTS).read_bytes()
    if hashlib.sha256(weights).hexdigest() != about.get("sha256"):
        raise DamagedError(
            f"the SHA-256 differs from the one in {CONFIG}; copy the folder again", file=folder / WEIGHTS
        )
    try:
        tensors = safetensors.torch.load(weights)
        state = {key: about[key] for key in STATE if key in about}
        state |= {"alphabet": alphabet, "train": {"step": int(about["step"]), "best_step": None}}
        state |= {LINEAGE: about["lineage"].get(LINEAGE)}
        return Checkpoint({"ema": tensors, "model": tensors}, state, dict(about["config"]), about["lineage"].get("run"))
    except MemoryError:
        raise
    except Exception as error:  # the hash proves that the weights are as they were written, not that sedd wrote them
        reason = f"{type(error).__name__}: {error}"
        raise DamagedError(f"not an exported model ({reason}); copy the folder again", file=folder) from None


def without_paths(lineage: Mapping[str, Any]) -> dict[str, Any]:
    """A lineage whose ancestors have the names of their folders in place of paths."""
    ancestors = [replace(one, source=_source_name(one.source) or "") for one in lineage_of(lineage)]
    return dict(lineage) | {LINEAGE: [ancestor.to_dict() for ancestor in ancestors]}


def _source_name(source: str | None) -> str | None:
    """What a parent is called: a repository of the Hub, or a folder without its path."""
    return source if source is None or source.startswith("hf:") else Path(source).name


def _object(file: Path) -> dict[str, Any]:
    try:
        data = json.loads(read_bounded(file, most=MOST_JSON))
    except (ValueError, RecursionError) as error:
        raise DamagedError(f"not JSON ({error}); copy the folder again", file=file) from None
    if not isinstance(data, dict):
        raise DamagedError(f"has a {type(data).__name__}, expected an object", file=file)
    return data


def _file_names(named: Any) -> Any:
    """Of a path, or of each of several."""
    if isinstance(named, list | tuple):
        return [Path(name).name for name in named]
    return Path(named).name if isinstance(named, str) else None
