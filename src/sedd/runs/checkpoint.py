"""Checkpoints: a directory of safetensors and JSON, written whole or not at all, verified before it is parsed.

    step-00001234/  model.safetensors  ema.safetensors  optimizer.safetensors  state.json  config.json  manifest.json

Where processes have shares of each tensor, each writes its own: `model-00001-of-00002.safetensors`. A tensor that is in
several of these files is what `torch.cat` makes of them, so that any number of processes, or a program that knows
nothing of processes, can read them. (`torch.distributed.checkpoint` does not hash what it writes, and reading must not
need `torch.distributed`.)

The manifest lists the size and SHA-256 of every other file. A checkpoint is written beside its place, each file and
the directory synced, and renamed; so one that is there is complete, and a flipped bit is found.
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import Tensor

from sedd.distributed.group import SINGLE_PROCESS, RankInfo, World
from sedd.errors import CheckpointError, SeddWarning
from sedd.files import sync_directory, to_json, write_synced

FORMAT = 1
PART = re.compile(r"-\d{5}-of-\d{5}$")
"""What the name of a file has that one of several processes wrote."""


@dataclass(frozen=True)
class Checkpoint:
    """The contents of a checkpoint: named tensors by file, and the plain state."""

    tensors: Mapping[str, Mapping[str, Tensor]]
    state: Mapping[str, Any]
    config: Mapping[str, Any]


class DamagedError(CheckpointError):
    """A checkpoint whose files are not those that were written."""


def write(
    folder: Path, step: int, checkpoint: Checkpoint, *, world: World = SINGLE_PROCESS, sharded: bool = False
) -> Path:
    """Write a checkpoint for `step` under `folder`; returns its directory. One of the same step is replaced.

    All processes of `world` call it: the first writes, and with `sharded` all do, each its own tensors.
    """
    final = folder / f"step-{step:08d}"
    temporary = folder / f".{final.name}.tmp"
    if world.is_main:
        folder.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(temporary, ignore_errors=True)
        temporary.mkdir()
    world.barrier()
    files = _write_files(temporary, checkpoint, world.info, sharded=sharded) if world.is_main or sharded else {}
    everybody = world.all_gather_object(files)
    if world.is_main:
        listed = {name: entry for each in everybody for name, entry in each.items()}
        write_synced(temporary / "manifest.json", to_json({"format": FORMAT, "step": step, "files": listed}))
        _put_in_place(temporary, final)
    world.barrier()
    return final


def _write_files(folder: Path, checkpoint: Checkpoint, info: RankInfo, *, sharded: bool) -> dict[str, dict[str, Any]]:
    """Write what one process has; returns the size and hash of each file."""
    part = f"-{info.rank + 1:05d}-of-{info.world_size:05d}" if sharded else ""
    content = {
        f"{name}{part}.safetensors": safetensors.torch.save(_plain(group)) for name, group in checkpoint.tensors.items()
    }
    if info.rank == 0:
        content["state.json"] = to_json(checkpoint.state)
        content["config.json"] = to_json(checkpoint.config)
    for name, data in content.items():
        write_synced(folder / name, data)
    return {name: {"size": len(data), "sha256": hashlib.sha256(data).hexdigest()} for name, data in content.items()}


def _put_in_place(temporary: Path, final: Path) -> None:
    folder = final.parent
    sync_directory(temporary)
    old = folder / f".{final.name}.old"
    if final.exists():
        shutil.rmtree(old, ignore_errors=True)
        final.rename(old)  # killed here, `latest` puts it back
    temporary.rename(final)
    sync_directory(folder)
    shutil.rmtree(old, ignore_errors=True)


def read(path: Path) -> Checkpoint:
    """Read and verify one checkpoint.

    Raises:
        DamagedError: if a file is missing, or differs in size or hash from what was written.
        CheckpointError: if a newer version of sedd wrote it.
    """
    try:
        manifest = json.loads((path / "manifest.json").read_bytes())
        listed = dict(manifest["files"])
        version = manifest["format"]
    except (FileNotFoundError, ValueError, KeyError, TypeError) as error:
        raise DamagedError(f"{path}: no readable manifest.json ({error}); the checkpoint is damaged") from error
    if version != FORMAT:
        raise CheckpointError(f"{path}: format {version}, this version of sedd reads {FORMAT}; upgrade sedd")
    content = {name: _verified(path / name, entry) for name, entry in listed.items()}
    return Checkpoint(
        tensors=_joined({name: data for name, data in content.items() if name.endswith(".safetensors")}),
        state=json.loads(content["state.json"]),
        config=json.loads(content["config.json"]),
    )


def known_to_all(found: tuple[Path, Checkpoint] | None, world: World) -> tuple[Path, Checkpoint]:
    """The checkpoint that the first process has `found`, for all; the others get everything but its tensors."""
    told = None if found is None else (found[0], replace(found[1], tensors={name: {} for name in found[1].tensors}))
    first = world.all_gather_object(told)[0]
    if first is None:
        raise ValueError("the first process has to give the checkpoint that it read")
    return found or first


def latest(folder: Path, *, set_aside: bool = False) -> tuple[Path, Checkpoint] | None:
    """The newest intact checkpoint under `folder`, None where there are none at all.

    Damaged ones are named in a warning; `set_aside` renames them, which only their owner, the trainer, should do.

    Raises:
        CheckpointError: if there are checkpoints and every one of them is damaged, or one is of a newer version.
    """
    if set_aside:
        _put_back(folder)
    found = listing(folder)
    for path in reversed(found):
        try:
            return path, read(path)
        except DamagedError as error:
            if set_aside:
                path = path.rename(_free(path.with_name(f"damaged-{path.name}")))
            warnings.warn(f"{error}. Using the one before; the damaged one is {path.name}", SeddWarning, stacklevel=2)
    damaged = sorted(folder.glob("damaged-step-*"))
    if found or damaged:
        raise CheckpointError(
            f"{folder}: every checkpoint is damaged ({', '.join(path.name for path in damaged or found)}); "
            "restore one from a backup, or start a new run"
        )
    return None


def listing(folder: Path) -> list[Path]:
    """The checkpoints under `folder`, oldest first."""
    return sorted(path for path in folder.glob("step-*") if path.is_dir())


def step_of(path: Path) -> int:
    """The optimizer step of a checkpoint directory."""
    return int(path.name.removeprefix("step-"))


def forget_after(folder: Path, step: int) -> None:
    """Remove the checkpoints of later steps: a run that went back does not resume from them."""
    for path in reversed(listing(folder)):
        if step_of(path) > step:
            path.rename(path.with_name(f".{path.name}.trash"))
    sync_directory(folder)


def prune(folder: Path, *, keep: int, best: str | None) -> None:
    """Remove all but the `keep` newest checkpoints and the one named `best`, and what a killed run left behind."""
    for path in listing(folder)[:-keep]:
        if path.name != best:
            path.rename(path.with_name(f".{path.name}.trash"))  # in one move: nobody sees it half removed
    for kind in ("tmp", "old", "trash"):
        for path in folder.glob(f".step-*.{kind}"):
            shutil.rmtree(path, ignore_errors=True)


def _put_back(folder: Path) -> None:
    """Finish what a kill interrupted while a checkpoint was being replaced by one of the same step."""
    for old in folder.glob(".step-*.old"):
        final = folder / old.name[1:].removesuffix(".old")
        if not final.exists():
            old.rename(final)


def _free(path: Path) -> Path:
    """A name that nothing has yet."""
    count = 1
    free = path
    while free.exists():
        count += 1
        free = path.with_name(f"{path.stem}-{count}{path.suffix}")
    return free


def _verified(path: Path, entry: Mapping[str, Any]) -> bytes:
    try:
        data = path.read_bytes()
    except FileNotFoundError as error:
        raise DamagedError(f"{path}: is missing; the checkpoint is damaged") from error
    if len(data) != entry["size"]:
        raise DamagedError(f"{path}: has {len(data)} bytes instead of {entry['size']}; the checkpoint is damaged")
    if hashlib.sha256(data).hexdigest() != entry["sha256"]:
        raise DamagedError(f"{path}: its SHA-256 is not the one in manifest.json; the checkpoint is damaged")
    return data


def _joined(files: Mapping[str, bytes]) -> dict[str, dict[str, Tensor]]:
    """The tensors of each group of files, put together again from their parts."""
    parts: dict[str, dict[str, list[Tensor]]] = {}
    for name in sorted(files):  # the order of the processes
        group = parts.setdefault(PART.sub("", name.removesuffix(".safetensors")), {})
        for key, tensor in safetensors.torch.load(files[name]).items():
            group.setdefault(key, []).append(tensor)
    return {
        name: {key: found[0] if len(found) == 1 else torch.cat(found) for key, found in group.items()}
        for name, group in parts.items()
    }


def _plain(group: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Contiguous tensors on the CPU; tied ones become copies, since safetensors refuses to store shared memory."""
    result: dict[str, Tensor] = {}
    seen: set[int] = set()
    for name, tensor in group.items():
        plain = tensor.detach().contiguous().cpu()
        result[name] = plain.clone() if plain.data_ptr() in seen else plain
        seen.add(plain.data_ptr())
    return result
