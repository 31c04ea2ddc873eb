"""Sequences of any lengths one after the other in a single row, without padding between them: the packed layout.

Only attention and the positions of the rotary embedding need to know where sequences begin. Everything else sees one
row of N residues, and reads what is computed once per sequence (the modulation) at the sequence of each residue.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor

from sedd.model.kernels import gather_rows, scatter_rows


class Segments(NamedTuple):
    """Where the sequences of a packed row of N tokens are.

    Padding ends the row. It is cut into segments of its own, no longer than the longest sequence, so that no residue
    attends to it. What is read per sequence is read there from the last one, and contributes to nothing.

    So that rows of different sequences have tensors of equal shapes, there may be more sequences than are needed: those
    in between are empty, the last one is the padding, and empty segments end `cu_seqlens`.
    """

    sequence: Tensor
    """(N,) int64: the sequence of each token, ascending."""
    position: Tensor
    """(N,) int64: the position of each token in its segment."""
    slot: Tensor
    """(N,) int64: the index of each token in the flattened rows (segments, longest) of `to_rows`."""
    starts: Tensor
    """(sequences + 1,) int64: where each sequence begins, and N."""
    cu_seqlens: Tensor
    """(segments + 1,) int32: where each segment begins, those of padding included, and N; repeated by empty ones."""
    longest: int
    """No segment has more tokens."""

    @staticmethod
    def of(lengths: Tensor, total: int, *, longest: int, slots: int | None = None) -> Segments:
        """The segments of sequences in a row.

        Args:
            lengths: (sequences,) int64 on the host, each at least 1.
            total: N, at least the sum of `lengths`; what is left is padding.
            longest: at least the largest of `lengths`.
            slots: number of sequences that the tensors have room for, the padding included; None: those of `lengths`,
                and as many segments as there are.
        """
        count, residues = len(lengths), int(lengths.sum())
        spare = total - residues
        padding = torch.tensor([min(longest, spare - first) for first in range(0, spare, longest)], dtype=torch.int64)
        sizes = torch.cat([lengths, padding])
        if slots is not None:  # as many segments as the padding of an empty row would need
            sizes = torch.cat([sizes, sizes.new_zeros(slots - -(-total // -longest) - len(sizes))])
        ends = torch.cumsum(sizes, 0)
        segment = torch.repeat_interleave(torch.arange(len(sizes)), sizes)
        position = torch.arange(total) - (ends - sizes)[segment]
        last = (count if slots is None else slots) - 1
        starts = torch.cat([(ends - sizes)[:count], torch.full((last + 1 - count,), residues), torch.tensor([total])])
        cu_seqlens = torch.cat([torch.zeros(1, dtype=torch.int64), ends]).int()
        sequence = torch.where(segment < count, segment, last)
        return Segments(sequence, position, segment * longest + position, starts, cu_seqlens, longest)

    def copied(self, copy: Callable[[Tensor], Tensor]) -> Segments:
        """The segments with `copy` of every tensor."""
        sequence, position, slot, starts, cu_seqlens, longest = self
        return Segments(copy(sequence), copy(position), copy(slot), copy(starts), copy(cu_seqlens), longest)

    def to_rows(self, x: Tensor) -> Tensor:
        """x (1, N, ...) with a row for each segment, (segments, longest, ...), and zeros behind its end."""
        shape = torch.Size((len(self.cu_seqlens) - 1, self.longest, x[0, 0].numel()))
        rows = scatter_rows(x.flatten(0, 1).flatten(1), self.slot, shape)
        return rows.view(*shape[:2], *x.shape[2:])

    def from_rows(self, rows: Tensor) -> Tensor:
        """What `to_rows` returned, or a function of each of its positions, as (1, N, ...)."""
        return gather_rows(rows.flatten(2), self.slot).view(1, len(self.slot), *rows.shape[2:])

    def row_mask(self) -> Tensor:
        """(segments, longest) bool: where the rows of `to_rows` have tokens; one position of an empty segment, so that
        its attention is a number."""
        sizes = (self.cu_seqlens[1:] - self.cu_seqlens[:-1]).clamp(min=1)
        return torch.arange(self.longest, device=sizes.device) < sizes[:, None]

    def per_token(self, x: Tensor) -> Tensor:
        """x (sequences, 1, size) at the sequence of each token, (1, N, size)."""
        spread: Tensor = GatherSequences.apply(x[:, 0], self.sequence, self.starts)  # type: ignore[no-untyped-call]  # torch leaves it untyped
        return spread[None]


class GatherSequences(torch.autograd.Function):
    """x (sequences, size) at the `sequence` (N,) of each token.

    The gradient is a sum over each sequence in the order of its residues, where that of plain indexing would be added
    up in an order that is not fixed on GPUs.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, sequence: Tensor, starts: Tensor) -> Tensor:
        """Read the rows."""
        ctx.save_for_backward(starts)
        return x[sequence]

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        """Sum the gradients of each sequence."""
        (starts,) = ctx.saved_tensors
        return torch.segment_reduce(grad.contiguous(), "sum", offsets=starts, axis=0, unsafe=True), None, None
