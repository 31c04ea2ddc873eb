"""One optimizer step: inputs in, gradient, update of weights and average, report out."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor, nn

from sedd.config.config import Config
from sedd.data import Cursor
from sedd.diffusion.loss import is_selective, score_entropy_loss
from sedd.diffusion.loss_profile import BINS, LossProfile, bin_of, widths
from sedd.diffusion.process import Process
from sedd.diffusion.schedule import Schedule
from sedd.distributed.group import World
from sedd.distributed.parallel import SingleProcess
from sedd.distributed.signals import Interrupted, interruptible
from sedd.errors import TrainingError
from sedd.plugins.contracts import Backend
from sedd.runs.state import TrainState
from sedd.runs.step_report import StepReport
from sedd.training.collectives import all_reduce_parts
from sedd.training.compiling import with_eager_fallback
from sedd.training.ema import EmaNetwork
from sedd.training.loading import StepInputs


@dataclass
class TrainStep:
    """Updates a network by one optimizer step per call.

    Args:
        config: of the run.
        process: forward process and parametrization.
        network: what is trained.
        ema: its average.
        parallel: how the network is spread over the ranks.
        optimizer: of the network's parameters.
        backend: gives the precision and seeds torch's generators.
        device: where the network is.
        world: the ranks.
        compiled: whether the network is compiled; becomes False if torch fails to compile it.
    """

    config: Config
    process: Process
    network: nn.Module
    ema: EmaNetwork
    parallel: SingleProcess
    optimizer: torch.optim.Optimizer
    backend: Backend
    device: torch.device
    world: World
    compiled: bool

    def __call__(self, inputs: StepInputs, state: TrainState, *, began: float) -> StepReport:
        """Take one step; a step whose loss or gradient is not finite changes nothing but the report.

        Args:
            inputs: of the step.
            state: of the run before the step.
            began: `time.perf_counter()` when the step began, before its inputs were loaded.

        Raises:
            Interrupted: if a signal ends it before the update; nothing has changed then.
        """
        settings = Schedule(self.config).at(state.step)
        lr = state.lr_scale * settings.lr
        for group in self.optimizer.param_groups:
            group["lr"] = lr
        own_parts = self._interruptible_gradient(inputs)
        norm = self.parallel.clip_grad_norm_(self.config.optim.grad_clip)
        # The one place where the host waits for the device: a skipped step holds back every clock.
        *flat, grad_norm = torch.cat([own_parts.flatten(), norm.to(own_parts)[None]]).tolist()
        parts, token_counts = all_reduce_parts(
            self.world,
            [micro_step.micro_batch for micro_step in inputs.micro_steps],
            np.array(flat).reshape(3, -1),
            inputs.token_counts,
            total=len(inputs.mask_rates),
        )
        expected = widths(settings.mask_low, settings.mask_high)
        bins = by_mask_rate(parts, inputs.mask_rates, residues=inputs.residues, expected=expected)
        loss = float(bins.loss.sum()) / inputs.residues
        skipped = not (math.isfinite(loss) and math.isfinite(grad_norm))
        if not skipped:
            self.optimizer.step()
            self.ema.update(self.network)
        self.optimizer.zero_grad(set_to_none=True)
        return StepReport(
            step=state.step + (not skipped),
            loss=loss,
            difficulty=settings.difficulty,
            mask_rate=float(bins.corrupted.sum()) / inputs.residues,
            mask_rate_max=settings.mask_high,
            grad_norm=grad_norm,
            lr=lr,
            residues=inputs.residues,
            residues_per_second=inputs.residues / (time.perf_counter() - began),
            skipped=skipped,
            skipped_total=state.skipped + skipped,
            bins=LossProfile() if skipped else bins,
            token_counts=token_counts,
        )

    def _interruptible_gradient(self, inputs: StepInputs) -> Tensor:
        """`_gradient`, which a signal ends at once, with everything as it was before the step.

        Raises:
            Interrupted: never in a group, where the other ranks would wait in a collective.
        """
        gradient = self._compiled_gradient if self.compiled else self._gradient
        if self.world.size > 1:
            return gradient(inputs)
        try:
            with interruptible():
                return gradient(inputs)
        except Interrupted:
            self.optimizer.zero_grad(set_to_none=True)
            for buffer, before in zip(self.network.buffers(), self.ema.network.buffers(), strict=True):
                buffer.copy_(before)  # such as the running means of a user's network
            raise

    def _gradient(self, inputs: StepInputs) -> Tensor:
        """Accumulate the gradient of the mean loss per residue; returns this rank's `Loss.parts`, (3, sequences)."""
        parts = []
        self.network.train()
        selective = is_selective(self.network)
        for micro_step in inputs.micro_steps:
            micro_batch = micro_step.micro_batch
            self.backend.seed(micro_step.seed)
            with self.parallel.gradient_sync(enabled=micro_batch.last):
                with self.backend.autocast():
                    loss = score_entropy_loss(
                        self.parallel.forward,
                        micro_step.corrupted.to(self.device),
                        process=self.process,
                        selective=selective,
                        keys=micro_step.dropout_keys.to(self.device, non_blocking=True),
                        # On GPUs attention without a mask is faster: worth a second compilation.
                        always_mask=self.compiled and self.device.type == "cpu",
                    )
                scale = (not micro_batch.is_padding) * self.parallel.loss_scale
                scaled = loss.total * scale / inputs.residues
                scaled.backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
            parts.append(loss.parts)
        return torch.cat(parts, 1)

    def _compiled_gradient(self, inputs: StepInputs) -> Tensor:
        """`_gradient` of a compiled network, or without compilation from now on if torch fails to compile it."""

        def eager() -> Tensor:
            self.compiled = False
            self.optimizer.zero_grad(set_to_none=True)
            return self._gradient(inputs)

        return with_eager_fallback(self.network, lambda: self._gradient(inputs), eager=eager)


def by_mask_rate(parts: np.ndarray, mask_rates: np.ndarray, *, residues: int, expected: np.ndarray) -> LossProfile:
    """Sum `Loss.parts` (3, sequences) by the bin of each sequence's mask rate (sequences,)."""
    bins = bin_of(mask_rates)
    loss, drawn, corrupted = (np.bincount(bins, part, minlength=BINS).astype(np.float64) for part in parts)
    return LossProfile(residues, loss, drawn, expected * residues, corrupted)


def advanced(state: TrainState, report: StepReport, next_cursor: Cursor, *, max_skipped: int) -> TrainState:
    """The state after a step. A skipped step moves the data cursor and its counters only.

    Raises:
        TrainingError: if `max_skipped` steps in a row were skipped.
    """
    seconds = report.residues / report.residues_per_second
    state = replace(state, cursor=next_cursor, seconds=state.seconds + seconds)
    if not report.skipped:
        return replace(
            state,
            step=report.step,
            residues=state.residues + report.residues,
            skipped_in_a_row=0,
            profile=state.profile.ema_update(report.bins, report.step),
            window=state.window.add(report),
        )
    state = replace(state, skipped=state.skipped + 1, skipped_in_a_row=state.skipped_in_a_row + 1)
    if state.skipped_in_a_row >= max_skipped:
        raise TrainingError(
            f"{state.skipped_in_a_row} steps in a row had a non-finite loss or gradient (at step {state.step}, "
            f"lr {report.lr:g}); the weights are as they were before. Lower optim.lr, set optim.grad_clip=1, or try "
            "device.precision=float32"
        )
    return state
