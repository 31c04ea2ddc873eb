"""A corrupted batch of padded rows as a single packed row: the same sequences, noise and positions, without padding.

The row is filled up to one of few lengths, so that compiled kernels are reused.
"""

from __future__ import annotations

import torch
from torch import Tensor

from sedd.data.batch import Batch
from sedd.diffusion.loss import CorruptedBatch
from sedd.diffusion.positions import positions_first
from sedd.model.segments import Segments

LENGTHS_PER_BUDGET = 16
"""A row is filled up by less than one part in so many of the expected number of residues."""
LONGEST_MULTIPLE = 64
"""The longest sequence counts as filled up to a multiple of this, so that attention meets few sizes."""


def quantum(residues: float) -> int:
    """The multiple to which packed rows are filled up where `residues` are expected in each."""
    return max(8, 8 * round(residues / LENGTHS_PER_BUDGET / 8))


def pack(corrupted: CorruptedBatch, *, multiple: int) -> CorruptedBatch:
    """Pack padded rows into a single row whose length is a multiple of `multiple`. On the host."""
    rows, lengths = corrupted.batch, corrupted.residues
    total = -(-rows.residues // multiple) * multiple
    longest = min(total, -(-int(lengths.max()) // LONGEST_MULTIPLE) * LONGEST_MULTIPLE)

    def packed(tensor: Tensor) -> Tensor:
        row = tensor.new_zeros(1, total)
        row[0, : rows.residues] = tensor[rows.mask]  # sequence by sequence, as the mask is read
        return row

    contributes = torch.zeros(rows.mask.numel(), dtype=torch.bool)
    contributes[corrupted.positions[: corrupted.count]] = True
    positions, count = positions_first(packed(contributes.view_as(rows.mask))[0])
    segments = Segments.of(lengths, total, longest=longest)
    batch = Batch(packed(rows.tokens), packed(rows.mask), rows.samples, segments)
    x_t = packed(corrupted.x_t)
    return CorruptedBatch(batch, x_t, corrupted.noise, lengths, corrupted.changed, positions, count)
