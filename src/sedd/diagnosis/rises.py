"""The steepest climb of the training loss that a curriculum alone makes."""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass

import numpy as np

from sedd.config.config import Config
from sedd.diagnosis.predictors import Array, Predictor
from sedd.diffusion.schedule import Schedule
from sedd.plugins.checked import checked_difficulty
from sedd.plugins.contracts import Curriculum

RISE_STEPS = 1000
"""Optimizer steps of the unit of a rise: nats per residue per 1,000 steps."""
GRID = 1200
"""Start steps at which the climb is evaluated."""


@dataclass(frozen=True)
class Rise:
    """The steepest climb of a forecast."""

    per_1000: float
    """Nats per residue per 1,000 optimizer steps."""
    first: int
    """Step where it begins."""
    last: int
    """Step where it ends."""


def rise_window(config: Config) -> int:
    """Optimizer steps over which a rise is measured: 1,000, or a quarter of a shorter run."""
    return max(1, min(RISE_STEPS, config.training.n_iters // 4))


def steepest_rise(config: Config, predictor: Predictor) -> Rise:
    """The largest climb of a predictor's loss over `rise_window` optimizer steps."""
    return _steepest(config.curriculum, _by_difficulty(config, predictor), rise_window(config))


def smallest_preschool_time(config: Config, predictor: Predictor, *, limit: float) -> int | None:
    """The shortest ramp of this shape on which the predictor's loss climbs no faster than `limit` per 1,000 steps.

    Two significant digits, rounded up. None where the curriculum cannot be stretched, or no length is enough.
    """
    losses, window = _by_difficulty(config, predictor), rise_window(config)

    def stretched(preschool_time: int) -> Curriculum:
        return config.curriculum.model_copy(update={"preschool_time": preschool_time})

    longest = 1 << 24
    ends = [checked_difficulty(stretched(longest), step) for step in (longest // 4, longest)]
    if not ends[0] < ends[1] == 1.0 or _steepest(stretched(longest), losses, window).per_1000 > limit:
        return None
    lengths = range(1, longest)
    shortest = 1 + bisect_left(
        lengths, True, key=lambda time: _steepest(stretched(time), losses, window).per_1000 <= limit
    )
    unit: int = 10 ** max(0, len(str(shortest)) - 2)
    return -(-shortest // unit) * unit


def _by_difficulty(config: Config, predictor: Predictor) -> tuple[Array, Array]:
    """Difficulties from 0 to 1 and the predictor's loss at each."""
    difficulties = np.linspace(0.0, 1.0, 501)
    ranges = [Schedule(config).mask_range(float(d)) for d in difficulties]
    return difficulties, np.array([predictor.loss(low, high) for low, high in ranges])


def _steepest(curriculum: Curriculum, losses: tuple[Array, Array], window: int) -> Rise:
    """The largest climb over `window` optimizer steps, per 1,000 of them."""
    starts = np.unique(np.linspace(0, max(1, curriculum.preschool_time), GRID).astype(np.int64))
    before, after = (
        np.interp([checked_difficulty(curriculum, int(step)) for step in steps], *losses)
        for steps in (starts, starts + window)
    )
    steepest = int((after - before).argmax())
    first = int(starts[steepest])
    return Rise(float(after[steepest] - before[steepest]) * RISE_STEPS / window, first, first + window)
