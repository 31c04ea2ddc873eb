"""Checkpoints: directories of safetensors and JSON, written atomically, verified before they are parsed.

    step-00001234/  model.safetensors  ema.safetensors  optimizer.safetensors  state.json  config.json  manifest.json

With sharded tensors each process writes its shards: `model-00001-of-00002.safetensors`. A tensor that is in several of
these files is their concatenation (`torch.cat`), so any number of processes can read it, and so can a program without
`torch.distributed`. (`torch.distributed.checkpoint` does not hash its files, and reading them needs
`torch.distributed`.)

The manifest lists the size and SHA-256 of every other file, and has its own. A checkpoint is written under a
temporary name, each file and the directory synced, and renamed: a checkpoint with its final name is complete, and a
flipped bit is detected.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import re
import shutil
import warnings
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import Tensor

from sedd.distributed.group import SINGLE_PROCESS, RankInfo, World
from sedd.errors import CheckpointError, SeddWarning
from sedd.files import json_bytes, sync_directory, write_synced
from sedd.runs.manifest import NAME, DamagedError, Entry, Manifest

__all__ = [
    "Checkpoint", "DamagedError", "clean", "first_intact", "forget_after", "known_to_all", "latest", "listing", "prune",
    "read", "step_of", "write",
]  # fmt: skip

CHECKPOINT = re.compile(r"step-\d+")
"""The name of a checkpoint's directory."""
PART = re.compile(r"-\d{5}-of-\d{5}$")
"""The end of the name, without extension, of a file with the shards of one process."""


@dataclass(frozen=True)
class Checkpoint:
    """The content of a checkpoint: named tensors by file, the state and the configuration as plain data."""

    tensors: Mapping[str, Mapping[str, Tensor]]
    state: Mapping[str, Any]
    config: Mapping[str, Any]
    run: str | None = None
    """The identity of the run."""


def write(
    folder: Path, step: int, checkpoint: Checkpoint, *, world: World = SINGLE_PROCESS, sharded: bool = False
) -> Path:
    """Write a checkpoint for `step` under `folder`, replace an older one of this step, and return its directory.

    All processes of `world` call it. Only the first one writes; with `sharded` each process writes its own tensors.
    What was written before an error is removed, so that a full disk has its space back.
    """
    final = folder / f"step-{step:08d}"
    temporary = folder / f".{final.name}.tmp"
    try:
        _write(temporary, final, checkpoint, step, world=world, sharded=sharded)
    except BaseException:
        if world.is_main:
            with contextlib.suppress(OSError):  # the first error is the one to report
                _finish_replacing(folder)
            _remove(temporary)
        raise
    return final


def _write(temporary: Path, final: Path, checkpoint: Checkpoint, step: int, *, world: World, sharded: bool) -> None:
    if world.is_main:
        final.parent.mkdir(parents=True, exist_ok=True)
        _remove(temporary)
        temporary.mkdir()
    world.barrier()
    files = _write_files(temporary, checkpoint, world.info, sharded=sharded) if world.is_main or sharded else {}
    all_files = world.all_gather_object(files)
    if world.is_main:
        listed = {name: entry for of_process in all_files for name, entry in of_process.items()}
        write_synced(temporary / NAME, Manifest(step, listed, checkpoint.run).to_bytes())
        _publish(temporary, final)
    world.barrier()


def _write_files(folder: Path, checkpoint: Checkpoint, info: RankInfo, *, sharded: bool) -> dict[str, Entry]:
    """Write the files of one process; returns the size and hash of each."""
    part = f"-{info.rank + 1:05d}-of-{info.world_size:05d}" if sharded else ""
    content = {
        f"{name}{part}.safetensors": safetensors.torch.save(_plain(group)) for name, group in checkpoint.tensors.items()
    }
    if info.rank == 0:
        content["state.json"] = json_bytes(checkpoint.state)
        content["config.json"] = json_bytes(checkpoint.config)
    for name, data in content.items():
        write_synced(folder / name, data)
    return {name: Entry.of(data) for name, data in content.items()}


def _publish(temporary: Path, final: Path) -> None:
    folder = final.parent
    sync_directory(temporary)
    old = folder / f".{final.name}.old"
    if os.path.lexists(final):
        _remove(old)
        final.rename(old)  # if killed between the two renames, `latest` renames it back
    temporary.rename(final)
    sync_directory(folder)
    _remove(old)


def read(path: Path) -> Checkpoint:
    """Read and verify one checkpoint. Raises DamagedError if a file is missing, unreadable, or not what the manifest
    says. Raises CheckpointError if it has the format of a newer version of sedd."""
    manifest = Manifest.read(path)
    content = {name: entry.read(path / name) for name, entry in manifest.files.items()}
    try:
        return Checkpoint(
            tensors=_joined({name: data for name, data in content.items() if name.endswith(".safetensors")}),
            state=_mapping(content, "state.json"),
            config=_mapping(content, "config.json"),
            run=manifest.run,
        )
    except MemoryError:  # the machine's fault, not the checkpoint's
        raise
    except Exception as error:  # hashes prove that files are as they were written, not that sedd wrote them
        reason = f"{type(error).__name__}: {error}"
        raise DamagedError(f"not a checkpoint of sedd ({reason}); the checkpoint is damaged", file=path) from error


def _mapping(content: Mapping[str, bytes], name: str) -> dict[str, Any]:
    data = json.loads(content[name])
    if not isinstance(data, dict):
        raise TypeError(f"{name} has a {type(data).__name__}, expected an object")
    return data


def known_to_all(loaded: tuple[Path, Checkpoint] | None, world: World) -> tuple[Path, Checkpoint]:
    """Pass the checkpoint that the first process has loaded to all processes, to the others without its tensors. Raises
    ValueError if the first process passes None."""
    light = None
    if loaded is not None:
        path, saved = loaded
        light = path, replace(saved, tensors={name: {} for name in saved.tensors})
    first = world.all_gather_object(light)[0]
    if first is None:
        raise ValueError("the first process has to pass the checkpoint that it has loaded")
    return loaded or first


def latest(folder: Path, *, set_aside: bool = False) -> tuple[Path, Checkpoint] | None:
    """Read the newest intact checkpoint under `folder`; None if there are no checkpoints.

    A warning names each damaged one. With `set_aside` it is also renamed; only the trainer, which owns it, may do that.
    Raises CheckpointError if every checkpoint is damaged, or one has the format of a newer version of sedd.
    """
    if set_aside:
        _finish_replacing(folder)
    paths = listing(folder)
    found = first_intact(reversed(paths), set_aside=set_aside)
    damaged = sorted(folder.glob("damaged-step-*"))
    if found is None and (paths or damaged):
        raise CheckpointError(
            f"every checkpoint is damaged ({', '.join(path.name for path in damaged or paths)}); "
            "restore one from a backup, or start a new run",
            file=folder,
        )
    return found


def first_intact(paths: Iterable[Path], *, set_aside: bool = False) -> tuple[Path, Checkpoint] | None:
    """Read the first of these checkpoints that is intact; None if there is none. See `latest`."""
    for path in paths:
        try:
            return path, read(path)
        except DamagedError as error:
            kept = _set_aside(path) if set_aside else path
            message = f"{error}. Using the checkpoint before it; the damaged one is {kept.name}"
            warnings.warn(message, SeddWarning, stacklevel=3)
    return None


def _set_aside(path: Path) -> Path:
    """Rename a damaged checkpoint; returns its path, the old one where it cannot be renamed."""
    try:
        return path.rename(_unused(path.with_name(f"damaged-{path.name}")))
    except OSError:  # a read-only directory, for example; the checkpoint before it can be used all the same
        return path


def listing(folder: Path) -> list[Path]:
    """The checkpoints under `folder`, oldest first, damaged ones included; none if it does not exist.

    Raises CheckpointError if it cannot be read, so that a run never starts from scratch because of that.
    """
    try:
        names = os.listdir(folder)
    except FileNotFoundError:
        return []
    except OSError as error:
        message = f"the checkpoints cannot be read ({error.strerror}); repair it, or start a new run"
        raise CheckpointError(message, file=folder) from error
    return sorted((folder / name for name in names if CHECKPOINT.fullmatch(name)), key=step_of)


def step_of(path: Path) -> int:
    """The optimizer step of a checkpoint directory."""
    return int(path.name.removeprefix("step-"))


def forget_after(folder: Path, step: int) -> None:
    """Remove the checkpoints of later steps, so that a run that was rolled back does not resume from them."""
    for path in reversed(listing(folder)):
        if step_of(path) > step:
            _discard(path)
    sync_directory(folder)


def prune(folder: Path, *, keep: int, best: str | None) -> None:
    """Remove all but the `keep` newest checkpoints and the one named `best`, and remains of killed processes."""
    for path in listing(folder)[:-keep]:
        if path.name != best:
            _discard(path)
    clean(folder)


def clean(folder: Path) -> None:
    """Remove what killed processes have left; called by the process that trains the run."""
    _finish_replacing(folder)
    for kind in ("tmp", "old", "trash"):
        for path in folder.glob(f".step-*.{kind}"):
            _remove(path)


def _finish_replacing(folder: Path) -> None:
    """Rename back the old checkpoint of a step whose replacement was interrupted."""
    for old in folder.glob(".step-*.old"):
        final = folder / old.name[1:].removesuffix(".old")
        if not os.path.lexists(final):
            old.rename(final)


def _discard(path: Path) -> None:
    """Rename a checkpoint, which is atomic: no reader sees a partly removed one. `clean` removes it."""
    trash = path.with_name(f".{path.name}.trash")
    _remove(trash)
    path.rename(trash)


def _remove(path: Path) -> None:
    """Remove a directory, or what lies in its place, as far as possible."""
    shutil.rmtree(path, ignore_errors=True)
    with contextlib.suppress(OSError):
        path.unlink()


def _unused(path: Path) -> Path:
    """`path`, numbered if it exists already."""
    numbered = (path.with_name(f"{path.stem}-{number}{path.suffix}") for number in itertools.count(2))
    return next(name for name in itertools.chain([path], numbered) if not os.path.lexists(name))


def _joined(files: Mapping[str, bytes]) -> dict[str, dict[str, Tensor]]:
    """The tensors of each group of files, with shards concatenated."""
    parts: dict[str, dict[str, list[Tensor]]] = {}
    for name in sorted(files):  # in the order of the ranks
        group = parts.setdefault(PART.sub("", name.removesuffix(".safetensors")), {})
        for key, tensor in safetensors.torch.load(files[name]).items():
            group.setdefault(key, []).append(tensor)
    return {
        name: {key: shards[0] if len(shards) == 1 else torch.cat(shards) for key, shards in group.items()}
        for name, group in parts.items()
    }


def _plain(group: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Contiguous tensors on the CPU; tied tensors are copied because safetensors does not store shared memory."""
    result: dict[str, Tensor] = {}
    addresses: set[int] = set()
    for name, tensor in group.items():
        plain = tensor.detach().contiguous().cpu()
        result[name] = plain.clone() if plain.data_ptr() in addresses else plain
        addresses.add(plain.data_ptr())
    return result
