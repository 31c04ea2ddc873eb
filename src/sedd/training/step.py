"""One optimizer step: inputs in, gradient, update of weights and average, report out."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from torch import Tensor, nn

from sedd.config.config import Config
from sedd.data import Cursor
from sedd.devices import seed_generators
from sedd.diffusion.loss import is_selective, score_entropy_loss
from sedd.diffusion.loss_profile import BINS, LossProfile, bin_of, widths
from sedd.diffusion.process import Process
from sedd.diffusion.schedule import Schedule, StepSettings
from sedd.distributed.group import World
from sedd.distributed.parallel import SingleProcess
from sedd.errors import TrainingError
from sedd.plugins.checked import broken
from sedd.plugins.contracts import Backend
from sedd.runs.state import TrainState
from sedd.runs.step_report import StepReport
from sedd.training.collectives import all_reduce_parts
from sedd.training.compiling import with_eager_fallback
from sedd.training.ema import EmaNetwork
from sedd.training.loading import StepInputs
from sedd.training.optimizer import LR_FACTOR
from sedd.training.own_parts import PEAK, OwnParts


@dataclass(frozen=True)
class Gradient:
    """The gradient of one optimizer step, which lies in the parameters, and what is known about it."""

    settings: StepSettings
    lr: float
    """Learning rate, after rollbacks."""
    loss: float
    """Nats per residue."""
    norm: float
    """Before clipping."""
    bins: LossProfile
    token_counts: tuple[int, ...]

    @property
    def finite(self) -> bool:
        """Whether loss and gradient are; otherwise the step is skipped."""
        return math.isfinite(self.loss) and math.isfinite(self.norm)


@dataclass
class TrainStep:
    """Updates a network by one optimizer step: `gradient`, then `update`.

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
        own: the optimizer and the schedule that a user gave.
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
    own: OwnParts = field(default_factory=OwnParts)
    torn: bool = field(default=False, init=False)
    """Whether weights, moments and average may be of different steps; set while they change."""
    _begun: bool = field(default=False, init=False)
    """Whether a gradient was begun that has neither been used nor dropped."""
    _buffers: list[Tensor] = field(default_factory=list, init=False)
    _buffers_before: list[Tensor] = field(default_factory=list, init=False)
    """Copies of the buffers before the step: the forward pass of a user's network may change them."""

    def __post_init__(self) -> None:
        self._buffers = list(self.network.buffers())
        self._buffers_before = [buffer.clone() for buffer in self._buffers]

    def gradient(self, inputs: StepInputs, state: TrainState) -> Gradient:
        """Compute the gradient of a step; weights, moments and average stay as they are.

        Args:
            inputs: of the step.
            state: of the run before the step.
        """
        self.undo()
        self._begun = True
        if self._buffers:
            torch._foreach_copy_(self._buffers_before, self._buffers)
        settings = Schedule(self.config).at(state.step)
        if settings.difficulty != inputs.difficulty:
            given = f"difficulty({state.step}) returned {inputs.difficulty!r} and then {settings.difficulty!r}"
            raise broken(self.config.curriculum, "curriculum", f"{given}, expected the same number at each call")
        own_lr = self.own.learning_rate(self.config, state.step)
        lr = state.lr_scale * (settings.lr if own_lr is None else own_lr)
        peak = self.config.optim.lr
        for group in self.optimizer.param_groups:
            group["lr"] = lr * (group.get(PEAK, peak) / peak) * group.get(LR_FACTOR, 1.0)
        own_parts = self._compiled_gradient(inputs) if self.compiled else self._gradient(inputs)
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
        return Gradient(settings, lr, loss, grad_norm, bins, token_counts)

    def update(self, gradient: Gradient, inputs: StepInputs, state: TrainState, *, began: float) -> StepReport:
        """Update weights, moments and average; a step whose loss or gradient is not finite changes none of them.

        `torn` is set from then on; the caller resets it once the step is part of the run's state.

        Args:
            gradient: of this step.
            inputs: of the step.
            state: of the run before the step.
            began: `time.perf_counter()` when the step began, before its inputs were loaded.
        """
        skipped = not gradient.finite
        if skipped:
            self.undo()
        else:
            self.torn = True
            self.optimizer.step()
            self.ema.update(self.network)
            self.optimizer.zero_grad(set_to_none=True)
            self._begun = False
        return StepReport(
            step=state.step + (not skipped),
            loss=gradient.loss,
            difficulty=gradient.settings.difficulty,
            mask_rate=float(gradient.bins.corrupted.sum()) / inputs.residues,
            mask_rate_max=gradient.settings.mask_high,
            grad_norm=gradient.norm,
            lr=gradient.lr,
            residues=inputs.residues,
            residues_per_second=inputs.residues / (time.perf_counter() - began),
            skipped=skipped,
            skipped_total=state.skipped + skipped,
            bins=LossProfile() if skipped else gradient.bins,
            token_counts=gradient.token_counts,
        )

    def undo(self) -> None:
        """Drop a gradient that was begun, and what its forward passes did to buffers."""
        if not self._begun:
            return
        self.optimizer.zero_grad(set_to_none=True)
        if self._buffers:
            torch._foreach_copy_(self._buffers, self._buffers_before)
        self._begun = False

    def _gradient(self, inputs: StepInputs) -> Tensor:
        """Accumulate the gradient of the mean loss per residue; returns this rank's `Loss.parts`, (3, sequences)."""
        parts = []
        self.network.train()
        selective = is_selective(self.network)
        for micro_step in inputs.micro_steps:
            micro_batch = micro_step.micro_batch
            seed_generators(self.backend, micro_step.seed)
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
    """The state after a step, whose report is pending until it is recorded.

    A skipped step moves the data cursor and its counters only.

    Raises:
        TrainingError: if `max_skipped` steps in a row were skipped.
    """
    seconds = report.residues / report.residues_per_second
    state = replace(state, cursor=next_cursor, seconds=state.seconds + seconds, pending=report)
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
