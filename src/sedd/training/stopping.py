"""A run that a signal ends is saved first. What the signal has cut short is made up for when the run goes on."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from sedd.distributed.signals import StopRequest, raise_for
from sedd.training.checkpointing import Saved

if TYPE_CHECKING:
    from sedd.training.trainer import Trainer


def save_if_stopped(trainer: Trainer, stop: StopRequest, say: Callable[[str], None]) -> None:
    """Save the run, if a signal has come to any rank and it is not saved yet. Called by all ranks."""
    [number] = trainer.world.all_reduce_max(stop.number or 0)
    if not number:
        return
    stop.number = number
    if Saved.current(trainer) is None:
        trainer.save()
    say(f"Stopped and saved at step {trainer.state.step:,}; continue with --resume --run {trainer.run.path}")
    stop.saved = True


def exit_if_stopped(trainer: Trainer, stop: StopRequest) -> None:
    """End the process, if a signal has come to any rank. Called by all ranks, when everything is closed.

    Raises:
        KeyboardInterrupt, SystemExit: as the signal would have ended it, on all ranks.
    """
    [number] = trainer.world.all_reduce_max(stop.number or 0)
    if number:
        raise_for(number)
