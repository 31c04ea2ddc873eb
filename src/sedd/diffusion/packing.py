"""A corrupted batch of padded rows as a single packed row: the same sequences, noise and positions.

All rows of a run have one shape, so that one compilation and one recording of the device's work serve all steps. What
is left of a row is padding, which contributes to nothing.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import pad

from sedd.data.batch import Batch
from sedd.diffusion.loss import CorruptedBatch
from sedd.diffusion.noising import NoiseState
from sedd.diffusion.positions import positions_first
from sedd.model.segments import Segments

MULTIPLE = 64
"""The length of a row is a multiple of this, which suits matrix products."""
SHARES = 8
"""The positions that are evaluated are filled up to a multiple of the row's length over this."""
QUARTERS = 4
"""A batch that does not fit gets a row that is longer by as many quarters as it takes."""


@dataclass(frozen=True)
class RowShape:
    """The shape of packed rows: room for sequences that together have a number of residues."""

    tokens: int
    """The length of the row, a multiple of `MULTIPLE`."""
    sequences: int
    """Sequences that there is room for."""
    longest: int
    """No sequence has more residues."""

    @staticmethod
    def of(residues: float, sequences: float, *, longest: int) -> RowShape:
        """The least shape with room for so many residues and sequences."""
        return RowShape(MULTIPLE * max(1, math.ceil(residues / MULTIPLE)), max(1, math.ceil(sequences)), longest)

    def holding(self, residues: int, sequences: int) -> RowShape:
        """This shape, or if a batch does not fit, one that has more room by the fewest quarters of it."""
        needed = max(-(-residues * QUARTERS // self.tokens), -(-sequences * QUARTERS // self.sequences))
        if needed <= QUARTERS:
            return self
        return RowShape.of(self.tokens * needed / QUARTERS, self.sequences * needed / QUARTERS, longest=self.longest)


def packs(network: object) -> bool:
    """Whether a network has `packs = True` and `selective = True`: its forward accepts `segments`, `positions` and
    `keys` as `Transformer.forward` does."""
    return bool(getattr(network, "packs", False) and getattr(network, "selective", False))


def pack(corrupted: CorruptedBatch, shape: RowShape) -> CorruptedBatch:
    """Pack padded rows into a single row of a shape, or of a larger one where they do not fit. On the host.

    What there is for each sequence (`noise`, `residues`, `changed`) is 0 behind the last one, and sigma 1.
    """
    rows, lengths = corrupted.batch, corrupted.residues
    shape = shape.holding(rows.residues, len(lengths))

    def packed(tensor: Tensor) -> Tensor:
        row = tensor.new_zeros(1, shape.tokens)
        row[0, : rows.residues] = tensor[rows.mask]  # sequence by sequence, as the mask is read
        return row

    contributes = torch.zeros(rows.mask.numel(), dtype=torch.bool)
    contributes[corrupted.positions[: corrupted.count]] = True
    positions, _ = positions_first(packed(contributes.view_as(rows.mask))[0], shape.tokens // SHARES)
    slots = shape.sequences + 1  # the last one is the padding
    segments = Segments.of(lengths, shape.tokens, longest=shape.longest, slots=slots)
    batch = Batch(packed(rows.tokens), packed(rows.mask), rows.samples, segments)
    noise = NoiseState(per_slot(corrupted.noise.sigma, slots, 1.0), per_slot(corrupted.noise.dsigma, slots))
    residues, changed = per_slot(lengths, slots), per_slot(corrupted.changed, slots)
    return CorruptedBatch(batch, packed(corrupted.x_t), noise, residues, changed, positions, len(positions))


def per_slot(x: Tensor, slots: int, value: float = 0.0) -> Tensor:
    """x (sequences,) with `value` behind, (slots,)."""
    return pad(x, (0, slots - len(x)), value=value)
