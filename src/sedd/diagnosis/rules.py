"""The rules of `monitoring` that users set on the training loss: climb, size, scatter.

A rule that is broken because of Monte Carlo error alone raises no alarm; it is counted. One that is broken because of
the curriculum is worth knowing. Whether the model is to blame is for the judge to say, who tests it.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field

import numpy as np

from sedd.config.config import Config
from sedd.diagnosis.attribution import attribute
from sedd.diagnosis.predictors import Predictor
from sedd.diagnosis.rises import RISE_STEPS, rise_window
from sedd.diffusion.loss_profile import LossProfile
from sedd.runs.metrics import TrainRecord

Lines = list[TrainRecord]
Predictors = Mapping[str, Predictor]

RECENT = 3
"""Lines that are pooled at each end of a climb."""
SCATTER_LINES = 20
"""Lines on which the scatter is measured."""
OVER_UNTRAINED = 1.04
"""Loss over that of an untrained model from which a loss over the limit is not what the curriculum implies."""


@dataclass(frozen=True)
class Broken:
    """A rule that the last lines break, and why."""

    rule: str
    """`max_rise`, `max_loss` or `max_oscillation`."""
    by_curriculum: bool
    """Whether the curriculum explains it; otherwise Monte Carlo error does."""
    message: str = ""
    numbers: Mapping[str, float] = field(default_factory=dict)


def max_rise(config: Config, lines: Lines, _: Predictors, known: Collection[str]) -> Broken | None:
    """The loss climbs faster than `monitoring.max_rise`, in nats per residue per 1,000 steps."""
    limit = config.monitoring.max_rise
    start = bisect_right(lines, lines[-1].step - rise_window(config), key=lambda line: line.step) - 1
    if start < 0 or len(lines) - start <= 2 * RECENT:
        return None
    first, last, distance = lines[start : start + RECENT], lines[-RECENT:], lines[-1].step - lines[start].step
    per_1000 = (_mean_loss(last) - _mean_loss(first)) * RISE_STEPS / distance
    if per_1000 <= limit:
        return None
    if "max_rise" in known:  # the reason is known, and costs more than all else
        return Broken("max_rise", by_curriculum=True)
    split = attribute(_total(first), _total(last), first=lines[start].step, last=lines[-1].step)
    numbers = {"per_1000": per_1000, "difficulty": split.difficulty, "learning": split.learning, "draw": split.draw}
    if split.difficulty < max(split.learning, split.draw):
        return Broken("max_rise", by_curriculum=False, numbers=numbers)
    message = (
        f"the loss climbs by {per_1000:.2f} nats per 1,000 steps (limit {limit:g}); from step {split.first:,}: "
        f"difficulty {split.difficulty:+.3f}, learning {split.learning:+.3f}, Monte Carlo error {split.draw:+.3f}"
    )
    return Broken("max_rise", by_curriculum=True, message=message, numbers=numbers | {"since": float(split.first)})


def max_loss(config: Config, lines: Lines, predictors: Predictors, _: Collection[str]) -> Broken | None:
    """The loss is over `monitoring.max_loss`, nats per residue."""
    line, limit = lines[-1], config.monitoring.max_loss
    if line.loss <= limit:
        return None
    over_untrained = over(predictors, "untrained", line.bins)
    numbers = {"loss": line.loss, "since": float(line.step)}
    if over_untrained > OVER_UNTRAINED or line.bins.drawn.sum() > 1.2 * line.bins.expected.sum():
        return Broken("max_loss", by_curriculum=False, numbers=numbers)
    message = (
        f"the loss is {line.loss:.2f} (limit {limit:g}); an untrained model would have "
        f"{line.loss / over_untrained:.2f} with the same masks"
    )
    return Broken("max_loss", by_curriculum=True, message=message, numbers=numbers | {"over_untrained": over_untrained})


def max_oscillation(config: Config, lines: Lines, _: Predictors, __: Collection[str]) -> Broken | None:
    """The loss scatters by more than `monitoring.max_oscillation` from line to line: the drawn mask rates do."""
    recent = [line.loss for line in lines[-SCATTER_LINES:]]
    if len(recent) < SCATTER_LINES or scatter(np.array(recent)) <= config.monitoring.max_oscillation:
        return None
    return Broken("max_oscillation", by_curriculum=False, numbers={"scatter": scatter(np.array(recent))})


RULES: tuple[Callable[[Config, Lines, Predictors, Collection[str]], Broken | None], ...] = (
    max_rise,
    max_loss,
    max_oscillation,
)
"""Each looks at the lines up to the last one, and is given the rules whose breach by the curriculum is known."""


def over(predictors: Mapping[str, Predictor], name: str, bins: LossProfile) -> float:
    """The loss of lines over that of a predictor at the same mask rates; NaN where it is unknown."""
    predictor = predictors.get(name)
    if predictor is None:
        return math.nan
    return float(bins.loss.sum() / max(float(bins.drawn @ predictor.values), 1e-12))


def scatter(values: np.ndarray) -> float:
    """Standard deviation around the line between neighbours, as a share of the mean."""
    around = values[1:-1] - (values[2:] + values[:-2]) / 2
    return float(around.std() / math.sqrt(1.5) / max(abs(values.mean()), 1e-12))


def _mean_loss(lines: list[TrainRecord]) -> float:
    return sum(line.loss * line.bins.residues for line in lines) / sum(line.bins.residues for line in lines)


def _total(lines: list[TrainRecord]) -> LossProfile:
    return sum((line.bins for line in lines), LossProfile())
