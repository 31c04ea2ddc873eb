"""A step is begun, done or undone: what an interruption has left half done is undone before anything else happens.

An interruption (an error, Ctrl-C) may come at any point of a step. Before the update, the weights are as they were, and
the gradient is dropped. During the update, weights, moments and average may belong to different steps, and the run goes
back to its newest checkpoint, or without one to its beginning. After the update, the step is done, but perhaps not
read, evaluated and recorded; `Trainer.flights` keeps its results, and `TrainState.pending` its report for that.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from torch import Tensor, nn

from sedd.errors import CheckpointError
from sedd.runs.state import TrainState
from sedd.training.checkpointing import load_checkpoint
from sedd.training.in_flight import read_all
from sedd.training.optimizer_state import OptimizerSnapshot
from sedd.training.setup import make_network

if TYPE_CHECKING:
    from sedd.training.trainer import Trainer

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Beginning:
    """The state of a run before its first step, for as long as it has no checkpoint."""

    weights: Mapping[str, Tensor] | None
    """Of a user's network, on the CPU; None for the built-in network, whose weights follow from the seed."""
    optimizer: OptimizerSnapshot | None = None
    """Of a user's optimizer; None for those of sedd, which have no state at the beginning."""

    @staticmethod
    def of(network: nn.Module, *, reproducible: bool) -> Beginning:
        """The beginning of a run, whose weights are copied unless they are `reproducible`."""
        if reproducible:
            return Beginning(None)
        return Beginning({name: tensor.detach().cpu().clone() for name, tensor in network.state_dict().items()})

    def restore(self, trainer: Trainer) -> None:
        """Set a trainer back to the beginning. Called by all ranks."""
        weights = self.weights
        if weights is None:
            weights = make_network(trainer.config, trainer.process, None, trainer.backend, trainer.device).state_dict()
        trainer.train_step.torn = True
        trainer.parallel.load_state_dict(trainer.network, weights)
        trainer.parallel.load_state_dict(trainer.ema.network, weights)
        trainer.ema.updates = 0
        if self.optimizer is None:
            trainer.optimizer.state.clear()
        else:
            self.optimizer.restore(trainer.optimizer, trainer.network)
        trainer.state = TrainState()
        trainer.flights.steps.clear()
        trainer.train_step.torn = False


def settle(trainer: Trainer) -> None:
    """Undo what an interrupted step has left. Called by all ranks.

    Raises:
        CheckpointError: if the run has to go back to a checkpoint, and none is intact any more.
    """
    trainer.train_step.undo()
    started = len(trainer.flights.steps)
    torn, most, least = trainer.world.all_reduce_max(int(trainer.train_step.torn), started, -started)
    if not torn and most == -least:
        read_all(trainer)
        if not trainer.train_step.torn:
            return
    if trainer.beginning is not None:
        trainer.beginning.restore(trainer)
    else:
        found = trainer.run.latest() if trainer.world.is_main else None
        if not trainer.world.broadcast_object(lambda: found is not None):
            message = "a step was interrupted while the weights changed, and there is no checkpoint to go back to"
            raise CheckpointError(f"{message}; start a new run", file=trainer.run.checkpoints)
        load_checkpoint(trainer, found)
    if trainer.world.is_main:
        logger.warning("A step was interrupted while the weights changed; back at step %s", f"{trainer.state.step:,}")
