"""Checkpoints: a directory of safetensors and JSON, written whole or not at all, verified before it is parsed.

    step-00001234/  model.safetensors  ema.safetensors  optimizer.safetensors  state.json  config.json  manifest.json

The manifest lists the size and SHA-256 of every other file. A checkpoint is written beside its place, each file and
the directory synced, and renamed; so one that is there is complete, and a flipped bit is found.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors.torch
from torch import Tensor

from sedd.errors import CheckpointError, SeddWarning

FORMAT = 1


@dataclass(frozen=True)
class Checkpoint:
    """The contents of a checkpoint: named tensors by file, and the plain state."""

    tensors: Mapping[str, Mapping[str, Tensor]]
    state: Mapping[str, Any]
    config: Mapping[str, Any]


def write(folder: Path, step: int, checkpoint: Checkpoint) -> Path:
    """Write a checkpoint for `step` under `folder`; returns its directory. One of the same step is replaced."""
    folder.mkdir(parents=True, exist_ok=True)
    final = folder / f"step-{step:08d}"
    temporary = folder / f".{final.name}.{os.getpid()}.tmp"
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir()
    content = {
        f"{name}.safetensors": safetensors.torch.save(_plain(group)) for name, group in checkpoint.tensors.items()
    }
    content["state.json"] = _json(checkpoint.state)
    content["config.json"] = _json(checkpoint.config)
    files = {name: {"size": len(data), "sha256": hashlib.sha256(data).hexdigest()} for name, data in content.items()}
    content["manifest.json"] = _json({"format": FORMAT, "step": step, "files": files})
    for name, data in content.items():
        _write_synced(temporary / name, data)
    _sync(temporary)
    if final.exists():
        shutil.rmtree(final)
    temporary.rename(final)
    _sync(folder)
    return final


def read(path: Path) -> Checkpoint:
    """Read and verify one checkpoint.

    Raises:
        CheckpointError: if a file is missing, or differs in size or hash from what was written.
    """
    try:
        manifest = json.loads((path / "manifest.json").read_bytes())
        listed = dict(manifest["files"])
        version = manifest["format"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CheckpointError(f"{path}: no readable manifest.json ({error}); the checkpoint is not usable") from error
    if version != FORMAT:
        raise CheckpointError(f"{path}: format {version}, this version of sedd reads {FORMAT}; upgrade sedd")
    content = {name: _verified(path / name, entry) for name, entry in listed.items()}
    return Checkpoint(
        tensors={
            name.removesuffix(".safetensors"): safetensors.torch.load(data)
            for name, data in content.items()
            if name.endswith(".safetensors")
        },
        state=json.loads(content["state.json"]),
        config=json.loads(content["config.json"]),
    )


def latest(folder: Path) -> tuple[Path, Checkpoint] | None:
    """The newest intact checkpoint under `folder`; damaged ones are named in a warning and set aside."""
    for path in reversed(listing(folder)):
        try:
            return path, read(path)
        except CheckpointError as error:
            aside = path.with_name(f"damaged-{path.name}")
            shutil.rmtree(aside, ignore_errors=True)
            path.rename(aside)
            warnings.warn(f"{error}. Set aside as {aside.name}; using the one before", SeddWarning, stacklevel=2)
    return None


def listing(folder: Path) -> list[Path]:
    """The checkpoints under `folder`, oldest first."""
    return sorted(path for path in folder.glob("step-*") if path.is_dir())


def prune(folder: Path, *, keep: int, best: str | None) -> None:
    """Remove all but the `keep` newest checkpoints and the one named `best`, and what a killed run left behind."""
    for path in listing(folder)[:-keep]:
        if path.name != best:
            shutil.rmtree(path)
    for path in folder.glob(".step-*.tmp"):
        shutil.rmtree(path, ignore_errors=True)


def write_atomically(path: Path, data: bytes) -> None:
    """Replace a file by a new one, whole or not at all."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    _write_synced(temporary, data)
    temporary.replace(path)
    _sync(path.parent)


def _verified(path: Path, entry: Mapping[str, Any]) -> bytes:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be read ({error.strerror}); the checkpoint is damaged") from error
    if len(data) != entry["size"]:
        raise CheckpointError(f"{path}: has {len(data)} bytes instead of {entry['size']}; the checkpoint is damaged")
    if hashlib.sha256(data).hexdigest() != entry["sha256"]:
        raise CheckpointError(f"{path}: its SHA-256 is not the one in manifest.json; the checkpoint is damaged")
    return data


def _plain(group: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Contiguous tensors on the CPU; tied ones become copies, since safetensors refuses to store shared memory."""
    result: dict[str, Tensor] = {}
    seen: set[int] = set()
    for name, tensor in group.items():
        plain = tensor.detach().contiguous().cpu()
        result[name] = plain.clone() if plain.data_ptr() in seen else plain
        seen.add(plain.data_ptr())
    return result


def _json(data: Any) -> bytes:
    return (json.dumps(data, indent=1) + "\n").encode()


def _write_synced(path: Path, data: bytes) -> None:
    with path.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _sync(folder: Path) -> None:
    if os.name == "nt":  # Windows cannot open directories
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
