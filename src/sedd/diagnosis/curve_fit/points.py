"""The likeliest model of one kind: unit, learning and disturbance, with errors."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sedd.diagnosis.curve_fit.evidence import Base, Whitened, impossible
from sedd.diagnosis.curve_fit.shapes import Disturbances, Learning
from sedd.diagnosis.curve_fit.units import Unit

Array = NDArray[np.float64]


def _above_zero(mean: float, spread: float) -> tuple[float, float, float]:
    """Mean and variance of a Gaussian cut off at 0, and the log of the share that is left."""
    z = min(max(mean / spread, -30.0), 30.0)
    share = max(0.5 * math.erfc(-z / math.sqrt(2.0)), 1e-200)
    ratio = math.exp(-0.5 * z * z) / math.sqrt(2 * math.pi) / share
    return mean + spread * ratio, spread**2 * max(1.0 - ratio * (ratio + z), 1e-6), math.log(share)


DOUBT = 1.3
"""Factor on the error of what was learnt: no real learning has exactly one of the forms."""


@dataclass(frozen=True)
class Point:
    """The likeliest model of one kind, with the errors of its coefficients."""

    log_factor: float
    log_factor_error: float
    learnt: float
    """Learning at the last step, in the log of the loss."""
    learnt_error: float
    change: float
    """Size of the disturbance; 0 without one."""
    change_error: float
    chosen: tuple[int, ...]
    amounts: tuple[float, ...]
    disturbance: int | None

    def mean(self, learning: Learning, disturbances: Disturbances) -> Array:
        """log(loss / uniform predictor) at the blocks."""
        found = np.full(learning.columns.shape[1], self.log_factor)
        for i, amount in zip(self.chosen, self.amounts, strict=True):
            found = found - amount * learning.columns[i]
        if self.disturbance is not None:
            found = found + self.change * disturbances.columns[self.disturbance]
        return found


def point(white: Whitened, unit: Unit, setting: int, disturbance: int | None, learnt_from: float = 0.0) -> Point:
    """The likeliest learning under one setting, unit and disturbance, averaged over the forms of learning.

    Only forms in which at least `learnt_from` is learnt at the end count, unless there is none.
    """
    learning, first = white.learning, 1 + len(white.learning.columns)
    one = white.among([setting])
    entries = []
    for chosen, log_prior in zip(learning.sets, learning.log_prior, strict=True):
        index = [0, *(1 + i for i in chosen), *([] if disturbance is None else [first + disturbance])]
        model = Base.of(one, unit, index)
        values = model.found[:, 0].copy()
        amounts = values[1 : 1 + len(chosen)]
        if ((amounts < 0).any() and len(chosen) > 1) or impossible(unit, values[:1])[0]:
            continue
        weights = np.zeros(len(index))
        weights[1 : 1 + len(chosen)] = learning.end[list(chosen)]
        log = float(one.density(model.misfit)[0]) + model.volume + log_prior
        spread, learnt = float(weights @ model.inverse @ weights), float(weights @ values)
        if len(chosen) == 1:  # what was learnt is not below 0
            learnt, spread, share = _above_zero(learnt, math.sqrt(max(spread, 1e-18)))
            values[1] = learnt / max(float(learning.end[chosen[0]]), 1e-9)
            log += share
        entries.append((log, values, chosen, learnt, spread, model.inverse))
    entries = [entry for entry in entries if entry[3] >= learnt_from] or entries
    if not entries:  # nothing is possible: the model without learning
        return point_without(one, unit, disturbance)
    logs_ = np.array([entry[0] for entry in entries])
    share = np.exp(logs_ - logs_.max())
    share /= share.sum()
    _, values, chosen, _, _, covariance = entries[int(share.argmax())]
    learnt = sum(w * entry[3] for w, entry in zip(share, entries, strict=True))
    spread = sum(w * (entry[4] + (entry[3] - learnt) ** 2) for w, entry in zip(share, entries, strict=True))
    factor = sum(w * float(entry[1][0]) for w, entry in zip(share, entries, strict=True))
    doubt = sum(w * (float(entry[1][0]) - factor) ** 2 for w, entry in zip(share, entries, strict=True))
    return Point(
        log_factor=float(values[0]),
        log_factor_error=math.sqrt(max(float(covariance[0, 0]), 0.0) + doubt + (float(values[0]) - factor) ** 2),
        learnt=float(learnt),
        learnt_error=DOUBT * math.sqrt(max(float(spread), 0.0)),
        change=0.0 if disturbance is None else float(values[-1]),
        change_error=0.0 if disturbance is None else DOUBT * math.sqrt(max(float(covariance[-1, -1]), 0.0)),
        chosen=chosen,
        amounts=tuple(float(x) for x in values[1 : 1 + len(chosen)]),
        disturbance=disturbance,
    )


def point_without(white: Whitened, unit: Unit, disturbance: int | None) -> Point:
    """The model that learns nothing."""
    first = 1 + len(white.learning.columns)
    model = Base.of(white, unit, [0, *([] if disturbance is None else [first + disturbance])])
    change = 0.0 if disturbance is None else float(model.found[-1, 0])
    error = 0.0 if disturbance is None else math.sqrt(max(float(model.inverse[-1, -1]), 0.0))
    spread = math.sqrt(max(float(model.inverse[0, 0]), 0.0))
    return Point(float(model.found[0, 0]), spread, 0.0, spread, change, error, (), (), disturbance)
