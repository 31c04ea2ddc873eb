"""The checkpoint that a path means: a run, one checkpoint in it, an exported model, or an adapter and its base."""

from __future__ import annotations

import warnings
from pathlib import Path

from sedd.errors import CheckpointError, SeddWarning
from sedd.runs import checkpoint, exported, lora
from sedd.runs.hub import local
from sedd.runs.lineage import lineage_of


def find(path: Path, which: str) -> tuple[Path, checkpoint.Checkpoint]:
    """The directory and content of a checkpoint; of a run, the `best` or the `latest` one.

    Raises:
        CheckpointError: if there is none, or it is damaged.
    """
    if (path / "manifest.json").exists():
        return path, checkpoint.read(path)
    if exported.is_exported(path):
        return path, exported.read(path)
    if lora.is_adapter(path):
        return path, _with_base(path)
    latest = checkpoint.latest(path / "checkpoints")
    if latest is None:
        raise CheckpointError(
            f"{path} is neither a run with checkpoints, nor a checkpoint, nor an exported model; give one of these"
        )
    best = latest[1].state["train"]["best_step"]
    if which == "best" and best is not None:
        chosen = path / "checkpoints" / f"step-{best:08d}"
        try:
            return chosen, checkpoint.read(chosen)
        except CheckpointError as error:
            warnings.warn(f"{error}; using {latest[0].name} instead of the best", SeddWarning, stacklevel=4)
    return latest


def _with_base(folder: Path) -> checkpoint.Checkpoint:
    """An adapter on the model that it names, from the current directory or from its own."""
    named = str(lora.read_about(folder, lora.CONFIG).get("base_model_name_or_path"))
    base = local(named)
    if not base.exists():
        base = folder / named
    if not base.exists():
        raise CheckpointError(
            f"its base {named} is not there; name it in base_model_name_or_path of {lora.CONFIG}", file=folder
        )
    ancestors = lineage_of(lora.read_about(folder)["state"])
    return lora.read_adapter(folder, find(base, "best")[1], ancestors[0].weights)
