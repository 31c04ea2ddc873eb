"""The micro-batches of an optimizer step that one process of the group computes.

A step is cut where its lengths differ, and into at least `accum * size` parts, which are dealt to the processes in
turn: neighbours in length stay together, and each process gets as much of every length.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from sedd.data.order import GlobalBatch


@dataclass(frozen=True)
class MicroBatch:
    """Sequences of a step that a process computes in one pass through the network."""

    batch: GlobalBatch
    positions: slice
    """Their positions among the sequences of the step."""
    is_padding: bool
    """Whether its loss counts 0: it only gives this process as many passes as the others have."""
    last: bool
    """Whether it is the last of the step, after which gradients are reduced."""


def micro_batches(plan: GlobalBatch, accum: int, *, rank: int, size: int) -> list[MicroBatch]:
    """The micro-batches of process `rank` of `size`.

    All processes get the same number, because every pass may end in a collective operation. Where the parts do not
    divide evenly, the last round is filled with padding: the first sequence of the step, which does not count.
    """
    strata = plan.parts()
    parts_per_stratum = -(-accum // len(strata)) * size
    parts = [part for stratum in strata for part in stratum.split(parts_per_stratum)]
    ends = np.cumsum([len(part) for part in parts]).tolist()
    rounds = -(-len(parts) // size)
    mine = []
    for turn in range(rounds):
        number = turn * size + rank
        is_padding = number >= len(parts)
        part = _first_of(parts[0]) if is_padding else parts[number]
        end = len(part) if is_padding else ends[number]
        mine.append(MicroBatch(part, slice(end - len(part), end), is_padding, last=turn + 1 == rounds))
    return mine


def _first_of(batch: GlobalBatch) -> GlobalBatch:
    return GlobalBatch(batch.samples[:1], batch.indices[:1], batch.lengths[:1])
