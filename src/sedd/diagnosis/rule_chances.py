"""How often the rules of `monitoring` fire by chance in a run in which the model does not change.

Simulated: the logged losses of a fixed predictor under the curriculum, with the Monte Carlo error of the noise draws
(`sedd.diagnosis.step_scatter`). Rules look at neighbouring lines together, so that their windows are correlated. Each
rule is applied to these losses as it stands in the configuration, without a test for Monte Carlo error. A rule fires by
chance where it does not fire on the expected losses.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from sedd.config.config import Config
from sedd.data.statistics import DataStatistics
from sedd.diagnosis.predictors import Predictor
from sedd.diagnosis.rises import RISE_STEPS, rise_window
from sedd.diagnosis.step_scatter import losses_of_steps
from sedd.diffusion.graphs import Graph
from sedd.diffusion.schedule import Schedule

Array = NDArray[np.float64]
Fires = NDArray[np.bool_]

POOLED = 3
"""Lines whose mean is each end of a rise."""
SPAN, SHORTEST = 20, 10
"""Lines over which an oscillation is measured: the last 20, and at least 10 where there are fewer."""
LEVELS = 9
"""Difficulties at which the draws are simulated."""
STEPS, MEANS = 400, 2000
"""Optimizer steps that are simulated at each difficulty, and means over the steps of a line that are made of them."""
LARGEST_MEAN = 1000
"""Steps of the largest mean that is drawn; the scatter of larger ones follows from it."""
BUDGET, MOST_RUNS, LEAST_RUNS = 1_000_000, 400, 20
"""Lines in all simulated runs, and the number of runs."""


@dataclass(frozen=True)
class RuleChance:
    """How often a rule fires by chance alone in one run."""

    rule: str
    """Its key in `monitoring`."""
    limit: float
    """Its value."""
    times: float
    """Mean number of times that it starts to fire."""
    fewest: float
    """Number of times that 2.5 % of the simulated runs do not exceed."""
    most: float
    """Number of times that 97.5 % of the simulated runs do not exceed."""
    share: float
    """Share of the runs in which it fires at least once."""
    runs: int
    """Number of simulated runs."""


@dataclass(frozen=True, eq=False)
class ExpectedLines:
    """The lines of a metrics file as they are expected: without any noise."""

    steps: NDArray[np.int64]
    """(lines,): the last optimizer step of each."""
    levels: NDArray[np.int64]
    """(lines,): index into `difficulties`."""
    difficulties: Array
    """The difficulties at which the scatter is simulated."""
    losses: Mapping[str, Array]
    """(lines,) for each predictor, nats per residue."""

    @staticmethod
    def of(config: Config, predictors: Mapping[str, Predictor]) -> ExpectedLines:
        """The lines of a run with this configuration."""
        every, schedule = config.training.log_every, Schedule(config)
        steps = np.arange(every, config.training.n_iters + 1, every)
        settings = [schedule.at(max(0, step - every // 2 - 1)) for step in steps.tolist()]  # in the middle of a line
        difficulty = np.array([setting.difficulty for setting in settings])
        difficulties = np.unique(np.linspace(difficulty.min(initial=1.0), difficulty.max(initial=0.0), LEVELS))
        losses = {
            name: np.array([predictor.loss(setting.mask_low, setting.mask_high) for setting in settings])
            for name, predictor in predictors.items()
        }
        return ExpectedLines(steps, np.abs(difficulty[:, None] - difficulties).argmin(1), difficulties, losses)


def rule_chances(
    config: Config, graph: Graph, statistics: DataStatistics, predictors: Mapping[str, Predictor]
) -> tuple[RuleChance, ...]:
    """The chances of `max_rise`, `max_loss` and `max_oscillation`.

    Rises and oscillations are those of the predictor `unigram`, losses those of `untrained`, where a run begins.
    """
    lines = ExpectedLines.of(config, {name: predictors[name] for name in ("unigram", "untrained")})
    count, rules = len(lines.steps), config.monitoring
    if not count:
        return ()
    noise = [
        _relative_means(losses_of_steps(config, graph, statistics, level, steps=STEPS), config.training.log_every)
        for level in lines.difficulties.tolist()
    ]
    random = np.random.default_rng(0)
    window = rise_window(config)
    tests: dict[str, tuple[str, float, Callable[[Array], Fires]]] = {
        "max_rise": ("unigram", rules.max_rise, lambda losses: rises(lines.steps, losses, window) > rules.max_rise),
        "max_loss": ("untrained", rules.max_loss, lambda losses: losses > rules.max_loss),
        "max_oscillation": ("unigram", rules.max_oscillation, lambda losses: scatters(losses) > rules.max_oscillation),
    }
    expected = {name: test(lines.losses[predictor]) for name, (predictor, _, test) in tests.items()}
    runs = min(MOST_RUNS, max(LEAST_RUNS, BUDGET // count))
    times: dict[str, list[int]] = {name: [] for name in tests}
    for _ in range(runs):
        drawn = np.stack(noise)[lines.levels, random.integers(0, MEANS, count)]
        for name, (predictor, _, test) in tests.items():
            times[name].append(starts(test(lines.losses[predictor] * drawn), expected[name]))
    return tuple(
        RuleChance(
            rule=name,
            limit=tests[name][1],
            times=float(np.mean(counts)),
            fewest=float(np.quantile(counts, 0.025)),
            most=float(np.quantile(counts, 0.975)),
            share=float(np.mean(np.array(counts) > 0)),
            runs=runs,
        )
        for name, counts in times.items()
    )


def starts(fires: Fires, expected: Fires) -> int:
    """How often a rule starts to fire, (lines,), at lines where it is not `expected` to fire without noise."""
    before = np.concatenate([[False], fires[:-1]])
    return int((fires & ~before & ~expected).sum())


def rises(steps: NDArray[np.int64], losses: Array, window: int) -> Array:
    """The climb of the loss up to each line, nats per residue per 1,000 optimizer steps; -inf where none is measured.

    The mean of the last lines less that of as many lines from the latest line on that is `window` steps older.
    """
    climbs = np.full(len(losses), -np.inf)
    if len(losses) < POOLED:
        return climbs
    means = sliding_window_view(losses, POOLED).mean(1)  # entry i: lines i to i + POOLED - 1
    start = np.searchsorted(steps, steps - window, side="right") - 1
    last = np.arange(len(losses))
    known = (start >= 0) & (last + 1 - start > 2 * POOLED)
    distance = steps[known] - steps[start[known]]
    climbs[known] = (means[last[known] + 1 - POOLED] - means[start[known]]) * RISE_STEPS / distance
    return climbs


def scatters(losses: Array) -> Array:
    """The scatter of the loss around the line between neighbours, over the last `SPAN` lines up to each, as a share of
    their mean; 0 where fewer than `SHORTEST` lines are logged."""
    found = np.zeros(len(losses))
    for end in range(SHORTEST, min(SPAN, len(losses) + 1)):
        found[end - 1] = _scatter(losses[None, :end])[0]
    if len(losses) >= SPAN:
        found[SPAN - 1 :] = _scatter(sliding_window_view(losses, SPAN))
    return found


def _scatter(windows: Array) -> Array:
    # The deviation from the mean of both neighbours has the variance 1 + 1/4 + 1/4 of independent values.
    around = windows[:, 1:-1] - (windows[:, 2:] + windows[:, :-2]) / 2
    return np.asarray(around.std(1) / math.sqrt(1.5) / np.maximum(np.abs(windows.mean(1)), 1e-12))


def _relative_means(losses: Array, count: int) -> Array:
    """Means of `count` independent draws from the losses of single steps, relative to their mean, (MEANS,)."""
    drawn = min(count, LARGEST_MEAN)
    random = np.random.default_rng(0)
    means = np.array([losses[random.integers(0, len(losses), drawn)].mean() for _ in range(MEANS)])
    relative: Array = 1.0 + (means / max(losses.mean(), 1e-12) - 1.0) * math.sqrt(drawn / count)
    return relative
