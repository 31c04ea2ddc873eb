"""What a checkpoint of a training run holds: written from a trainer, and loaded into one."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from sedd.distributed.group import SINGLE_PROCESS, World
from sedd.errors import CheckpointError
from sedd.runs import checkpoint, lineage
from sedd.runs.directory import RunDirectory
from sedd.runs.plugin_record import plugins_of
from sedd.runs.state import TrainState
from sedd.runs.step_report import StepReport
from sedd.training.belonging import problem_with, without_moments
from sedd.training.numerics import Numerics, say_what_changed
from sedd.training.optimizer_state import plain_state, restore_plain_state
from sedd.training.setup import make_batches

if TYPE_CHECKING:
    from sedd.training.trainer import Trainer


@dataclass(frozen=True)
class Saved:
    """A state of a run that is in a checkpoint."""

    state: TrainState
    path: Path
    run: str | None
    """The identity of its run."""

    @staticmethod
    def current(trainer: Trainer) -> Saved | None:
        """The checkpoint of the current state; None if the state is not saved."""
        saved = trainer.saved
        return saved if saved is not None and saved.state is trainer.state else None


def write_checkpoint(trainer: Trainer, *, alone: bool = False) -> Path:
    """Write a checkpoint of the current step and prune old ones; returns its directory.

    Called by all ranks, or with `alone` by the first one, if it has all weights.
    """
    parallel, state, run = trainer.parallel, trainer.state, trainer.run
    world = SINGLE_PROCESS if alone else trainer.world
    groups = {
        "model": trainer.network.state_dict(),
        "ema": trainer.ema.network.state_dict(),
        "optimizer": parallel.optimizer_state(trainer.optimizer),
    }
    own = trainer.config.optim.own is not None
    content = checkpoint.Checkpoint(
        tensors={name: parallel.tensors_to_save(group) for name, group in groups.items()},
        state={
            "train": state.to_dict(),
            "ema_updates": trainer.ema.updates,
            "alphabet": trainer.data.alphabet.to_dict(),
            "lengths": trainer.lengths.to_dict(),
            "token_counts": np.asarray(trainer.data.token_counts).tolist(),
            "data": trainer.data.fingerprint,
            "plugins": plugins_of(trainer.config),
            "numerics": Numerics.of(trainer).to_dict(),
            "without_moments": without_moments(trainer),
            lineage.KEY: [ancestor.to_dict() for ancestor in trainer.lineage],
            **({"optimizer": plain_state(trainer.optimizer, trainer.network)} if own else {}),
        },
        config=trainer.config.to_dict(),
        run=run.identity(),
    )
    path = checkpoint.write(run.checkpoints, state.step, content, world=world, sharded=parallel.sharded)
    best = None if state.best_step is None else f"step-{state.best_step:08d}"
    if world.is_main:
        checkpoint.prune(run.checkpoints, keep=trainer.config.checkpoint.keep, best=best)
    trainer.beginning, trainer.saved = None, Saved(state, path, content.run)
    return path


def saves_at(trainer: Trainer, report: StepReport, until: int | None) -> bool:
    """Whether a checkpoint is due after a step: at the last one, every `checkpoint.every`, and at the best bound."""
    last = report.step in (trainer.config.training.n_iters, until)
    return last or report.step % trainer.config.checkpoint.every == 0 or trainer.state.best_step == report.step


def begin_options(trainer: Trainer) -> dict[str, str]:
    """The options of `RunDirectory.begin`: numerics, and the identity that the run directory may have lost."""
    numerics = Numerics.of(trainer)
    compiled = "yes" if numerics.compiled else "no"
    options = {"precision": numerics.precision, "compiled": compiled, "layout": numerics.layout}
    if trainer.lineage:
        options["fine-tuned from"] = str(trainer.lineage[0])
    identity = trainer.saved.run if trainer.saved else None
    return options if identity is None else options | {"identity": identity}


def begin_run(trainer: Trainer) -> None:
    """Make the run directory for a checkpoint outside `fit`. Raises CheckpointError if it is another run's."""
    run = trainer.run
    if trainer.world.is_main:
        resume = trainer.resume or not run.checkpoints.exists()
        with run.lock():
            run.begin(trainer.config, resume=resume, step=None, **begin_options(trainer))


def restore_newest(trainer: Trainer) -> bool:
    """Load the newest intact checkpoint; returns False if there is none. See `Trainer.restore`."""
    trainer.run.check(trainer.config, resume=True)
    found = newest_checkpoint(trainer.run, trainer.world)
    if not trainer.world.broadcast_object(lambda: found is not None):
        return False
    if found:
        say_what_changed(Numerics.of_state(found[1].state), Numerics.of(trainer))
    load_checkpoint(trainer, found)
    return True


def newest_checkpoint(run: RunDirectory, world: World) -> tuple[Path, checkpoint.Checkpoint] | None:
    """The newest intact checkpoint of a run that another process may be training; None if there is none, or on another
    rank than the first.

    Raises:
        CheckpointError: if the run is being trained, or every checkpoint is damaged.
    """
    if not world.is_main or not os.path.lexists(run.checkpoints):
        return None
    with run.lock():  # looking for an intact checkpoint may move damaged ones aside
        return run.latest()


def load_checkpoint(trainer: Trainer, found: tuple[Path, checkpoint.Checkpoint] | None) -> None:
    """Restore weights, average, optimizer and state. Called by all ranks; only the first one needs the checkpoint.

    Raises:
        CheckpointError: if it is of another run, configuration or data, or its tensors are not those of the network.
    """
    path, saved = checkpoint.known_to_all(found, trainer.world)
    problem = trainer.world.broadcast_object(lambda: problem_with(trainer, path, saved))
    if problem:
        raise CheckpointError(problem, file=path)
    trainer.train_step.torn = True
    trainer.parallel.load_state_dict(trainer.network, saved.tensors["model"])
    trainer.parallel.load_state_dict(trainer.ema.network, saved.tensors["ema"])
    trainer.ema.updates = int(saved.state["ema_updates"])
    trainer.parallel.load_optimizer_state(trainer.optimizer, saved.tensors["optimizer"])
    if trainer.config.optim.own is not None:
        restore_plain_state(trainer.optimizer, trainer.network, saved.state["optimizer"])
    trainer.state = _repositioned(trainer, saved)
    trainer.flights.steps.clear()
    trainer.lineage = lineage.lineage_of(saved.state)
    trainer.beginning, trainer.saved = None, Saved(trainer.state, path, saved.run)
    trainer.train_step.torn = False


def _repositioned(trainer: Trainer, saved: checkpoint.Checkpoint) -> TrainState:
    """The state in a checkpoint; where the size of the batches was changed on purpose since, at the position from which
    no sample is used twice."""
    state = TrainState.from_dict(saved.state["train"])
    before, now = (config["training"] for config in (saved.config, trainer.config.to_dict()))
    if all(before[key] == now[key] for key in ("batch_size", "accum", "batch_residues")):
        return state
    plan = make_batches(trainer.config.replace(training={key: before[key] for key in before if key in now}),
                        trainer.data.train, trainer.layout)  # fmt: skip
    return replace(state, cursor=trainer.batches.after(state.cursor, plan))
