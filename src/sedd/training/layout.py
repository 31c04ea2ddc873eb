"""How the sequences of a step lie in memory: rows sorted by length, or one packed row in random order.

On CPUs attention is fastest in rows of one length. GPUs have a kernel for sequences of any lengths in one row, and lose
more by the many small passes that rows of few lengths need.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from torch import nn

from sedd.data import Batches
from sedd.diffusion.packing import RowShape, packs
from sedd.plugins.contracts import Backend, Layout
from sedd.sampling.lengths import LengthDistribution

if TYPE_CHECKING:
    from sedd.training.numerics import Numerics

MORE_SEQUENCES = 1.25
"""Room for sequences, as a factor of their mean number in so many residues."""


def choose_layout(backend: Backend, network: nn.Module, began: Numerics | None) -> Layout:
    """`rows` or `packed`: what `device.layout` says, and for `auto` what the run began with, or is fast here.

    Args:
        backend: as this machine has it, with its precision.
        network: the network to train.
        began: what the run began with; None for a new run.
    """
    if backend.layout != "auto":
        return backend.layout
    if began is not None:
        return began.layout
    return "packed" if packs(network) and backend.fast_packed() else "rows"


def row_shape(
    layout: Layout, network: nn.Module, batches: Batches, lengths: LengthDistribution, *, parts: int
) -> RowShape | None:
    """The shape of packed rows, see `Loader`; None where the network gets padded rows.

    The residues of a step are `training.batch_residues`. A given number of sequences has other numbers of residues each
    time: then the row has room for two standard deviations more than the mean. A step is cut between sequences, so
    that a part of it may have more than its share, by about a sequence.

    A network that does not take packed rows gets the same random batches in padded rows.

    Args:
        layout: `rows` or `packed`.
        network: the network to train.
        batches: of the run.
        lengths: of the training sequences.
        parts: micro-batches of a step, over all processes.
    """
    if layout != "packed" or not packs(network):
        return None
    count, longest = batches.batch_sequences, batches.max_length
    residues: float
    if batches.batch_residues is not None:
        residues = batches.batch_residues
        count = math.ceil(MORE_SEQUENCES * count)
    else:
        residues = min(count * lengths.mean + 2.0 * lengths.deviation * math.sqrt(count), count * longest)
    if parts > 1:
        residues = residues / parts + lengths.mean
        count = math.ceil(MORE_SEQUENCES * count / parts)
    return RowShape.of(residues, count, longest=longest)
