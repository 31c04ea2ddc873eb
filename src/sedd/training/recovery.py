"""When a run diverges (`monitoring.on_divergence`): warn, stop, or roll back to the last good checkpoint."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from sedd.diagnosis.alarms import Alarm
from sedd.errors import TrainingError
from sedd.runs import checkpoint
from sedd.runs.metrics import RollbackRecord
from sedd.training.checkpointing import load_checkpoint

if TYPE_CHECKING:
    from sedd.training.trainer import Trainer


def recover(trainer: Trainer, alarm: Alarm) -> RollbackRecord | None:
    """React to an alarm; returns the record of the rollback if the run was rolled back.

    All ranks decide alike: alarms follow from the metrics, which are those of the complete step.

    Raises:
        TrainingError: if the run is to be stopped, was rolled back `monitoring.max_rollbacks` times already, or has no
            checkpoint to go back to.
    """
    rules, state = trainer.config.monitoring, trainer.state
    if not alarm.diverging or rules.on_divergence == "warn":
        return None
    if alarm.cause == "overfitting":  # going back does not help: the same data would be memorised again
        trainer.save()
        raise TrainingError(
            f"stopped because the run overfits (monitoring.on_divergence); its best checkpoint, of step "
            f"{state.best_step or 0:,}, is kept: {alarm}"
        )
    if rules.on_divergence == "rollback" and state.rollbacks < rules.max_rollbacks:
        return _roll_back(trainer, alarm)
    trainer.save()
    tried = f" after {state.rollbacks} rollbacks" if state.rollbacks else ""
    raise TrainingError(f"stopped{tried} because the run diverges (monitoring.on_divergence): {alarm}")


def _roll_back(trainer: Trainer, alarm: Alarm) -> RollbackRecord:
    """Load the last intact checkpoint from before the divergence and lower the learning rate."""
    before, world, run = trainer.state, trainer.world, trainer.run
    since = alarm.numbers.get("since", 0.0)
    found = _newest_before(run.checkpoints, since, best_step=before.best_step) if world.is_main else None
    if not world.broadcast_object(lambda: found is not None):
        raise TrainingError(
            f"the run diverges and has no intact checkpoint from before step {since:,.0f} to go back to; set "
            f"checkpoint.every lower or checkpoint.keep higher: {alarm}"
        )
    load_checkpoint(trainer, found)
    state = trainer.state = replace(
        trainer.state,
        lr_scale=before.lr_scale * trainer.config.monitoring.rollback_lr,
        rollbacks=before.rollbacks + 1,
    )
    if world.is_main:
        checkpoint.forget_after(run.checkpoints, state.step)
    trainer.save()
    if world.is_main:
        run.rewind(state.step, state.skipped, aside=f"rolled-back-{state.rollbacks}.jsonl")
    return RollbackRecord(state.step, alarm.step, state.lr_scale, state.rollbacks, alarm.to_dict())


def _newest_before(folder: Path, step: float, *, best_step: int | None) -> tuple[Path, checkpoint.Checkpoint] | None:
    """The newest intact checkpoint up to a step, else the one with the best bound; damaged ones are renamed."""
    paths = checkpoint.listing(folder)
    good = [path for path in reversed(paths) if checkpoint.step_of(path) <= step]
    best = [path for path in paths if path not in good and checkpoint.step_of(path) == best_step]
    return checkpoint.first_intact(good + best, set_aside=True)
