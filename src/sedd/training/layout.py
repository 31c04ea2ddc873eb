"""How the sequences of a step lie in memory: rows sorted by length, or one packed row in random order.

On CPUs attention is fastest in rows of one length. GPUs have a kernel for sequences of any lengths in one row, and lose
more by the many small passes that rows of few lengths need.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import nn

from sedd.diffusion.packing import quantum
from sedd.plugins.contracts import Backend, Layout

if TYPE_CHECKING:
    from sedd.training.numerics import Numerics


def packs(network: nn.Module) -> bool:
    """Whether a network has `packs = True` and `selective = True`: its forward accepts `segments`, `positions` and
    `keys` as `Transformer.forward` does."""
    return bool(getattr(network, "packs", False) and getattr(network, "selective", False))


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


def packed_multiple(layout: Layout, network: nn.Module, residues: float) -> int | None:
    """The multiple to which packed rows are filled up, see `Loader`; None where the network gets padded rows.

    A network that does not take packed rows gets the same random batches in padded rows.

    Args:
        layout: `rows` or `packed`.
        network: the network to train.
        residues: expected in each micro-batch.
    """
    return quantum(residues) if layout == "packed" and packs(network) else None
