"""Forward and backward passes whose kernels are recorded once and then started together (CUDA graphs).

A recording repeats the same kernels at the same addresses. So the inputs are copied to tensors that stay, results and
gradients are added up in such tensors, and there is a recording for each shape of the inputs: packed rows have few.
What else differs from step to step (learning rate, clipping, optimizer, average) is not part of it.

A recording is used only if it gives the numbers of the pass that it records; otherwise kernels are started one by one.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn

from sedd.config.config import Config
from sedd.diffusion.loss import CorruptedBatch
from sedd.diffusion.packing import RowShape
from sedd.distributed.group import World
from sedd.errors import DeviceError
from sedd.plugins.contracts import Backend
from sedd.plugins.recorders import Recorder, Work, problem_of, warn_not_recorded
from sedd.training.loading import MicroStep
from sedd.training.setup import may_skip_parameters

MOST_SHAPES = 24
"""Shapes that are recorded: 8 numbers of positions, for rows of 3 lengths."""
REHEARSALS = 1
"""Passes of a shape before the one that is recorded."""
TOLERANCE = 0.01
"""Relative difference of a recording from the pass that it records. Kernels that add in any order make some 0.001."""
Pass = Callable[[CorruptedBatch, Tensor, "Tensor | float", "Tensor | int"], Tensor]
"""Forward and backward of a corrupted batch on the device, with dropout keys, a factor of the loss, and the number of
residues that divides it; adds to the gradients, and returns `Loss.parts`."""


@dataclass(eq=False)
class Recording:
    """A pass of one shape, with the tensors that it reads and writes."""

    corrupted: CorruptedBatch
    keys: Tensor
    factors: Tensor
    """(2,) float32: the factor of the loss, and the number of residues."""
    parts: Tensor
    """`Loss.parts`."""
    rehearsals: int = 0
    repeat: Work | None = None
    """Does the pass; None until it is recorded."""

    @staticmethod
    def like(micro_step: MicroStep, device: torch.device) -> Recording:
        """Tensors for inputs of these shapes."""
        empty = partial(torch.empty_like, device=device)
        parts = torch.zeros(3, len(micro_step.dropout_keys), device=device)
        factors = torch.ones(2, device=device)
        return Recording(micro_step.corrupted.copied(empty), empty(micro_step.dropout_keys), factors, parts)

    def read(self, micro_step: MicroStep, factor: float, residues: int) -> None:
        """Copy the inputs of a pass to the tensors; does not wait for the transfer."""
        given = [*_tensors(micro_step.corrupted), micro_step.dropout_keys]
        for kept, tensor in zip([*_tensors(self.corrupted), self.keys], given, strict=True):
            kept.copy_(tensor, non_blocking=True)
        self.factors[0].fill_(factor)
        self.factors[1].fill_(residues)

    def work(self, compute: Pass) -> None:
        """The pass."""
        self.parts.copy_(compute(self.corrupted, self.keys, *self.factors.unbind()))


class RecordedPasses:
    """Computes passes, from their second repetition on by recordings.

    Args:
        recorder: of the device.
        network: whose gradients are computed; every pass uses all of its trained parameters.
        device: where it is.
        compute: a pass.
    """

    def __init__(self, recorder: Recorder, network: nn.Module, device: torch.device, compute: Pass) -> None:
        self.recorder: Recorder | None = recorder
        """None once recording has failed."""
        self.device, self.compute = device, compute
        self._parameters = [parameter for parameter in network.parameters() if parameter.requires_grad]
        self._gradients = [torch.zeros_like(parameter) for parameter in self._parameters]
        self._recordings: dict[tuple[object, ...], Recording] = {}

    def begin(self) -> None:
        """Begin a step: the parameters get gradients of 0, in tensors that stay where they are."""
        torch._foreach_zero_(self._gradients)
        for parameter, gradient in zip(self._parameters, self._gradients, strict=True):
            parameter.grad = gradient

    def __call__(self, micro_step: MicroStep, factor: float, residues: int) -> Tensor:
        """`Loss.parts` of a micro-batch; adds to the gradients.

        Args:
            micro_step: in host memory.
            factor: of the loss.
            residues: of the step, by which the loss is divided.
        """
        if self.recorder is None:
            return self._alone(micro_step, factor, residues)
        recording = self._recording(micro_step)
        if recording is not None and recording.repeat is not None:
            recording.read(micro_step, factor, residues)
            recording.repeat()
            return recording.parts.clone()
        before = [gradient.clone() for gradient in self._gradients]
        try:
            if recording is None:
                return self._alone(micro_step, factor, residues)
            recording.read(micro_step, factor, residues)
            if recording.rehearsals < REHEARSALS:
                self.recorder.rehearse(partial(recording.work, self.compute))
                recording.rehearsals += 1
            else:
                self._record(recording, self.recorder, before)
            return recording.parts.clone()
        except torch.OutOfMemoryError as error:
            if all(other.repeat is None for other in self._recordings.values()):
                raise
            problem = problem_of(error)
        # A recording keeps the memory that its pass needs, and a pass that is not recorded needs as much once more.
        self._give_up(problem)
        torch._foreach_copy_(self._gradients, before)
        return self._alone(micro_step, factor, residues)

    def _alone(self, micro_step: MicroStep, factor: float, residues: int) -> Tensor:
        """The pass, its kernels started one by one."""
        keys = micro_step.dropout_keys.to(self.device, non_blocking=True)
        return self.compute(micro_step.corrupted.to(self.device), keys, factor, residues)

    def _give_up(self, problem: str) -> None:
        """Record nothing any more, and free what was recorded."""
        self.recorder = None
        self._recordings.clear()
        warn_not_recorded(problem)

    def _recording(self, micro_step: MicroStep) -> Recording | None:
        """That of the shapes of a pass; None where there are too many shapes."""
        corrupted, segments = micro_step.corrupted, micro_step.corrupted.batch.segments
        shape = (*(tensor.shape for tensor in _tensors(corrupted)), corrupted.count, segments and segments.longest)
        if shape not in self._recordings and len(self._recordings) < MOST_SHAPES:
            self._recordings[shape] = Recording.like(micro_step, self.device)
        return self._recordings.get(shape)

    def _record(self, recording: Recording, recorder: Recorder, before: list[Tensor]) -> None:
        """Do the pass, record it, and keep what was recorded if it does the same. `before`: the gradients until now."""
        work = partial(recording.work, self.compute)
        torch._foreach_zero_(self._gradients)
        recorder.rehearse(work)
        alone, parts = [gradient.clone() for gradient in self._gradients], recording.parts.clone()
        if bool(torch.isfinite(nn.utils.get_total_norm(alone))):  # else nothing could be compared
            try:
                repeat = recorder.record(work)
                torch._foreach_zero_(self._gradients)
                recording.parts.zero_()
                repeat()
                problem = self._difference(recording, alone, parts)
            except Exception as error:  # of the device's libraries, which fail in many ways
                problem = problem_of(error)
            recording.repeat = repeat if problem is None else None
            if problem is not None:
                self._give_up(problem)
        torch._foreach_copy_(self._gradients, torch._foreach_add(before, alone))
        recording.parts.copy_(parts)

    def _difference(self, recording: Recording, alone: list[Tensor], parts: Tensor) -> str | None:
        """In what a repetition differs from the pass that gave `alone` (gradients) and `parts`; None: in nothing."""
        norm = nn.utils.get_total_norm(alone)
        difference = nn.utils.get_total_norm(torch._foreach_sub(self._gradients, alone))
        if not bool(difference <= TOLERANCE * norm):
            return f"what was recorded has another gradient, by {float(difference):.2g} of {float(norm):.2g}"
        if not torch.allclose(recording.parts, parts, rtol=TOLERANCE, atol=TOLERANCE):
            return "what was recorded has another loss"
        return None


def choose_recorder(
    config: Config, backend: Backend, network: nn.Module, row_shape: RowShape | None, device: torch.device, world: World
) -> Recorder | None:
    """What records the passes of a run, see `device.graphs`; None where they are not recorded.

    Args:
        config: of the run.
        backend: of the device.
        network: that is trained.
        row_shape: of packed rows; None for padded ones.
        device: of this process.
        world: the processes.

    Raises:
        DeviceError: if it is `on` and there can be no recordings.
    """
    if backend.graphs == "off":
        return None
    obstacle = _obstacle(config, network, row_shape, world)
    recorder = backend.recorder(device) if obstacle is None else None
    if recorder is None and backend.graphs == "on":
        raise DeviceError(
            f"device.graphs=on: {obstacle or f'device {backend.part_name()} has no such thing'}; "
            "device.graphs=auto records where that is possible"
        )
    return recorder


def _obstacle(config: Config, network: nn.Module, row_shape: RowShape | None, world: World) -> str | None:
    """Why the passes of a run are not recorded."""
    if row_shape is None:
        return "it is for packed rows (device.layout=packed, and a network that takes them)"
    if world.size > 1:
        return "it is for one process; the kernels of several meet in the backward pass"
    if config.training.activation_checkpointing:
        return "training.activation_checkpointing reads the state of random generators in the backward pass"
    if may_skip_parameters(network):
        return "it is for the built-in network, every pass of which uses all parameters"
    return None


def _tensors(corrupted: CorruptedBatch) -> list[Tensor]:
    """All tensors of a corrupted batch, in a fixed order."""
    found: list[Tensor] = []

    def noted(tensor: Tensor) -> Tensor:
        found.append(tensor)
        return tensor

    corrupted.copied(noted)
    return found
