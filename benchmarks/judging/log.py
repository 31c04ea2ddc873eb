"""From a draft to the log that its program would have written: noise, the unit, the way of logging, CSV."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from judging.draft import Draft
from judging.expected import Array
from judging.setting import Random, Steps

LOGGERS = {"plain": 0.62, "running mean": 0.11, "exponential": 0.1, "cumulative mean": 0.04, "thinned": 0.13}
"""How losses get into a log, and how often: `exponential` as the smoothed columns of W&B and TensorBoard."""


@dataclass(frozen=True, eq=False)
class Log:
    """The columns of a log."""

    steps: Steps
    losses: Array
    """NaN where the run broke."""
    held_out: Array | None
    """NaN where there was no evaluation; None without the column."""

    def csv(self) -> str:
        """The text of the file."""
        names = "step,loss" if self.held_out is None else "step,loss,val_loss"
        lines = [names]
        for i, (step, loss) in enumerate(zip(self.steps, self.losses, strict=True)):
            cells = [str(int(step)), "nan" if np.isnan(loss) else f"{loss:.10g}"]
            if self.held_out is not None:
                cells.append("" if np.isnan(self.held_out[i]) else f"{self.held_out[i]:.8g}")
            lines.append(",".join(cells))
        return "\n".join(lines) + "\n"


def draw_logger(draft: Draft) -> tuple[str, int | None]:
    """Name of the way of logging, and decimals to which it rounds. Coarse rounding widens the scatter of the draft."""
    name = str(draft.random.choice(list(LOGGERS), p=list(LOGGERS.values())))
    digits = int(draft.random.choice([2, 3, 4])) if draft.random.random() < 0.2 else None
    least = float(draft.mean.min()) * draft.unit
    if digits is not None and least > 0:
        digits = max(digits, int(np.ceil(-np.log10(least))) + 1)  # a program shows at least two digits
        draft.sd = np.hypot(draft.sd, 10.0**-digits / np.sqrt(12.0) / (draft.mean * draft.unit))
    draft.facts["logger"] = name if digits is None else f"{name}, {digits} decimals"
    return name, digits


def write_log(draft: Draft, logger: str, digits: int | None) -> Log:
    """Draw the noise, and log the losses."""
    random = draft.random
    losses = draft.mean * draft.unit * _noise(random, draft.sd, draft.tails)
    losses[draft.missing] = np.nan
    losses, keep = _logged(random, losses, logger)
    held_out = None
    if draft.validation is not None:
        validation = draft.validation
        held_out = np.full(draft.points, np.nan)
        noise = _noise(random, np.full(len(validation.at), validation.sd), np.inf)
        held_out[validation.at] = validation.mean[validation.at] * draft.unit * noise
        held_out[draft.missing] = np.nan
        held_out = held_out[keep]
    if digits is not None:
        losses = np.maximum(np.round(losses, digits), 10.0**-digits)
    return Log(draft.setting.steps[keep], losses[keep], held_out)


def _noise(random: Random, sd: Array, tails: float) -> Array:
    """Factors around 1 whose logarithm has the scale `sd`, (points,)."""
    if np.isinf(tails):
        return np.asarray(np.exp(sd * random.standard_normal(len(sd)) - sd**2 / 2.0))
    return np.asarray(np.exp(np.clip(sd * random.standard_t(tails, len(sd)), -2.0, 2.0)))


def _logged(random: Random, losses: Array, logger: str) -> tuple[Array, NDArray[np.bool_]]:
    """The losses as logged, and which rows are kept. Filters pass over rows that are not finite."""
    keep = np.ones(len(losses), bool)
    if logger == "thinned":
        keep = random.random(len(losses)) < random.uniform(0.5, 0.95)
        keep[[0, -1]] = True
        return losses, keep
    finite = np.isfinite(losses)
    values = losses[finite]
    out = losses.copy()
    if logger == "running mean" and len(values):
        width = int(random.integers(3, 21))
        sums = np.concatenate([[0.0], np.cumsum(values)])
        ends = np.arange(1, len(values) + 1)
        starts = np.maximum(ends - width, 0)
        out[finite] = (sums[ends] - sums[starts]) / (ends - starts)
    elif logger == "exponential" and len(values):
        decay = random.choice([0.6, 0.8, 0.9, 0.95, 0.97])
        total = mass = 0.0
        smooth = []
        for value in values:
            total, mass = decay * total + (1 - decay) * value, decay * mass + (1 - decay)
            smooth.append(total / mass)
        out[finite] = smooth
    elif logger == "cumulative mean":
        out[finite] = np.cumsum(values) / np.arange(1, len(values) + 1)
    return out, keep
