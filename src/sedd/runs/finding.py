"""The checkpoint that a path means: a run, one checkpoint in it, or an exported model."""

from __future__ import annotations

import warnings
from pathlib import Path

from sedd.errors import CheckpointError, SeddWarning
from sedd.runs import checkpoint, exported


def find(path: Path, which: str) -> tuple[Path, checkpoint.Checkpoint]:
    """The directory and content of a checkpoint; of a run, the `best` or the `latest` one.

    Raises:
        CheckpointError: if there is none, or it is damaged.
    """
    if (path / "manifest.json").exists():
        return path, checkpoint.read(path)
    if exported.is_exported(path):
        return path, exported.read(path)
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
