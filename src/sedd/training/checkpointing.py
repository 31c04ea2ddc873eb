"""What a checkpoint of a training run holds: written from a trainer, and loaded into one."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from sedd.errors import CheckpointError
from sedd.runs import checkpoint
from sedd.runs.state import TrainState

if TYPE_CHECKING:
    from sedd.training.trainer import Trainer


def write_checkpoint(trainer: Trainer) -> Path:
    """Write a checkpoint of the current step and prune old ones; returns its directory. Called by all ranks."""
    parallel, state, run = trainer.parallel, trainer.state, trainer.run
    groups = {
        "model": trainer.network.state_dict(),
        "ema": trainer.ema.network.state_dict(),
        "optimizer": parallel.optimizer_state(trainer.optimizer),
    }
    content = checkpoint.Checkpoint(
        tensors={name: parallel.tensors_to_save(group) for name, group in groups.items()},
        state={
            "train": state.to_dict(),
            "ema_updates": trainer.ema.updates,
            "alphabet": trainer.data.alphabet.to_dict(),
            "lengths": trainer.lengths.to_dict(),
            "token_counts": np.asarray(trainer.data.token_counts).tolist(),
            "data": trainer.data.fingerprint,
        },
        config=trainer.config.to_dict(),
    )
    path = checkpoint.write(run.checkpoints, state.step, content, world=trainer.world, sharded=parallel.sharded)
    best = None if state.best_step is None else f"step-{state.best_step:08d}"
    if trainer.world.is_main:
        checkpoint.prune(run.checkpoints, keep=trainer.config.checkpoint.keep, best=best)
    return path


def load_checkpoint(trainer: Trainer, found: tuple[Path, checkpoint.Checkpoint] | None) -> None:
    """Restore weights, average, optimizer and state. Called by all ranks; only the first one needs the checkpoint.

    Raises:
        CheckpointError: if it was trained on other data, or its weights do not fit the network.
    """
    path, saved = checkpoint.known_to_all(found, trainer.world)
    if saved.state["data"] != trainer.data.fingerprint:
        raise CheckpointError(
            f"{path} was trained on other data: {saved.state['data']['train']['sequences']:,} sequences, and now "
            f"{len(trainer.data.train):,}; resume with the same data, or start a new run"
        )
    try:
        trainer.parallel.load_state_dict(trainer.network, saved.tensors["model"])
        trainer.parallel.load_state_dict(trainer.ema.network, saved.tensors["ema"])
    except RuntimeError as error:
        raise CheckpointError(f"{path}: the weights do not fit {type(trainer.network).__name__}: {error}") from None
    trainer.ema.updates = int(saved.state["ema_updates"])
    trainer.parallel.load_optimizer_state(trainer.optimizer, saved.tensors["optimizer"])
    trainer.state = TrainState.from_dict(saved.state["train"])
