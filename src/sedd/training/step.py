"""One optimizer step: inputs in, gradient, update of weights and average, report out."""

from __future__ import annotations

from dataclasses import InitVar, dataclass, field, replace
from functools import cached_property

import numpy as np
import torch
from torch import Tensor, nn

from sedd.config.config import Config
from sedd.data import Cursor
from sedd.devices import seed_generators
from sedd.diffusion.loss import CorruptedBatch, is_selective, score_entropy_loss
from sedd.diffusion.loss_profile import BINS, LossProfile, bin_of, widths
from sedd.diffusion.process import Process
from sedd.diffusion.schedule import Schedule, StepSettings
from sedd.distributed.group import World
from sedd.distributed.parallel import SingleProcess
from sedd.errors import TrainingError
from sedd.plugins.checked import broken
from sedd.plugins.contracts import Backend
from sedd.plugins.recorders import Recorder
from sedd.runs.state import TrainState
from sedd.runs.step_report import StepReport
from sedd.training.collectives import all_reduce_parts
from sedd.training.compiling import with_eager_fallback
from sedd.training.ema import EmaNetwork
from sedd.training.host_copy import HostCopy
from sedd.training.loading import StepInputs
from sedd.training.optimizer import LR_FACTOR
from sedd.training.own_parts import PEAK, OwnParts
from sedd.training.recorded_passes import RecordedPasses


@dataclass(frozen=True, eq=False)
class Gradient:
    """The gradient of one optimizer step, which lies in the parameters, and numbers that may be on their way."""

    settings: StepSettings
    lr: float
    """Learning rate, after rollbacks."""
    skip: Tensor
    """Scalar float32 on the device: 0 if the losses and the gradient are finite on all ranks, and above 0 where the
    step is to be skipped."""
    numbers: HostCopy
    """`Loss.parts` of this rank's sequences, then the norm of the gradient before clipping, and `skip`."""

    @cached_property
    def read(self) -> tuple[np.ndarray, float, bool]:
        """`Loss.parts` (3, sequences of this rank), the norm, and whether the step is skipped; waits for the device."""
        *parts, norm, skip = self.numbers.tolist()
        return np.array(parts).reshape(3, -1), norm, skip > 0.0


@dataclass
class TrainStep:
    """Updates a network by one optimizer step: `gradient`, `update`, `report`.

    The host need not wait for the device before `report`, which may follow the `update` of the next step.

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
        skips_on_device: whether the device decides if a step is skipped, as fused AdamW can; else the host reads it.
        recorder: records the forward and backward passes; None: their kernels are started one by one.
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
    skips_on_device: bool = False
    recorder: InitVar[Recorder | None] = None
    recorded: RecordedPasses | None = field(default=None, init=False)
    torn: bool = field(default=False, init=False)
    """Whether weights, moments and average may be of different steps; set while they change."""
    _begun: bool = field(default=False, init=False)
    """Whether a gradient was begun that has neither been used nor dropped."""
    _buffers: list[Tensor] = field(default_factory=list, init=False)
    _buffers_before: list[Tensor] = field(default_factory=list, init=False)
    """Copies of the buffers before the step: the forward pass of a user's network may change them."""

    def __post_init__(self, recorder: Recorder | None) -> None:
        if recorder is not None:
            self.recorded = RecordedPasses(recorder, self.network, self.device, self._pass)
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
        parts = self._compiled_gradient(inputs) if self.compiled else self._gradient(inputs)
        norm = self.parallel.clip_grad_norm_(self.config.optim.grad_clip).to(parts)
        skip = 1.0 - torch.isfinite(parts[0].sum() + norm).float()
        self.world.all_reduce_sum_(skip)
        return Gradient(settings, lr, skip, HostCopy(torch.cat([parts.flatten(), norm[None], skip[None].to(parts)])))

    def update(self, gradient: Gradient) -> None:
        """Update weights, moments and average; a step whose loss or gradient is not finite changes none of them.

        `torn` is set while they change, and left set: the caller resets it once the step is part of the run's state.
        """
        if not self.skips_on_device and gradient.read[2]:
            self.ema.updates += 1
            self.undo()
            return
        self.torn = True
        skip = gradient.skip if self.skips_on_device else None
        if skip is not None:
            # How torch's gradient scaler tells its fused optimizers that a step is not to be done.
            vars(self.optimizer).update(grad_scale=None, found_inf=skip.clamp(max=1.0))
            for buffer, before in zip(self._buffers, self._buffers_before, strict=True):
                buffer.copy_(torch.where(skip > 0.0, before, buffer))
        self.optimizer.step()
        self.ema.update(self.network, skip=skip)
        self.optimizer.zero_grad(set_to_none=True)
        self._begun = False

    def report(self, gradient: Gradient, inputs: StepInputs, state: TrainState, *, seconds: float) -> StepReport:
        """The report of a step; waits for its numbers.

        Args:
            gradient: of this step.
            inputs: of the step.
            state: of the run before the step.
            seconds: that the step took, with the loading of its inputs.
        """
        own_parts, norm, skipped = gradient.read
        parts, token_counts = all_reduce_parts(
            self.world,
            [micro_step.micro_batch for micro_step in inputs.micro_steps],
            own_parts,
            inputs.token_counts,
            total=len(inputs.mask_rates),
        )
        settings = gradient.settings
        expected = widths(settings.mask_low, settings.mask_high)
        bins = by_mask_rate(parts, inputs.mask_rates, residues=inputs.residues, expected=expected)
        return StepReport(
            step=state.step + 1,
            loss=float(bins.loss.sum()) / inputs.residues,
            difficulty=settings.difficulty,
            mask_rate=float(bins.corrupted.sum()) / inputs.residues,
            mask_rate_max=settings.mask_high,
            grad_norm=norm,
            lr=gradient.lr,
            residues=inputs.residues,
            residues_per_second=inputs.residues / seconds,
            skipped=skipped,
            skipped_total=state.skipped + skipped,
            bins=LossProfile() if skipped else bins,
            token_counts=token_counts,
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
        if self.recorded is not None:
            self.recorded.begin()
        for micro_step in inputs.micro_steps:
            micro_batch = micro_step.micro_batch
            seed_generators(self.backend, micro_step.seed)
            scale = (not micro_batch.is_padding) * self.parallel.loss_scale
            with self.parallel.gradient_sync(enabled=micro_batch.last):
                if self.recorded is not None:
                    found = self.recorded(micro_step, scale, inputs.residues)
                else:
                    keys = micro_step.dropout_keys.to(self.device, non_blocking=True)
                    found = self._pass(micro_step.corrupted.to(self.device), keys, scale, inputs.residues)
            parts.append(found[:, : len(micro_batch.batch)])  # packed rows have room for more sequences
        return torch.cat(parts, 1)

    def _pass(self, corrupted: CorruptedBatch, keys: Tensor, scale: Tensor | float, residues: Tensor | int) -> Tensor:
        """Add the gradient of the loss of a micro-batch, times `scale` over `residues`; returns its `Loss.parts`."""
        with self.backend.autocast():
            loss = score_entropy_loss(
                self.parallel.forward,
                corrupted,
                process=self.process,
                selective=is_selective(self.network),
                keys=keys,
                # On GPUs attention without a mask is faster: worth a second compilation.
                always_mask=self.compiled and self.device.type == "cpu",
            )
        scaled = loss.total * scale / residues
        scaled.backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
        return loss.parts

    def _compiled_gradient(self, inputs: StepInputs) -> Tensor:
        """`_gradient` of a compiled network, or without compilation from now on if torch fails to compile it."""

        def eager() -> Tensor:
            self.compiled = False
            self.optimizer.zero_grad(set_to_none=True)
            return self._gradient(inputs)

        return with_eager_fallback(self.network, lambda: self._gradient(inputs), eager=eager)


def skips_on_device(optimizer: torch.optim.Optimizer, device: torch.device) -> bool:
    """Whether the device decides if a step is skipped: on accelerators, with torch's fused optimizers."""
    return device.type != "cpu" and bool(getattr(optimizer, "_step_supports_amp_scaling", False))


def by_mask_rate(parts: np.ndarray, mask_rates: np.ndarray, *, residues: int, expected: np.ndarray) -> LossProfile:
    """Sum `Loss.parts` (3, sequences) by the bin of each sequence's mask rate (sequences,)."""
    bins = bin_of(mask_rates)
    loss, drawn, corrupted = (np.bincount(bins, part, minlength=BINS).astype(np.float64) for part in parts)
    return LossProfile(residues, loss, drawn, expected * residues, corrupted)


def advanced(state: TrainState, report: StepReport, next_cursor: Cursor) -> TrainState:
    """The state after a step, whose report is pending until it is recorded.

    A skipped step is a step on every clock; only its residues and its loss do not count.
    """
    seconds = report.residues / report.residues_per_second
    state = replace(state, step=report.step, cursor=next_cursor, seconds=state.seconds + seconds, pending=report)
    if report.skipped:
        return replace(state, skipped=state.skipped + 1, skipped_in_a_row=state.skipped_in_a_row + 1)
    return replace(
        state,
        residues=state.residues + report.residues,
        skipped_in_a_row=0,
        profile=state.profile.ema_update(report.bins, report.step),
        window=state.window.add(report),
    )


def check_skipped(state: TrainState, report: StepReport, *, max_skipped: int) -> None:
    """Check that training gets on.

    Raises:
        TrainingError: if the last `max_skipped` steps in a row were skipped.
    """
    if report.skipped and state.skipped_in_a_row >= max_skipped:
        raise TrainingError(
            f"{state.skipped_in_a_row} steps in a row had a non-finite loss or gradient (at step {report.step}, "
            f"lr {report.lr:g}); the weights are as they were before. Lower optim.lr, set optim.grad_clip=1, or try "
            "device.precision=float32"
        )
