"""Whatever ends a run, its last consistent state is saved first, and the log says where."""

from __future__ import annotations

import gc
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import torch

from sedd.devices import is_out_of_memory
from sedd.errors import DiskError, OutOfMemoryError, SeddError, TrainingError
from sedd.runs import checkpoint
from sedd.training.checkpointing import Saved, write_checkpoint
from sedd.training.in_flight import read_all

if TYPE_CHECKING:
    from sedd.training.trainer import Trainer


@contextmanager
def saved_on_failure(trainer: Trainer, say: Callable[[str], None]) -> Iterator[None]:
    """A context that saves a run before it is left by an error or an interruption.

    Args:
        trainer: its last consistent state is saved.
        say: prints a line of text.

    Raises:
        OutOfMemoryError: in place of the errors of torch, NumPy and Python for that.
        DiskError: in place of an `OSError`.
    """
    try:
        yield
    except BaseException as error:
        if is_out_of_memory(error):
            _release_memory(trainer, error)
        was_saved = Saved.current(trainer) is not None
        where = _save(trainer, error)
        if not (was_saved and isinstance(error, KeyboardInterrupt | SystemExit)):  # then it was said already
            error.add_note(where)
            if trainer.world.is_main:
                say(where)
        _raise(error, trainer, where)


@contextmanager
def explained_failure(trainer: Trainer) -> Iterator[None]:
    """A context for what comes before the first step: its errors are explained as by `saved_on_failure`, and nothing is
    saved, since the run directory may be another's.

    Raises:
        OutOfMemoryError: in place of the errors of torch, NumPy and Python for that.
        DiskError: in place of an `OSError`.
    """
    try:
        yield
    except Exception as error:
        _raise(error, trainer, f"No step was begun; {_resume(trainer)}")


def _raise(error: BaseException, trainer: Trainer, where: str) -> NoReturn:
    explained = _explained(error, trainer, where)
    if explained is error:
        raise error
    raise explained from error


def _save(trainer: Trainer, error: BaseException) -> str:
    """Save the last consistent state unless it is saved; returns where it is, in words."""
    run = trainer.run
    try:
        _read_started(trainer, error)
        state = trainer.state
        if trainer.train_step.torn:
            what = f"Step {state.step + 1:,} was interrupted while the weights changed"
            return f"{what}; {_newest(run.checkpoints)}; {_resume(trainer)}"
        if not (Saved.current(trainer) or (state.step == 0 and state.skipped == 0)):
            trainer.train_step.undo()
            # Another rank may be anywhere: only an error that all ranks raise together lets them write together.
            if trainer.world.size == 1 or isinstance(error, TrainingError):
                write_checkpoint(trainer)
            elif trainer.world.is_main and not trainer.parallel.sharded:
                write_checkpoint(trainer, alone=True)
        if saved := Saved.current(trainer):
            return f"Saved at step {state.step:,} in {saved.path}; {_resume(trainer)}"
        return f"Ended at step {state.step:,}; {_newest(run.checkpoints)}"
    except BaseException as failure:  # the first error is the one to report
        reason = f"{type(failure).__name__}: {failure}"
        return (
            f"Step {trainer.state.step:,} could not be saved ({reason}); {_newest(run.checkpoints)}; {_resume(trainer)}"
        )


def _read_started(trainer: Trainer, error: BaseException) -> None:
    """Read the steps that were started, so that they are saved too."""
    if trainer.train_step.torn or not trainer.flights.steps:
        return
    if trainer.world.size > 1 and not isinstance(error, TrainingError):
        trainer.train_step.torn = True  # another rank may be anywhere: it cannot be asked for its results
        return
    trainer.train_step.undo()
    read_all(trainer)


def _newest(folder: Path) -> str:
    try:
        newest = [path.name for path in checkpoint.listing(folder)][-1:]
    except SeddError as error:
        return str(error)
    return f"the newest checkpoint is {newest[0]}" if newest else "there is no checkpoint"


def _resume(trainer: Trainer) -> str:
    return f"continue with --resume --run {trainer.run.path}"


def _release_memory(trainer: Trainer, error: BaseException) -> None:
    """Release what the failed step holds, so that there is memory to save with."""
    traceback.clear_frames(error.__traceback__)
    trainer.train_step.undo()
    gc.collect()
    if trainer.device.type != "cpu":
        torch.get_device_module(trainer.device).empty_cache()


def _explained(error: BaseException, trainer: Trainer, where: str) -> BaseException:
    """The error to raise: one of sedd where it is known what to do."""
    if isinstance(error, SeddError):
        return error
    at = f"step {trainer.state.step + 1:,}" if trainer.state.pending is None else f"step {trainer.state.step:,}"
    if is_out_of_memory(error):
        reason = " ".join(str(error).split()) or type(error).__name__
        return OutOfMemoryError(
            f"out of memory on {trainer.device} in {at} ({reason[:300]}). {_remedy(trainer)}. {where}"
        )
    if isinstance(error, OSError):
        file = None if error.filename is None else Path(str(error.filename))
        reason = error.strerror or str(error) or type(error).__name__
        explained = DiskError(f"{reason}, in {at}. Free space or repair it, then continue. {where}", file=file)
        explained.errno = error.errno
        return explained
    return error


def _remedy(trainer: Trainer) -> str:
    if trainer.state.pending is not None:
        return "It was being evaluated and sampled: lower evaluation.batch_size and sampling.batch_size"
    return "Divide training.batch_size by 4 and multiply training.accum by 4: this does not change the run"
