"""The training that a curve comes from: its configuration, its data, the steps of its log, how it learns."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from judging.expected import Array, Expected, Trainer, expected
from sedd.config.config import Config
from sedd.data.statistics import DataStatistics
from sedd.diagnosis.api import load_without_advice
from sedd.plugins.checked import checked_difficulty

Random = np.random.Generator
Steps = NDArray[np.int64]
INTERVALS = np.array([1, 2, 5, 10, 20, 25, 50, 100, 125, 200, 250, 500, 1000, 2000, 2500, 5000])
PRESETS = {"uniref50_stable": 0.34, "uniref50_aggressive": 0.22, "uniref50": 0.2, "small": 0.12, "quickstart": 0.12}
TEXT = 27
"""Symbols of a text of small letters and spaces."""


def log_uniform(random: Random, low: float, high: float) -> float:
    """A draw whose logarithm is uniform."""
    return float(np.exp(random.uniform(np.log(low), np.log(high))))


@lru_cache(maxsize=16)
def config_of(overrides: tuple[str, ...]) -> Config:
    """The configuration of a preset and overrides; configurations are frozen."""
    return load_without_advice(*overrides)


@dataclass(frozen=True, eq=False)
class Setting:
    """How a curve came about. Arrays are (points,)."""

    stated: tuple[str, ...]
    """Preset and overrides of the configuration that the judge is given."""
    true: tuple[str, ...]
    """Those of the trainer."""
    trainer: Trainer
    tokens: Array
    """(n,): token frequencies of the data."""
    steps: Steps
    frequencies: Array
    """Share of the token frequencies that is learnt."""
    beyond: Array
    """Share of the context that is learnt, times what there is to learn."""
    facts: dict[str, Any]
    clock: Steps | None = None
    """Steps of the curriculum's clock, if they differ."""

    def config(self, *, stated: bool = False) -> Config:
        """The configuration of the trainer, or the one stated."""
        return config_of(self.stated if stated else self.true)

    def difficulty(self, *, stated: bool = False) -> Array:
        """Difficulty at each point."""
        curriculum = self.config(stated=stated).curriculum
        clock = self.steps if stated or self.clock is None else self.clock
        return np.array([checked_difficulty(curriculum, int(step)) for step in clock])

    def expected(self, *, stated: bool = False, trainer: Trainer | None = None) -> Expected:
        """What fixed predictors have at each point."""
        config, difficulty = self.config(stated=stated), self.difficulty(stated=stated)
        return expected(config, difficulty, trainer or self.trainer, self.tokens)

    def effective(self) -> Array:
        """Steps at the full learning rate that the model has seen at each point."""
        warmup = max(self.config().optim.warmup, 1)
        s = self.steps.astype(float)
        return np.where(s < warmup, s**2 / (2 * warmup), s - warmup / 2)


def draw_setting(random: Random, *, points: int | None = None, trainer: Trainer | None = None) -> Setting:
    """A healthy training, drawn at random."""
    stated, ramp = _draw_config(random)
    absorb = "graph.type=uniform" not in stated
    config = config_of(stated)
    if trainer is None:
        scale = absorb and config.curriculum.mode == "scale"
        trainer = "mismatched" if scale and random.random() < 0.12 else "consistent"
    count = points or int(np.clip(np.exp(random.normal(np.log(230), 0.75)), 8, 2000))
    steps = _draw_steps(random, count, ramp)
    longest = max(int(steps[-1]) + 1, config.training.n_iters)
    stated = (*stated, f"training.n_iters={longest}")
    tokens, source = _draw_tokens(random)
    setting = Setting(stated, stated, trainer, tokens, steps, np.zeros(0), np.zeros(0), {"data": source})
    return _draw_learning(random, setting)


def with_true(setting: Setting, *overrides: str) -> Setting:
    """The same training with another configuration than the one stated."""
    kept = setting.true
    if any(override.startswith("curriculum.difficulty_ramp=") for override in overrides):
        kept = tuple(key for key in kept if not key.startswith("curriculum.rate="))  # other ramps have no rate
    return replace(setting, true=(*kept, *overrides))


def _draw_config(random: Random) -> tuple[tuple[str, ...], int]:
    preset = str(random.choice(list(PRESETS), p=list(PRESETS.values())))
    own = config_of((preset, "data.train=YOUR.fasta.gz"))
    overrides = ["data.train=YOUR.fasta.gz"]
    ramp = own.curriculum.preschool_time
    if random.random() < 0.5:
        ramp = int(float(f"{ramp * log_uniform(random, 0.2, 5):.1g}"))
        overrides.append(f"curriculum.preschool_time={ramp}")
    if random.random() < 0.35:
        kind = str(random.choice(["linear", "cosine", "exponential", "constant"], p=[0.3, 0.3, 0.2, 0.2]))
        overrides.append(f"curriculum.difficulty_ramp={kind}")
        if kind == "exponential" and random.random() < 0.5:
            overrides.append(f"curriculum.rate={random.choice([2, 4, 5])}")
    if random.random() < 0.3:
        overrides.append(f"curriculum.min_difficulty={random.choice([0.05, 0.1, 0.2, 0.3, 0.5])}")
    if random.random() < 0.25:
        overrides.append(f"noise.sigma_max={random.choice([0.3, 0.5, 0.8, 1.0, 2.0, 6.9])}")
    if random.random() < 0.2:
        overrides.append(f"curriculum.mode={random.choice(['scale', 'truncate', 'bias'], p=[0.4, 0.4, 0.2])}")
    if random.random() < 0.12:
        overrides.append("graph.type=uniform")
    return (preset, *overrides), max(ramp, 50)


def _draw_steps(random: Random, count: int, ramp: int) -> Steps:
    """Steps of the log: it ends inside the ramp or long after it, and begins at 0 or later."""
    horizon = ramp * log_uniform(random, 0.4, 8.0)
    interval = int(INTERVALS[np.abs(np.log(INTERVALS * count / horizon)).argmin()])
    first = 0 if random.random() < 0.7 else int(random.uniform(0.05, 0.7) * horizon) // interval * interval
    steps = first + interval * np.arange(count)
    if random.random() < 0.3:
        steps = steps + interval  # many programs log nothing at step 0
    return np.asarray(steps, np.int64)


def _draw_tokens(random: Random) -> tuple[Array, str]:
    """Token frequencies: mostly those of proteins in general, as the judge assumes them."""
    usual = DataStatistics.usual(config_of(("uniref50_stable",))).frequencies
    which = random.random()
    if which < 0.7:
        return usual, "proteins"
    if which < 0.9:
        own = usual ** random.uniform(0.4, 1.5) * np.exp(random.normal(0, 0.15, len(usual)))
        return np.asarray(own / own.sum()), "a protein family or synthetic sequences"
    zipf = np.exp(random.normal(0, 0.3, TEXT)) / np.arange(2, TEXT + 2) ** random.uniform(0.8, 1.1)
    return np.asarray(zipf / zipf.sum()), "text of 27 symbols"


def _draw_learning(random: Random, setting: Setting) -> Setting:
    s, last = setting.effective(), float(setting.steps[-1])
    slow = min(4000.0, 0.25 * last)
    tau = log_uniform(random, min(30.0, slow / 2), slow)
    frequencies = -np.expm1(-s / tau)
    most = random.uniform(0, 0.25) if random.random() < 0.8 else 0.0
    tau_beyond, power = log_uniform(random, 3 * tau, 60 * tau), random.uniform(0.3, 1.0)
    delay = random.uniform(0, 6) * tau
    beyond = most * (1.0 - (1.0 + np.maximum(s - delay, 0.0) / tau_beyond) ** -power)
    if random.random() < 0.15:  # attention that begins to contribute all at once
        late = random.uniform(0.1, 0.7) * last
        beyond = beyond + 0.12 * random.random() / (1 + np.exp(-(setting.steps - late) / (0.03 * last)))
    facts = setting.facts | {"tau": round(tau), "most": round(float(most), 3)}
    return replace(setting, frequencies=np.asarray(frequencies), beyond=np.asarray(beyond), facts=facts)
