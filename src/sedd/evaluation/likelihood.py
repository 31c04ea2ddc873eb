"""A likelihood bound with its 95 % interval, its parts by mask rate, and controls."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sedd.diffusion.loss_profile import rounded
from sedd.diffusion.parametrization import Network
from sedd.evaluation.bound import Bound, Contributions
from sedd.evaluation.controls import Shuffled, composition, count_tokens, smoothed, unigram
from sedd.evaluation.estimator import Estimator
from sedd.evaluation.intervals import Z95, half_width
from sedd.evaluation.share_done import ShareDone
from sedd.evaluation.statistics import BoundStatistics, mask_variance

MASK_RATES = (0.0, 0.1, 0.25, 0.5, 0.75, 0.9, 1.0)
"""Edges of the ranges of mask rate that are reported; some of the edges of `sedd.diffusion.loss_profile`."""


@dataclass(frozen=True)
class SequenceBound:
    """The bound of one sequence."""

    index: int
    """Index of the sequence in the data."""
    residues: int
    """Evaluated residues."""
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
    """A simpler predictor, or the model on simpler data, on the same residues as the bound."""

    nats: float
    """Nats per residue."""
    difference: float
    """The bound minus `nats`; negative where the model is better."""
    difference_stderr: float
    """Standard error of `difference` over sequences; small, since both are of the same sequences."""


@dataclass(frozen=True)
class RateBin:
    """A range of mask rates."""

    low: float
    high: float
    nats: float
    """Mean of the integrand, nats per unit of mask rate: for `absorb` the cross-entropy of masked residues."""
    stderr: float
    """Standard error of `nats` over sequences."""

    @property
    def part(self) -> float:
        """What this range contributes to the bound, nats per residue."""
        return self.nats * (self.high - self.low)


@dataclass(frozen=True)
class Likelihood:
    """A bound with its 95 % interval, its parts by mask rate, and controls."""

    bound: Bound
    masks: int
    """Noise levels per sequence."""
    half_width: float
    """Half the width of the 95 % interval of the bound, nats per residue: over other sequences and other masks."""
    half_width_masks: float
    """The part of `half_width` from the draw of masks: for these sequences and other masks. nan with one mask."""
    sd_sequences: float
    """Standard deviation of the bounds of single sequences, weighted by residues, without what the masks add to it."""
    sd_masks: float
    """Standard deviation of the bound of one sequence over the draw of its masks, root mean square over residues."""
    rates: tuple[RateBin, ...]
    """By mask rate, in the ranges of `MASK_RATES`."""
    controls: Mapping[str, Control] = field(default_factory=dict)
    """`uniform`, `unigram`, `composition` and `shuffled`; empty without controls."""
    token_counts_source: str = ""
    """Where the token frequencies of `unigram` and `composition` come from."""

    @property
    def interval(self) -> tuple[float, float]:
        """95 % interval of the bound, nats per residue."""
        return self.bound.nats - self.half_width, self.bound.nats + self.half_width

    @property
    def half_width_sequences(self) -> float:
        """The part of `half_width` from the choice of sequences: the squares of both parts add up."""
        if not math.isfinite(self.half_width):
            return self.half_width
        return math.sqrt(max(0.0, self.half_width**2 - self.half_width_masks**2))

    def to_dict(self) -> dict[str, Any]:
        """Plain data; numbers that are not finite are left out."""
        fields = asdict(self.bound)
        del fields["by_sequence"]  # never there: the sequences are evaluated in parts
        lists = {name: rounded(value) for name, value in fields.items() if isinstance(value, tuple)}
        numbers = {name: value for name, value in fields.items() if name not in lists} | {
            "bits": self.bound.bits,
            "perplexity": self.bound.perplexity,
            "masks": self.masks,
            "half": self.half_width,
            "half_sequences": self.half_width_sequences,
            "half_masks": self.half_width_masks,
            "sd_sequences": self.sd_sequences,
            "sd_masks": self.sd_masks,
        }
        data = _finite(numbers) | lists
        if math.isfinite(self.half_width):
            data["interval"] = list(self.interval)
        data["rates"] = [_finite({**asdict(rate), "part": rate.part}) for rate in self.rates]
        data["controls"] = {
            name: _finite({"nats": control.nats, "less": control.difference, "less_stderr": control.difference_stderr})
            for name, control in self.controls.items()
        }
        return data | ({"letters": self.token_counts_source} if self.token_counts_source else {})


def likelihood(
    estimator: Estimator,
    network: Network,
    *,
    token_counts: NDArray[Any] | None = None,
    token_counts_source: str = "the training data",  # noqa: S107  # tokens of sequences, no password
    controls: bool = True,
    on_sequences: Callable[[Sequence[SequenceBound]], object] | None = None,
    report: Callable[[float], object] | None = None,
) -> Likelihood:
    """Evaluate a network, in eval mode, in memory that does not grow with the number of sequences.

    `estimator` defines the sequences and the noise; the other arguments are those of `Pretrained.likelihood`.
    """
    if token_counts is None and controls:
        first = estimator.chosen()[:4096]
        token_counts, token_counts_source = _counts(estimator, first).sum(0), "the evaluated sequences themselves"
    if report is not None:
        estimator = replace(estimator, on_evaluated=ShareDone(report, estimator.work * (2 if controls else 1)))
    statistics = BoundStatistics(("uniform", "unigram", "composition", "shuffled") if controls else ())
    shuffled = replace(estimator, data=Shuffled(estimator.data, estimator.max_length, estimator.seed))
    shuffled_parts = shuffled.in_parts(network) if controls else None
    for part in estimator.in_parts(network):
        columns = {}
        if shuffled_parts is not None and token_counts is not None:
            columns = _token_controls(_counts(estimator, part.items), smoothed(token_counts))
            columns["shuffled"] = next(shuffled_parts).values.mean(1)
        statistics.add(part, columns)
        if on_sequences is not None:
            on_sequences(_sequence_bounds(part))
    return _summary(statistics, estimator.masks, token_counts_source if controls else "")


def _counts(estimator: Estimator, items: NDArray[np.int64]) -> NDArray[np.float64]:
    """Token counts of evaluated sequences, (items, n)."""
    n = estimator.process.graph.n
    return count_tokens(estimator.data, items, n=n, seed=estimator.seed, max_length=estimator.max_length)


def _token_controls(counts: NDArray[Any], frequencies: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
    """The controls that depend on token frequencies alone, (sequences,) each, nats per residue."""
    return {
        "uniform": np.full(len(counts), math.log(len(frequencies))),
        "unigram": unigram(counts, frequencies),
        "composition": composition(counts, frequencies),
    }


def _sequence_bounds(part: Contributions) -> list[SequenceBound]:
    stderr = np.sqrt(mask_variance(part.values))
    columns = (part.items, part.residues.astype(np.int64), part.values.mean(1), stderr)
    return [SequenceBound(*row) for row in zip(*(column.tolist() for column in columns), strict=True)]


def _summary(statistics: BoundStatistics, masks: int, token_counts_source: str) -> Likelihood:
    bound, names = statistics.bound(), statistics.controls
    width = half_width(bound.stderr, bound.sequences)
    # The part of the masks belongs to the same interval: it has the same quantile and never exceeds the total.
    quantile = half_width(1.0, bound.sequences) if math.isfinite(width) else Z95
    width_masks = quantile * math.sqrt(statistics.squared_mask_variance) / statistics.residues
    mask_variance_mean = statistics.mask_variance / statistics.residues
    sequence_variance = statistics.variance - mask_variance_mean
    return Likelihood(
        bound=bound,
        masks=masks,
        half_width=width,
        half_width_masks=width if width_masks > width else width_masks,
        sd_sequences=math.nan if math.isnan(sequence_variance) else math.sqrt(max(0.0, sequence_variance)),
        sd_masks=math.sqrt(mask_variance_mean),
        rates=tuple(RateBin(low, high, *statistics.integrand(low, high)) for low, high in pairwise(MASK_RATES)),
        controls={name: Control(statistics.control(name), *statistics.difference(name)) for name in names},
        token_counts_source=token_counts_source,
    )


def _finite(numbers: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in numbers.items() if not isinstance(value, float) or math.isfinite(value)}
