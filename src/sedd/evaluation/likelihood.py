"""A likelihood bound with everything that a reader needs to judge it: how sure it is, where it comes from, controls."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sedd.data import lengths_of
from sedd.diffusion.loss_profile import rounded
from sedd.diffusion.parametrization import Network
from sedd.evaluation.bound import Bound, Estimator, Part
from sedd.evaluation.controls import Shuffled, composition, smoothed, token_counts, unigram
from sedd.evaluation.moments import Moments
from sedd.evaluation.scatter import Z95, half_width, mask_variance

COARSE = (0.0, 0.1, 0.25, 0.5, 0.75, 0.9, 1.0)
"""Mask rates between which the bound is shown; some of the edges of `sedd.diffusion.loss_profile`."""


@dataclass(frozen=True)
class SequenceBound:
    """The bound of one sequence."""

    index: int
    """Which item of the data."""
    residues: int
    """Residues that were scored."""
    nats: float
    """Bound, nats per residue."""
    stderr: float
    """Its standard error over the draw of masks, nats per residue; nan with one mask."""

    @property
    def bits(self) -> float:
        """Bits per residue."""
        return self.nats / math.log(2.0)

    @property
    def perplexity(self) -> float:
        """e^nats."""
        return math.exp(self.nats)


@dataclass(frozen=True)
class Control:
    """What a simpler predictor, or simpler data, would give on the same residues."""

    nats: float
    """Nats per residue."""
    less: float
    """The bound less this; negative where the model is better."""
    less_stderr: float
    """Standard error of `less` over sequences; much smaller than that of the bound, because both are of the same."""


@dataclass(frozen=True)
class RateBin:
    """A range of mask rates."""

    low: float
    high: float
    nats: float
    """Mean of the integrand, nats per unit of mask rate: for `absorb` the cross-entropy of masked residues."""
    stderr: float
    """Its standard error over sequences."""

    @property
    def part(self) -> float:
        """What this range contributes to the bound, nats per residue."""
        return self.nats * (self.high - self.low)


@dataclass(frozen=True)
class Likelihood:
    """A bound, how sure it is, where it comes from, and what it is held against."""

    bound: Bound
    masks: int
    """Noise levels per sequence."""
    half: float
    """Half of the 95 % interval of the bound, nats per residue: over other sequences of that kind and other masks."""
    half_masks: float
    """The share of the masks in it: half of the interval for these sequences and other masks. nan with one mask."""
    sd_sequences: float
    """Standard deviation of the bounds of sequences, weighted by residues, without what the masks add to it."""
    sd_masks: float
    """Standard deviation of the bound of one sequence over the draw of its masks, root mean square over residues."""
    rates: tuple[RateBin, ...]
    """By mask rate, in the ranges of `COARSE`."""
    controls: Mapping[str, Control] = field(default_factory=dict)
    """`uniform`, `unigram`, `composition` and `shuffled`, as far as they were asked for."""
    letters: str = ""
    """Where the letter frequencies of `unigram` and `composition` come from."""

    @property
    def interval(self) -> tuple[float, float]:
        """95 % interval of the bound, nats per residue."""
        return self.bound.nats - self.half, self.bound.nats + self.half

    @property
    def half_sequences(self) -> float:
        """The share of the choice of sequences in `half`: the squares of both shares add up."""
        return math.sqrt(max(0.0, self.half**2 - self.half_masks**2)) if math.isfinite(self.half) else self.half

    def to_json(self) -> dict[str, Any]:
        """Plain data; a number that is not finite is left out."""
        lists = {name: rounded(value) for name, value in asdict(self.bound).items() if isinstance(value, tuple)}
        numbers = {**asdict(self.bound), "bits": self.bound.bits, "perplexity": self.bound.perplexity}
        own = ("masks", "half", "half_sequences", "half_masks", "sd_sequences", "sd_masks")
        numbers |= {name: getattr(self, name) for name in own}
        found = _finite({name: value for name, value in numbers.items() if name not in lists}) | lists
        if math.isfinite(self.half):
            found["interval"] = list(self.interval)
        found["rates"] = [_finite({**asdict(each), "part": each.part}) for each in self.rates]
        found["controls"] = {name: _finite(asdict(each)) for name, each in self.controls.items()}
        return found | ({"letters": self.letters} if self.letters else {})


def likelihood(
    estimator: Estimator,
    network: Network,
    *,
    letters: NDArray[Any] | None = None,
    letters_from: str = "the training data",
    controls: bool = True,
    each: Callable[[Sequence[SequenceBound]], object] | None = None,
) -> Likelihood:
    """Evaluate a network, sequence by sequence, in memory that does not grow with their number.

    Args:
        estimator: which sequences, at which noise.
        network: in eval mode.
        letters: (n,) counts of the training data; without them, those of the evaluated sequences.
        letters_from: where `letters` come from, for people.
        controls: hold the bound against controls; the shuffled one takes as long as the bound itself.
        each: called with the bounds of some sequences at a time, in their order.
    """
    n, longest = estimator.process.graph.n, estimator.max_length
    shuffled = replace(estimator, data=Shuffled(estimator.data, longest, estimator.seed))
    if letters is None and controls:
        letters, letters_from = _own_letters(estimator), "the evaluated sequences themselves"
    moments = Moments(("uniform", "unigram", "composition", "shuffled") if controls else ())
    mixed = shuffled.parts(network) if controls else None
    for part in estimator.parts(network):
        columns = {}
        if mixed is not None and letters is not None:
            counts = token_counts(estimator.data, part.items, n=n, seed=estimator.seed, max_length=longest)
            frequencies = smoothed(letters)
            columns = {
                "uniform": np.full(len(counts), math.log(n)),
                "unigram": unigram(counts, frequencies),
                "composition": composition(counts, frequencies),
                "shuffled": next(mixed).values.mean(1),
            }
        cropped = int((lengths_of(estimator.data, part.items) > longest).sum())
        moments.add(part, cropped=cropped, columns=columns)
        if each is not None:
            each(_by_sequence(part))
    return _concluded(moments, estimator.masks, letters_from if controls else "")


def _own_letters(estimator: Estimator) -> NDArray[np.float64]:
    """Token counts of the first evaluated sequences."""
    n, some = estimator.process.graph.n, estimator.chosen()[:4096]
    counts = token_counts(estimator.data, some, n=n, seed=estimator.seed, max_length=estimator.max_length)
    total: NDArray[np.float64] = counts.sum(0)
    return total


def _by_sequence(part: Part) -> list[SequenceBound]:
    columns = (part.items, part.residues.astype(np.int64), part.values.mean(1), np.sqrt(mask_variance(part)))
    return [SequenceBound(*row) for row in zip(*(column.tolist() for column in columns), strict=True)]


def _concluded(moments: Moments, masks: int, letters_from: str) -> Likelihood:
    bound = moments.bound()
    half = half_width(bound.stderr, bound.sequences)
    # The share of the masks is of the same interval: with the same quantile, and never more than the whole.
    quantile = half_width(1.0, bound.sequences) if math.isfinite(half) else Z95
    half_masks = quantile * math.sqrt(moments.mask_variance) / moments.residues
    single = moments.single / moments.residues
    spread = moments.spread - single
    return Likelihood(
        bound=bound,
        masks=masks,
        half=half,
        half_masks=half if half_masks > half else half_masks,
        sd_sequences=math.sqrt(max(0.0, spread)) if spread == spread else math.nan,
        sd_masks=math.sqrt(single),
        rates=tuple(_rate(moments, *ends) for ends in pairwise(COARSE)),
        controls={name: Control(moments.mean(name), *moments.less(name)) for name in moments.names},
        letters=letters_from,
    )


def _rate(moments: Moments, low: float, high: float) -> RateBin:
    return RateBin(low, high, *moments.between(low, high))


def _finite(numbers: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in numbers.items() if not isinstance(value, float) or math.isfinite(value)}
