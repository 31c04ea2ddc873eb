"""The charts of the evaluations: held-out sequences, training sequences (the probe), and the ladder of predictors."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from sedd.diagnosis.predictors import entropy
from sedd.diffusion.loss_profile import BINS, EDGES
from sedd.evaluation.intervals import half_width
from sedd.evaluation.statistics import mean_over_residues
from sedd.report.chart import NAMES, Chart, Color, Level, Panel, Series, Style
from sedd.report.charts import padded, with_events
from sedd.report.contents import Contents
from sedd.runs.metrics import BoundRecord, RecordedBound

NEAR = 1.5
"""A rung of the ladder is drawn if it is at most this many times the height of the curves away from them."""
MIN_NEAR = 0.08
"""The same in nats per residue, at least."""


EXACT = "exact value"
"""Name of the level of the exact value."""


@dataclass(frozen=True)
class _Curve:
    """One of the three bounds of an evaluation: a field of `BoundRecord`."""

    field: str
    name: str
    color: Color
    style: Style


CURVES = (
    _Curve("held_out", "held-out sequences", "run", "line"),
    _Curve("probe", "training sequences", "model", "dashed"),
    _Curve("probe_raw", "training sequences, weights before averaging", "noise", "dotted"),
)
"""What an evaluation measures, in the order of the legend."""


def bound_chart(contents: Contents) -> Chart | None:
    """The bounds on held-out and on training sequences with their 95 % intervals, and the ladder of predictors."""
    if not contents.finite_bounds:
        return None
    series = [part for curve in CURVES for part in _series(contents.history.bounds, curve)]
    ends = np.concatenate([end for part in series for end in (part.y, part.low, part.high) if end is not None])
    low, high = float(np.nanmin(ends)), float(np.nanmax(ends))
    near = max(NEAR * (high - low), MIN_NEAR)
    levels = tuple(level for level in bound_levels(contents) if low - near <= level.y <= high + near)
    heights = [level.y + sign * np.nan_to_num(level.half_width) for level in levels for sign in (-1, 1)]
    panel = Panel("nats per residue", tuple(series), levels, y_range=padded(min(low, *heights), max(high, *heights)))
    last = max(float(contents.step), *(float(bound.step) for bound in contents.finite_bounds))
    return with_events(contents, Chart("bound", "Held-out bound", (panel,), x_range=(0.0, last * 1.01)))


def _series(bounds: Sequence[BoundRecord], curve: _Curve) -> Iterator[Series]:
    """The finite values of one bound, with their 95 % intervals where these are known."""
    known = [(record.step, value) for record in bounds if (value := _finite(getattr(record, curve.field))) is not None]
    if not known:
        return
    steps = np.array([step for step, _ in known], np.float64)
    nats = np.array([value.nats for _, value in known])
    halves = np.array([_half_width(value) for _, value in known])
    ends = (nats - halves, nats + halves) if np.isfinite(halves).any() else (None, None)
    yield Series(curve.name, steps, nats, curve.color, curve.style, *ends)


def _finite(bound: RecordedBound | None) -> RecordedBound | None:
    return bound if bound is not None and math.isfinite(bound.nats) else None


def _half_width(bound: RecordedBound) -> float:
    """Half of the 95 % interval of a bound, nats per residue; NaN where it is not known."""
    if bound.sequences is None or bound.sequences < 2 or not math.isfinite(bound.stderr):
        return math.nan
    half = half_width(bound.stderr, bound.sequences)
    return half if math.isfinite(half) else math.nan


def bound_levels(contents: Contents) -> list[Level]:
    """The ladder of predictors on the held-out sequences, and the exact value where it is known.

    Old runs do not describe the evaluated sequences: for these the unigram model has the entropy of the training set.
    """
    evaluated = contents.history.evaluated
    if evaluated is not None and len(evaluated.held_out.unigram) > 1:
        held_out = evaluated.held_out
        uniform = Level(NAMES["untrained"], math.log(len(held_out.token_counts)), "curriculum")
        rungs = [uniform]
        styles: tuple[tuple[str, str, Style], ...] = (
            ("unigram", NAMES["unigram"], "line"),
            ("composition", "composition of the sequence", "dotted"),
        )
        for field, name, style in styles:
            nats, stderr = mean_over_residues(getattr(held_out, field), held_out.residues)
            rungs.append(Level(name, nats, "curriculum", style, half_width(stderr, held_out.sequences)))
    elif contents.statistics is not None:
        frequencies = contents.statistics.frequencies
        rungs = [
            Level(NAMES["untrained"], float(np.log(len(frequencies))), "curriculum"),
            Level(NAMES["unigram"], entropy(frequencies), "curriculum", "line", math.nan),
        ]
    else:
        return []
    return rungs if contents.exact is None else [*rungs, Level(EXACT, contents.exact, "model", "dotted")]


def bound_profile_chart(contents: Contents) -> Chart | None:
    """The integrand of the bound by mask rate, at the first and at the last evaluation."""
    bounds = [bound for bound in contents.finite_bounds if np.isfinite(bound.profile).any()]
    if not bounds:
        return None
    ends: list[tuple[str, Color, BoundRecord]] = [("last", "run", bounds[-1])]
    if len(bounds) > 1:
        ends.insert(0, ("first", "muted", bounds[0]))
    # Narrower bins hold too few residues to show.
    bins = np.flatnonzero((np.diff(EDGES) > 0.02) & (np.arange(BINS) > 0))
    middle = (EDGES[1:] + EDGES[:-1]) / 2
    series = [
        Series(f"{name} evaluation, step {bound.step:,}", middle[bins], bound.profile[bins], color)
        for name, color, bound in ends
    ]
    if "unigram" in contents.predictors and contents.absorbs:
        series.append(Series(NAMES["unigram"], middle, contents.predictors["unigram"].values, "curriculum"))
    panel = Panel("nats per unit of mask rate", tuple(series))
    return Chart("bound-profile", "The bound by mask rate", (panel,), x_name="mask rate", x_range=(0.0, 1.0))
