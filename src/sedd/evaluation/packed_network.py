"""A network that is evaluated on packed rows of one shape, and called on padded rows."""

from __future__ import annotations

import torch
from torch import Tensor

from sedd.diffusion.packing import RowShape, per_slot
from sedd.diffusion.parametrization import Network
from sedd.diffusion.recorded_network import RecordedFunction
from sedd.model.segments import Segments
from sedd.plugins.recorders import Recorder


class PackedNetwork:
    """Called as `network(tokens, sigma, mask)` on padded rows that fit a packed row, for a network that packs.

    Args:
        network: accepts `segments`, see `sedd.diffusion.packing.packs`.
        shape: of the packed row.
        recorder: records its kernels; None: they are started one by one.
    """

    def __init__(self, network: Network, shape: RowShape, recorder: Recorder | None) -> None:
        self.network, self.shape = network, shape
        self._forward = RecordedFunction(self._packed, recorder)

    def __call__(self, tokens: Tensor, sigma: Tensor, mask: Tensor | None = None) -> Tensor:
        """(batch, length, outputs), 0 at padding."""
        batch, length = tokens.shape
        lengths = torch.full((batch,), length) if mask is None else mask.sum(1).cpu()
        residues, slots = int(lengths.sum()), self.shape.sequences + 1
        segments = Segments.of(lengths, self.shape.tokens, longest=self.shape.longest, slots=slots)
        places = (segments.sequence * length + segments.position)[:residues].to(tokens.device)
        segments = segments.copied(lambda tensor: tensor.to(tokens.device))
        row = tokens.new_zeros(1, self.shape.tokens)
        row[0, :residues] = tokens.flatten()[places]
        where = (segments.sequence, segments.position, segments.slot, segments.starts, segments.cu_seqlens)
        output = self._forward(row, per_slot(sigma, slots, 1.0), *where)
        rows = output.new_zeros(batch * length, output.shape[-1]).index_copy(0, places, output[0, :residues])
        return rows.view(batch, length, -1)

    def _packed(
        self, row: Tensor, sigma: Tensor, sequence: Tensor, position: Tensor, slot: Tensor, starts: Tensor, ends: Tensor
    ) -> Tensor:
        """The network's output for a packed row, (1, tokens, outputs), with the tensors of its `Segments`."""
        segments = Segments(sequence, position, slot, starts, ends, self.shape.longest)
        return self.network(row, sigma, None, segments=segments)
