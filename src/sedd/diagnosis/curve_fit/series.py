"""A curve made ready for the fit: usable rows, smoothing undone, pooled into blocks with errors."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sedd.diagnosis.curve import Curve
from sedd.diagnosis.curve_fit.dependence import Dependence, dependence
from sedd.diagnosis.curve_fit.filters import Filter, Unfiltered, recognised

Array = NDArray[np.float64]

BLOCKS = 240
"""Blocks of lines that enter the fit, at most."""
EARLY = 50
"""Blocks of them that are short, at the beginning, where the first points show the unit."""
USUAL_SCATTER = 0.03
"""Relative scatter of a logged loss that is expected before seeing any."""
WEIGHT = 4.0
"""Lines that the expectation counts for."""
MOST_DECIMALS = 5
"""Decimals from which on the rounding of a log does not matter."""
MANY = 100
"""Lines from which on spikes of up to five lines are told from the slow curve; below it of up to three."""
FEW = 6
"""Second differences that say nothing of the scatter."""
DEGREES = 4.0
"""Degrees of freedom of Student's t: how heavy the tails of the scatter are."""


@dataclass(frozen=True, eq=False)
class Series:
    """Logarithms of the usable losses, and blocks of them."""

    rows: NDArray[np.int64]
    """(points,): index of each usable row in the curve."""
    steps: Array
    """(points,): optimizer steps."""
    logs: Array
    """(points,): log of the loss, with smoothing undone."""
    expected: Array
    """(points,): log of the forecast."""
    slow: Array
    """(points,): running median of `logs` less the forecast, plus the forecast."""
    scale: Array
    """(points,): relative scatter of one line."""
    filter: Filter
    """What the log was smoothed with."""
    other_filters: tuple[Filter, ...]
    """Further filters that explain the log nearly as well."""
    dependence: Dependence
    """How much neighbouring lines depend on each other nevertheless; `scale` and `variance` contain it."""
    block_of: NDArray[np.int64]
    """(points,): the block that each row is in."""
    at: Array
    """(blocks,): mean optimizer step."""
    mean: Array
    """(blocks,): robust mean of the log loss."""
    variance: Array
    """(blocks,): variance of `mean`."""
    rounded: Array
    """(points,): relative error of a line by the rounding of the log, which undoing a filter amplifies."""
    not_finite: NDArray[np.int64]
    """Steps of rows without a finite loss."""

    @property
    def smoothed(self) -> bool:
        """Whether the lines are not what the steps had, recognised or not."""
        return bool(self.filter.words) or self.dependence.found

    @property
    def away(self) -> Array:
        """(points,): distance from the slow curve in scales."""
        return np.asarray((self.logs - self.slow) / self.scale)


def prepare(curve: Curve, forecast_logs: Array, filter_: Filter | None = None) -> Series:
    """Make a curve ready.

    Args:
        curve: the curve.
        forecast_logs: (points of the curve,), the log loss under the configuration.
        filter_: what the log was smoothed with; by default it is recognised.
    """
    usable = np.isfinite(curve.losses) & (curve.losses > 0)
    rows = np.flatnonzero(usable)
    steps = curve.steps[rows].astype(np.float64)
    saved = curve.losses[rows]
    before = recognised(saved, forecast_logs[rows]) if filter_ is None else Unfiltered(filter_.undo(saved), filter_)
    losses = np.where(before.losses > 0, before.losses, saved)
    logs, expected = np.log(losses), forecast_logs[rows]
    slow = running_median(logs - expected, 7 if len(logs) < MANY else 11) + expected
    alike = dependence(logs - expected)
    scale = local_scale(logs - expected) * math.sqrt(alike.one)
    block_of = _blocks(len(rows))
    count = int(block_of[-1]) + 1 if len(rows) else 0
    away = (logs - slow) / scale
    weights = (DEGREES + 1.0) / (DEGREES + away**2) / scale**2
    total = np.bincount(block_of, weights, count)
    mean = np.bincount(block_of, weights * logs, count) / total
    # The loss has its expectation on the forecast, not its logarithm: half a variance is added.
    mean = mean + 0.5 * np.minimum(np.bincount(block_of, weights * scale**2, count) / total, 0.09)
    return Series(
        rows=rows,
        steps=steps,
        logs=logs,
        expected=expected,
        slow=slow,
        scale=scale,
        filter=before.filter,
        other_filters=before.others,
        dependence=alike,
        block_of=block_of,
        at=np.bincount(block_of, steps, count) / np.maximum(np.bincount(block_of, minlength=count), 1),
        mean=mean,
        variance=alike.mean * (DEGREES + 3.0) / (DEGREES + 1.0) / total,
        rounded=resolution(saved) / math.sqrt(12.0) * before.filter.amplifies(len(rows)) / saved,
        not_finite=curve.steps[~np.isfinite(curve.losses)],
    )


def resolution(values: Array) -> float:
    """The step of ten to which values were rounded; 0 where they were not."""
    for decimals in range(MOST_DECIMALS + 1):
        if np.abs(np.round(values, decimals) - values).max(initial=0.0) < 1e-9:
            return float(10.0**-decimals)
    return 0.0


def running_median(values: Array, width: int) -> Array:
    """Median of each value and its neighbours; narrower at the ends."""
    half = width // 2
    if len(values) < 3:
        return values.copy()
    padded = np.concatenate([np.full(half, np.nan), values, np.full(half, np.nan)])
    windows = np.lib.stride_tricks.sliding_window_view(padded, width)
    medians: Array = np.nanmedian(windows, axis=1)
    return medians


def local_scale(values: Array, expected: float = USUAL_SCATTER) -> Array:
    """Scatter of each value around a slow curve, from second differences in stretches of the curve."""
    if len(values) < 5:
        return np.full(len(values), expected)
    away = np.abs(values[2:] - 2 * values[1:-1] + values[:-2]) / math.sqrt(6.0)
    whole = _spread(away, expected, WEIGHT)
    pieces = max(1, min(8, len(away) // 25))
    centres, scales = [], []
    for part in np.array_split(np.arange(len(away)), pieces):
        centres.append(float(part.mean()) + 1.0)
        scales.append(math.log(_spread(away[part], whole, 8.0)))
    found: Array = np.exp(np.interp(np.arange(len(values)), centres, scales))
    return found


def _spread(away: Array, expected: float, weight: float) -> float:
    """Standard deviation from absolute second differences, drawn towards an expected one."""
    found = max(1.4826 * float(np.median(away)), 1e-6)
    # Of n overlapping second differences about half are independent; those of few lines are curvature, not scatter.
    own = max(len(away) - FEW, 0) / 2.0
    return math.sqrt((own * found**2 + weight * expected**2) / (own + weight))


def _blocks(points: int) -> NDArray[np.int64]:
    """The block of each point: all equal in number of points, but short ones at the beginning."""
    if points <= BLOCKS:
        return np.arange(points)
    even = np.linspace(0, points, BLOCKS - EARLY + 1)
    early = np.geomspace(1, even[1], EARLY)
    edges = np.unique(np.concatenate([[0], early, even[1:]]).astype(np.int64))
    found: NDArray[np.int64] = np.searchsorted(edges, np.arange(points), side="right") - 1
    return found
