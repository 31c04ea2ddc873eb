"""Which part of a step each process computes.

A step is cut where its lengths differ, and into at least `accum` times as many parts as there are processes, which
are dealt out in turn: neighbours in length stay together, and each process has as much of every length.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from sedd.data.order import GlobalBatch


@dataclass(frozen=True)
class MicroBatch:
    """A part of a step that this process computes at once: a micro-batch."""

    batch: GlobalBatch
    where: slice
    """Its place among the sequences of the step."""
    weight: int
    """What its loss counts: 1, or 0 for a stand-in, which only keeps the processes together."""
    last: bool
    """Whether the gradients are put together after it."""


def micro_batches(plan: GlobalBatch, accum: int, *, rank: int, size: int) -> list[MicroBatch]:
    """The micro-batches of this process: as many for each, because each one ends in work for all."""
    strata = plan.parts()
    each = -(-accum // len(strata)) * size
    parts = [part for stratum in strata for part in stratum.split(each)]
    ends = np.cumsum([len(part) for part in parts]).tolist()
    rounds = -(-len(parts) // size)
    mine = []
    for turn in range(rounds):
        number = turn * size + rank
        stand_in = number >= len(parts)
        part = _first_of(parts[0]) if stand_in else parts[number]
        end = len(part) if stand_in else ends[number]
        mine.append(MicroBatch(part, slice(end - len(part), end), int(not stand_in), turn + 1 == rounds))
    return mine


def _first_of(batch: GlobalBatch) -> GlobalBatch:
    return GlobalBatch(batch.samples[:1], batch.indices[:1], batch.lengths[:1])
