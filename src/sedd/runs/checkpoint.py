"""Checkpoints: directories of safetensors and JSON, written atomically, verified before they are parsed.

    step-00001234/  model.safetensors  ema.safetensors  optimizer.safetensors  state.json  config.json  manifest.json

With sharded tensors each process writes its shards: `model-00001-of-00002.safetensors`. A tensor that is in several of
these files is their concatenation (`torch.cat`), so any number of processes can read it, and so can a program without
`torch.distributed`. (`torch.distributed.checkpoint` does not hash its files, and reading them needs
`torch.distributed`.)

The manifest lists the size and SHA-256 of every other file. A checkpoint is written under a temporary name, each file
and the directory synced, and renamed: a checkpoint with its final name is complete, and a flipped bit is detected.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import re
import shutil
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path, PurePath
from typing import Any

import safetensors.torch
import torch
from torch import Tensor

from sedd.distributed.group import SINGLE_PROCESS, RankInfo, World
from sedd.errors import CheckpointError, SeddWarning
from sedd.files import json_bytes, read_bounded, sync_directory, write_synced

FORMAT = 1
MOST_MANIFEST = 16 << 20
"""Bytes."""
PART = re.compile(r"-\d{5}-of-\d{5}$")
"""The end of the name, without extension, of a file with the shards of one process."""


@dataclass(frozen=True)
class Checkpoint:
    """The content of a checkpoint: named tensors by file, the state and the configuration as plain data."""

    tensors: Mapping[str, Mapping[str, Tensor]]
    state: Mapping[str, Any]
    config: Mapping[str, Any]


class DamagedError(CheckpointError):
    """A checkpoint whose files differ from what was written."""


def write(
    folder: Path, step: int, checkpoint: Checkpoint, *, world: World = SINGLE_PROCESS, sharded: bool = False
) -> Path:
    """Write a checkpoint for `step` under `folder`, replace an older one of this step, and return its directory.

    All processes of `world` call it. Only the first one writes; with `sharded` each process writes its own tensors.
    """
    final = folder / f"step-{step:08d}"
    temporary = folder / f".{final.name}.tmp"
    if world.is_main:
        folder.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(temporary, ignore_errors=True)
        temporary.mkdir()
    world.barrier()
    files = _write_files(temporary, checkpoint, world.info, sharded=sharded) if world.is_main or sharded else {}
    all_files = world.all_gather_object(files)
    if world.is_main:
        listed = {name: entry for of_process in all_files for name, entry in of_process.items()}
        write_synced(temporary / "manifest.json", json_bytes({"format": FORMAT, "step": step, "files": listed}))
        _publish(temporary, final)
    world.barrier()
    return final


def _write_files(folder: Path, checkpoint: Checkpoint, info: RankInfo, *, sharded: bool) -> dict[str, dict[str, Any]]:
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
    return {name: {"size": len(data), "sha256": hashlib.sha256(data).hexdigest()} for name, data in content.items()}


def _publish(temporary: Path, final: Path) -> None:
    folder = final.parent
    sync_directory(temporary)
    old = folder / f".{final.name}.old"
    if final.exists():
        shutil.rmtree(old, ignore_errors=True)
        final.rename(old)  # if killed between the two renames, `latest` renames it back
    temporary.rename(final)
    sync_directory(folder)
    shutil.rmtree(old, ignore_errors=True)


def read(path: Path) -> Checkpoint:
    """Read and verify one checkpoint. Raises DamagedError if a file is missing, or its size or hash is not that in the
    manifest. Raises CheckpointError if it has the format of a newer version of sedd."""
    try:
        manifest = json.loads(read_bounded(path / "manifest.json", most=MOST_MANIFEST, follow=False))
        listed = dict(manifest["files"])
        version = manifest["format"]
    except (OSError, RecursionError, ValueError, KeyError, TypeError) as error:
        raise DamagedError(f"no readable manifest.json ({error}); the checkpoint is damaged", file=path) from error
    if version != FORMAT:
        raise CheckpointError(f"format {version}, this version of sedd reads {FORMAT}; upgrade sedd", file=path)
    for name in listed:
        if name != PurePath(name).name or "\\" in name:
            raise DamagedError(f"the manifest lists {name!r}, which is no file of it", file=path)
    content = {name: _verified(path / name, entry) for name, entry in listed.items()}
    return Checkpoint(
        tensors=_joined({name: data for name, data in content.items() if name.endswith(".safetensors")}),
        state=json.loads(content["state.json"]),
        config=json.loads(content["config.json"]),
    )


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
    for path in reversed(paths):
        try:
            return path, read(path)
        except DamagedError as error:
            if set_aside:
                path = path.rename(_unused(path.with_name(f"damaged-{path.name}")))
            warnings.warn(
                f"{error}. Using the checkpoint before it; the damaged one is {path.name}", SeddWarning, stacklevel=2
            )
    damaged = sorted(folder.glob("damaged-step-*"))
    if paths or damaged:
        raise CheckpointError(
            f"every checkpoint is damaged ({', '.join(path.name for path in damaged or paths)}); "
            "restore one from a backup, or start a new run",
            file=folder,
        )
    return None


def listing(folder: Path) -> list[Path]:
    """The directories of the checkpoints under `folder`, oldest first."""
    return sorted(path for path in folder.glob("step-*") if path.is_dir())


def step_of(path: Path) -> int:
    """The optimizer step of a checkpoint directory."""
    return int(path.name.removeprefix("step-"))


def forget_after(folder: Path, step: int) -> None:
    """Remove the checkpoints of later steps, so that a run that was rolled back does not resume from them."""
    for path in reversed(listing(folder)):
        if step_of(path) > step:
            path.rename(path.with_name(f".{path.name}.trash"))
    sync_directory(folder)


def prune(folder: Path, *, keep: int, best: str | None) -> None:
    """Remove all but the `keep` newest checkpoints and the one named `best`, and remains of killed processes."""
    for path in listing(folder)[:-keep]:
        if path.name != best:
            path.rename(path.with_name(f".{path.name}.trash"))  # atomic: no reader sees a partly removed checkpoint
    for kind in ("tmp", "old", "trash"):
        for path in folder.glob(f".step-*.{kind}"):
            shutil.rmtree(path, ignore_errors=True)


def _finish_replacing(folder: Path) -> None:
    """Rename back the old checkpoint of a step whose replacement was interrupted by a kill."""
    for old in folder.glob(".step-*.old"):
        final = folder / old.name[1:].removesuffix(".old")
        if not final.exists():
            old.rename(final)


def _unused(path: Path) -> Path:
    """`path`, numbered if it exists already."""
    numbered = (path.with_name(f"{path.stem}-{number}{path.suffix}") for number in itertools.count(2))
    return next(name for name in itertools.chain([path], numbered) if not name.exists())


def _verified(path: Path, entry: Mapping[str, Any]) -> bytes:
    """The bytes of a file that agrees with its entry in the manifest."""
    try:
        data = read_bounded(path, most=int(entry["size"]), follow=False)
    except FileNotFoundError as error:
        raise DamagedError("missing; the checkpoint is damaged", file=path) from error
    except (OSError, KeyError, TypeError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise DamagedError(f"cannot be read ({reason}); the checkpoint is damaged", file=path) from error
    if len(data) != entry["size"]:
        raise DamagedError(f"{len(data)} bytes instead of {entry['size']}; the checkpoint is damaged", file=path)
    if hashlib.sha256(data).hexdigest() != entry["sha256"]:
        raise DamagedError("the SHA-256 differs from the one in manifest.json; the checkpoint is damaged", file=path)
    return data


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
