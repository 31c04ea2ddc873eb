"""The settings that a curve may have been trained with: those of the configuration, and what else is plausible."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from sedd.diagnosis.curve_fit import trainers
from sedd.diagnosis.curve_fit.trainers import Trainer
from sedd.diagnosis.forecast import Forecast
from sedd.diffusion.noising import Mode
from sedd.plugins.checked import checked_difficulty
from sedd.plugins.contracts import Curriculum, Noise
from sedd.plugins.curricula import Exponential

Array = NDArray[np.float64]
Height = Callable[[Array], Array]

FACTORS = tuple(float(x) for x in np.geomspace(0.1, 10.0, 61))
"""`preschool_time` over that of the configuration."""
ROUND = (0.1, 0.2, 0.25, 0.5, 2.0, 4.0, 5.0, 10.0)
"""Factors that are likelier than others."""
SIGMAS = (0.2, 0.3, 0.4, 0.5, 0.6, 0.8, 1.0, 1.5, 2.0, 3.0, 5.0, 6.907755, 20.0)
LEAST_DIFFICULTIES = (0.01, 0.02, 0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.7)
RATES = (1.0, 1.5, 2.0, 2.5, 3.0, 4.0, 5.0, 6.0, 8.0)
"""Rates of the exponential ramp."""
RESTARTS = 48
"""Steps at which a restarted clock is tried."""
_PRIOR: dict[Trainer, float] = {
    "consistent": math.log(0.8), "mismatched": math.log(0.2), "unweighted": math.log(0.45), "masked": math.log(0.2),
    "unweighted mean": math.log(0.15), "masked weights": math.log(0.1), "twice": math.log(0.1),
}  # fmt: skip
"""Weights within the trainers of weighted losses, and within those of other losses."""
WEIGHTED: frozenset[Trainer] = frozenset({"consistent", "mismatched"})
"""Trainers whose loss is nats per residue of a weighted loss."""


@dataclass(frozen=True, eq=False)
class Setting:
    """One way to train: a trainer, a curriculum, a noise schedule."""

    trainer: Trainer
    changes: dict[str, str] = field(default_factory=dict)
    """Keys of the configuration with other values; empty: as configured."""
    ramp: Height = field(default=lambda steps: np.ones_like(steps), repr=False)
    """Difficulty at optimizer steps."""
    table: Array = field(default_factory=lambda: np.zeros(0), repr=False)
    """Log loss of the uniform predictor by difficulty, nats per residue; see `trainers.at`."""
    restart: int | None = None
    """Step at which the clock of the curriculum began again; None: it did not."""
    log_prior: float = 0.0
    """Log of the weight among settings of the same kind."""
    noise: Noise | None = None
    """The noise schedule; None: that of the configuration."""
    mode: Mode | None = None
    """The mode of the curriculum; None: that of the configuration."""
    left_open: bool = False
    """Whether the configuration leaves open what is in `changes`, and so agrees with it."""

    @property
    def as_configured(self) -> bool:
        """Whether every setting is that of the configuration."""
        return self.restart is None and (self.left_open or not self.changes)

    def difficulty(self, steps: Array) -> Array:
        """Difficulty at optimizer steps."""
        clock = steps if self.restart is None else np.where(steps >= self.restart, steps - self.restart, steps)
        return self.ramp(clock)

    def log_loss(self, steps: Array) -> Array:
        """Log loss of the uniform predictor at optimizer steps."""
        return trainers.at(self.table, self.difficulty(steps))

    @property
    def words(self) -> str:
        """What differs from the configuration, in words."""
        parts = [f"{key}={value}" for key, value in self.changes.items()]
        if self.restart is not None:
            parts.append(f"the clock of the curriculum began again at about step {self.restart:,}")
        return " and ".join(parts)


class Tables:
    """Log losses of the uniform predictor by difficulty, computed once for each trainer, noise and mode."""

    def __init__(self, forecast: Forecast) -> None:
        self.forecast, self.known = forecast, dict[tuple[str, str, str], Array]()

    def __call__(self, trainer: Trainer, noise: Noise, mode: Mode) -> Array:
        key = (trainer, noise.model_dump_json(), mode)
        if key not in self.known:
            self.known[key] = trainers.table(trainer, self.forecast.predictors["untrained"], noise, mode)
        return self.known[key]


def as_configured(forecast: Forecast) -> Setting:
    """A consistent trainer with the settings of the configuration."""
    curriculum = forecast.config.curriculum
    table = Tables(forecast)("consistent", forecast.config.noise, curriculum.mode)
    return Setting("consistent", {}, _ramp(curriculum), table)


def plausible(forecast: Forecast, steps: Array, falls: Array) -> list[Setting]:
    """All settings that compete; those of the configuration come first, for each trainer.

    `falls` are further steps at which the clock of the curriculum may have begun again.
    """
    config, tables = forecast.config, Tables(forecast)
    curriculum, noise = config.curriculum, config.noise
    has_mask = config.graph.type == "absorb"
    exists = [t for t in trainers.WORDS if trainers.exists(t, has_mask=has_mask, mode=curriculum.mode)]
    found: list[Setting] = []
    for trainer in exists:
        table = tables(trainer, noise, curriculum.mode)
        found.append(Setting(trainer, {}, _ramp(curriculum), table, log_prior=_PRIOR[trainer]))
        few = trainer not in WEIGHTED
        others = list(_other_ramps(curriculum, steps, few=few))
        if not few:
            others += _restarts(curriculum, steps, falls)
        for changes, ramp, restart, prior in others:
            open_ = set(changes) == {"curriculum.rate"} and "rate" not in curriculum.model_fields_set
            found.append(Setting(trainer, changes, ramp, table, restart, _PRIOR[trainer] + prior, left_open=open_))
    for changes, other, mode, prior in _other_noise(curriculum, noise):
        table = tables("consistent", other, mode)
        found.append(
            Setting("consistent", changes, _ramp(curriculum), table, None, _PRIOR["consistent"] + prior, other, mode)
        )
    return found


def _ramp(curriculum: Curriculum, factor: float = 1.0) -> Height:
    """Difficulty at optimizer steps, for a `preschool_time` that is `factor` times that of the curriculum."""
    end = max(1, curriculum.preschool_time)
    knots, heights = _sampled(curriculum)
    return lambda steps: np.where(steps < end * factor, np.interp(steps / factor, knots, heights), 1.0)


@lru_cache(maxsize=64)
def _sampled(curriculum: Curriculum) -> tuple[Array, Array]:
    end = max(1, curriculum.preschool_time)
    knots = np.unique(np.linspace(0, end, 513).astype(np.int64))
    return knots.astype(np.float64), np.array([checked_difficulty(curriculum, int(step)) for step in knots])


_Other = tuple[dict[str, str], Height, int | None, float]


def _other_ramps(curriculum: Curriculum, steps: Array, *, few: bool) -> Iterator[_Other]:
    """Other lengths, beginnings and shapes of the ramp."""
    last = float(steps[-1])
    if curriculum.difficulty_ramp == "constant":  # type: ignore[attr-defined]
        yield from _ramps_where_none_was(last)
        return
    base, time = _ramp(curriculum), curriculum.preschool_time
    yield {"curriculum.difficulty_ramp": "constant"}, np.ones_like, None, math.log(0.05)
    lengths = [(f, math.log(0.25 / len(FACTORS))) for f in FACTORS] + [(f, math.log(0.3 / len(ROUND))) for f in ROUND]
    for factor, prior in lengths[-len(ROUND) :] if few else lengths:
        if abs(factor - 1.0) > 0.03:
            yield {"curriculum.preschool_time": f"{_rounded(factor * time)}"}, _ramp(curriculum, factor), None, prior
    if few:
        return
    least = float(base(np.zeros(1))[0])
    for other in LEAST_DIFFICULTIES:
        if abs(other / max(least, 1e-6) - 1.0) > 0.03:
            yield (
                {"curriculum.min_difficulty": f"{other:g}"}, _lifted(base, least, other), None,
                math.log(0.15 / len(LEAST_DIFFICULTIES)),
            )  # fmt: skip
    yield from _shapes(curriculum, least)


def _shapes(curriculum: Curriculum, least: float) -> Iterator[_Other]:
    """Linear, cosine and exponential ramps. A rate that the configuration leaves open is no change of it."""
    time = max(1, curriculum.preschool_time)

    def along(shape: Height) -> Height:
        return lambda steps: least + (1.0 - least) * shape(np.clip(steps / time, 0.0, 1.0))

    name = curriculum.difficulty_ramp  # type: ignore[attr-defined]
    if name != "linear":
        yield {"curriculum.difficulty_ramp": "linear"}, along(lambda p: p), None, math.log(0.05)
    if name != "cosine":
        yield (
            {"curriculum.difficulty_ramp": "cosine"}, along(lambda p: 0.5 - 0.5 * np.cos(np.pi * p)), None,
            math.log(0.05),
        )  # fmt: skip
    for rate in RATES:
        if isinstance(curriculum, Exponential) and abs(rate / curriculum.rate - 1.0) < 0.05:
            continue
        changes = {"curriculum.rate": f"{rate:g}"}
        if name != "exponential":
            changes = {"curriculum.difficulty_ramp": "exponential", **changes}
        yield changes, along(_exponential(rate)), None, math.log(0.1 / len(RATES))


def _exponential(rate: float) -> Height:
    return lambda p: np.expm1(-rate * p) / math.expm1(-rate)


def _lifted(base: Height, least: float, other: float) -> Height:
    """The ramp with another difficulty at its beginning."""
    return lambda steps: 1.0 - (1.0 - base(steps)) * (1.0 - other) / max(1.0 - least, 1e-9)


def _ramps_where_none_was(last: float) -> Iterator[_Other]:
    """The configuration has no ramp, but the curve may have one."""
    for time in (500, 1000, 2000, 5000, 10_000, 20_000, 50_000, 100_000):
        if time < 4 * last:
            for least in (0.05, 0.1, 0.3):
                changes = {
                    "curriculum.difficulty_ramp": "linear",
                    "curriculum.preschool_time": f"{time}",
                    "curriculum.min_difficulty": f"{least:g}",
                }

                def ramp(steps: Array, time: int = time, least: float = least) -> Array:
                    return least + (1.0 - least) * np.clip(steps / time, 0.0, 1.0)

                yield changes, ramp, None, math.log(0.03)


def _restarts(curriculum: Curriculum, steps: Array, falls: Array) -> Iterator[_Other]:
    """The clock of the curriculum began again: at the first step of the log, or later."""
    if curriculum.difficulty_ramp == "constant" or len(steps) < 8:  # type: ignore[attr-defined]
        return
    base = _ramp(curriculum)
    inside = steps[int(0.02 * len(steps)) + 1 : len(steps) - max(3, len(steps) // 25)]
    at = inside[np.unique(np.linspace(0, len(inside) - 1, RESTARTS).astype(int))] if len(inside) else inside
    at = np.unique(np.concatenate([at, falls]))
    if steps[0] > 0.02 * curriculum.preschool_time:
        yield {}, base, int(steps[0]), math.log(0.1)
    for step in at:
        yield {}, base, int(step), math.log(0.2 / len(at))


def sharpest_falls(steps: Array, logs: Array, count: int = 10) -> Array:
    """The steps just after the largest falls of a log loss from one line to the next."""
    change = np.diff(logs)
    return np.asarray(steps[1:][np.argsort(change)[:count]])


def _other_noise(curriculum: Curriculum, noise: Noise) -> Iterator[tuple[dict[str, str], Noise, Mode, float]]:
    """Other values of `sigma_max` and other modes."""
    for sigma in SIGMAS:
        if abs(sigma / noise.sigma_max - 1.0) > 0.03 and sigma > noise.sigma_min:
            other = noise.model_copy(update={"sigma_max": sigma})
            yield {"noise.sigma_max": f"{sigma:g}"}, other, curriculum.mode, math.log(0.15 / len(SIGMAS))
    modes: tuple[Mode, ...] = ("scale", "truncate", "bias")
    for mode in modes:
        if mode != curriculum.mode and curriculum.difficulty_ramp != "constant":  # type: ignore[attr-defined]
            yield {"curriculum.mode": mode}, noise, mode, math.log(0.05)


def _rounded(value: float) -> int:
    """Two significant digits."""
    return int(float(f"{value:.2g}"))
