"""The units in which a loss may have been logged, as factors on nats per residue of a weighted loss."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

from sedd.diagnosis.curve import Unit as Named
from sedd.diagnosis.curve_fit.settings import WEIGHTED
from sedd.diagnosis.curve_fit.trainers import Trainer

MASKED: frozenset[Trainer] = frozenset({"unweighted", "masked", "masked weights"})
"""Trainers whose loss is per masked residue."""


@dataclass(frozen=True)
class Unit:
    """A factor on nats per residue, with the uncertainty of its logarithm."""

    name: str
    """`residue`, `bits`, `sequence`, `positions`, `batches`; a short name."""
    log_factor: float
    """Expected logarithm of the factor."""
    spread: float
    """Standard deviation of the logarithm."""
    log_prior: float
    """Log of the weight among the units of its kind."""
    is_residue: bool = False
    """Whether it is nats per residue."""

    def words(self, factor: float) -> str:
        """The unit in words, for a fitted factor."""
        match self.name:
            case "bits":
                return "bits per residue (nats over ln 2)"
            case "sequence":
                return f"sums over sequences of about {_rounded(factor)} residues"
            case "positions":
                return f"means over all positions, {1.0 - factor:.0%} of which are padding and count as 0"
            case "batches":
                return f"sums over {factor:.0f} micro-batches or processes"
            case "bits of sequences":
                return f"bits, summed over sequences of about {_rounded(factor * math.log(2.0))} residues"
        return "nats per residue"


def _rounded(value: float) -> str:
    return f"{float(f'{value:.2g}'):,.0f}"


EXACT = 0.006
"""Uncertainty of a factor that is known: the first losses of a new network scatter about the uniform predictor."""


def plausible(length: float, longest: int, named: Named | None) -> list[Unit]:
    """All units that compete for sequences of mean `length`, cropped to `longest`; one where the user has named it."""
    exact = Unit("residue", 0.0, EXACT, math.log(0.75), is_residue=True)
    near = Unit("residue", 0.03, 0.08, math.log(0.25), is_residue=True)
    if named in ("residue", "masked"):
        return [exact, near]
    bits = Unit("bits", -math.log(math.log(2.0)), EXACT, math.log(0.3))
    sums = list(_sums(length, longest))
    if named == "bits":
        return [bits]
    if named == "sequence":
        return sums
    return [exact, near, bits, *sums, *_others(length, longest)]


def _sums(length: float, longest: int) -> Iterator[Unit]:
    yield Unit("sequence", math.log(max(length, 2.0)), 0.2, math.log(0.1))
    yield Unit("sequence", math.log(max(longest, 2)), 0.03, math.log(0.1))
    yield Unit("sequence", math.log(300.0), 1.0, math.log(0.15))


def _others(length: float, longest: int) -> Iterator[Unit]:
    yield Unit("positions", math.log(0.45), 0.45, math.log(0.2))
    for count in (2, 4, 8, 16, 32, 64):
        yield Unit("batches", math.log(count), EXACT, math.log(0.1 / 6))
    yield Unit("bits of sequences", math.log(300.0 / math.log(2.0)), 1.0, math.log(0.01))


def allowed(trainer: Trainer, unit: Unit, named: Named | None) -> bool:
    """Whether a trainer and a unit occur together."""
    if named == "masked":
        return trainer in MASKED
    if named is not None:
        return trainer in WEIGHTED
    return trainer in WEIGHTED or unit.name in ("residue", "bits", "sequence", "batches")


def agrees(trainer: Trainer, unit: Unit, named: Named | None) -> bool:
    """Whether the losses are what the user takes them for: the named unit, else nats per residue."""
    if named is None:
        return unit.is_residue and trainer in WEIGHTED
    return True
