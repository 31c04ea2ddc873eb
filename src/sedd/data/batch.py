"""From a plan to tensors: sequences read, long ones cropped, short ones padded."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sedd.data.order import GlobalBatch, Sequences
from sedd.model.segments import Segments
from sedd.randomness import generator


@dataclass(frozen=True, eq=False)
class Batch:
    """The sequences of one pass through the network: rows padded to one length, or packed into a single row."""

    tokens: Tensor
    """(B, L) int64, or (1, N) packed; 0 at pads, which `mask` tells apart."""
    mask: Tensor
    """Bool of the shape of `tokens`, True at residues."""
    samples: Tensor
    """(B,) int64, global sample indices."""
    segments: Segments | None = None
    """Where the sequences of a packed row are; None where each row is a sequence."""

    @cached_property
    def residues(self) -> int:
        """Number of residues."""
        return int(self.mask.sum())

    @cached_property
    def full(self) -> bool:
        """Whether there are no pads at all."""
        return self.residues == self.mask.numel()

    def sequence_of(self, positions: Tensor) -> Tensor:
        """The sequence, 0 .. B - 1, of indices into the flattened tokens."""
        if self.segments is not None:
            return self.segments.sequence[positions]
        return positions // self.tokens.shape[1]

    def to(self, device: torch.device | str) -> Batch:
        """A copy on `device`. The counts are copied too, so that reading them does not wait for the device."""
        return self.copied(lambda tensor: tensor.to(device, non_blocking=True))

    def copied(self, copy: Callable[[Tensor], Tensor]) -> Batch:
        """The batch with `copy` of every tensor."""
        segments = None if self.segments is None else self.segments.copied(copy)
        copied = Batch(copy(self.tokens), copy(self.mask), copy(self.samples), segments)
        copied.__dict__.update(residues=self.residues, full=self.full)
        return copied


def load(source: Sequences, batch: GlobalBatch, *, seed: int, max_length: int, pad_to: int = 8) -> Batch:
    """Read the sequences of `batch`, cropped to `max_length` at random offsets.

    The width is the longest sequence, rounded up to a multiple of `pad_to` but not beyond `max_length`.
    """
    rows = [
        crop(source[index], seed=seed, sample=sample, max_length=max_length)
        for index, sample in zip(batch.indices.tolist(), batch.samples.tolist(), strict=True)
    ]
    lengths = np.array([len(row) for row in rows], dtype=np.int64)
    longest = max(1, int(lengths.max(initial=0)))
    width = min(max_length, -(-longest // pad_to) * pad_to)
    mask = np.arange(width) < lengths[:, None]
    tokens = np.zeros(mask.shape, dtype=np.int64)
    if rows:
        tokens[mask] = np.concatenate(rows)  # row by row, as the mask is read
    return Batch(torch.from_numpy(tokens), torch.from_numpy(mask), torch.from_numpy(batch.samples.copy()))


def crop(sequence: NDArray[Any], *, seed: int, sample: int, max_length: int) -> NDArray[Any]:
    """At most `max_length` residues, from an offset drawn with (seed, sample): each epoch shows another part."""
    if len(sequence) <= max_length:
        return sequence
    start = int(generator(seed, "crop", sample).integers(len(sequence) - max_length + 1))
    return sequence[start : start + max_length]
