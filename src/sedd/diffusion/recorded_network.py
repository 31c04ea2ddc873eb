"""A network without gradients whose kernels are recorded and then started together, for evaluation and sampling.

There is a recording for each shape of the inputs, made when the shape comes for the second time. A recording that does
not give the output of the network is not used.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

import torch
from torch import Tensor

from sedd.diffusion.parametrization import Network
from sedd.plugins.contracts import Backend
from sedd.plugins.recorders import Recorder, Work, problem_of, warn_not_recorded

MOST_SHAPES = 32
"""Shapes that are recorded."""
TOLERANCE = 0.01
"""Relative difference of a recording from what it records."""
WIDTHS = 32
"""Rows are padded to a multiple of this."""
Arguments = tuple[Tensor | None, ...]


@dataclass(eq=False)
class _Recording:
    arguments: Arguments
    """Tensors that stay."""
    output: Tensor
    repeat: Work | None = None


@dataclass(eq=False)
class RecordedFunction:
    """A function of tensors, all on the device, whose calls are recorded; its result is a new tensor each time."""

    function: Callable[..., Tensor]
    recorder: Recorder | None
    """None: the function is called as it is, as it is after recording has failed."""
    _recordings: dict[tuple[object, ...], _Recording] = field(default_factory=dict)

    def __call__(self, *arguments: Tensor | None) -> Tensor:
        """The function of `arguments`."""
        shapes = tuple(argument if argument is None else (argument.shape, argument.dtype) for argument in arguments)
        recording = self._recordings.get(shapes)
        if self.recorder is None or (recording is None and len(self._recordings) == MOST_SHAPES):
            return self.function(*arguments)
        if recording is None:
            output = self.function(*arguments)
            kept = tuple(argument if argument is None else torch.empty_like(argument) for argument in arguments)
            self._recordings[shapes] = _Recording(kept, torch.empty_like(output))
            return output
        for kept_one, argument in zip(recording.arguments, arguments, strict=True):
            if kept_one is not None and argument is not None:
                kept_one.copy_(argument, non_blocking=True)
        if recording.repeat is None:
            return self._record(recording, self.recorder)
        recording.repeat()
        return recording.output.clone()

    def _record(self, recording: _Recording, recorder: Recorder) -> Tensor:
        work = partial(self._work, recording)
        recorder.rehearse(work)
        expected = recording.output.clone()
        if not bool(torch.isfinite(expected).all()):  # nothing could be compared
            return expected
        try:
            repeat = recorder.record(work)
            recording.output.zero_()
            repeat()
            difference, norm = (recording.output - expected).float().norm(), expected.float().norm()
            problem = None if bool(difference <= TOLERANCE * norm) else "what was recorded has another output"
        except Exception as error:  # of the device's libraries, which fail in many ways
            problem = problem_of(error)
        if problem is None:
            recording.repeat = repeat
        else:
            self.recorder = None
            self._recordings.clear()
            warn_not_recorded(problem)
        return expected

    def _work(self, recording: _Recording) -> None:
        kind = recording.output.device.type
        # Not with weights that autocast converted before: they are freed when its context ends.
        with torch.autocast(
            kind,
            enabled=torch.is_autocast_enabled(kind),
            dtype=torch.get_autocast_dtype(kind),
            cache_enabled=False,
        ):
            recording.output.copy_(self.function(*recording.arguments))


class RecordedNetwork:
    """A selective network, called on padded rows as the network itself, on rows of few shapes.

    Rows and columns of padding are added, and left out of the output. They change it by rounding alone.
    """

    selective = True

    def __init__(self, network: Network, recorder: Recorder) -> None:
        self._function = RecordedFunction(partial(_call, network), recorder)

    def __call__(
        self,
        tokens: Tensor,
        sigma: Tensor,
        mask: Tensor | None = None,
        *,
        positions: Tensor | None = None,
    ) -> Tensor:
        """(batch, length, outputs), or (N, outputs) at `positions`, of which there are equally many in each row."""
        batch, length = tokens.shape
        rows, width = few_sizes(batch), -(-length // WIDTHS) * WIDTHS
        if (rows, width) != (batch, length):
            padding = (0, width - length, 0, rows - batch)
            mask = torch.ones_like(tokens, dtype=torch.bool) if mask is None else mask
            mask = torch.nn.functional.pad(mask, padding)
            mask[batch:] = True  # attention without a key would not be a number
            tokens = torch.nn.functional.pad(tokens, padding)
            sigma = torch.nn.functional.pad(sigma, (0, rows - batch), value=1.0)
        if positions is None:
            return self._function(tokens, sigma, mask, None)[:batch, :length]
        wide = positions // length * width + positions % length
        more = torch.nn.functional.pad(wide, (0, len(wide) // batch * (rows - batch)))
        return self._function(tokens, sigma, mask, more)[: len(positions)]


def _call(network: Network, tokens: Tensor, sigma: Tensor, mask: Tensor | None, positions: Tensor | None) -> Tensor:
    return network(tokens, sigma, mask, positions=positions)


def few_sizes(count: int) -> int:
    """Round a number of rows up to one of four sizes between powers of two."""
    step = 1 << max(0, (count - 1).bit_length() - 3)
    return -(-count // step) * step


def recorder_of(backend: Backend, device: torch.device) -> Recorder | None:
    """The recorder of a device, unless `device.graphs` is `off`."""
    return None if backend.graphs == "off" else backend.recorder(device)
