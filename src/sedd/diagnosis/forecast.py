"""The training loss before training: that of an untrained model and of the unigram model, at each optimizer step."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from typing import Any, Literal

from sedd.config.config import Config
from sedd.data.statistics import DataStatistics
from sedd.diagnosis.foresight import RULES, DataFacts, Foresight, foresee
from sedd.diagnosis.predictors import MOST_SYMBOLS, Predictor, both_predictors, entropy, predictable
from sedd.diagnosis.rises import Rise, smallest_preschool_time, steepest_rise
from sedd.diagnosis.step_scatter import residues_per_step, scatter
from sedd.diffusion.graphs import make_graph
from sedd.diffusion.schedule import Schedule
from sedd.errors import ConfigError
from sedd.plugins.checked import checked_difficulty

Level = Literal["above untrained", "above unigram", "below unigram", "below any known model"]

FLAT = 0.01
"""Relative change of the untrained loss below which a curriculum counts as constant."""
BEST_KNOWN = 1.85
"""Nats per masked residue of the largest protein language models with 15 % of the residues masked: ESM-2 15B has a
perplexity of 6.4 (Lin et al. 2023). With more masks any model has more."""


@dataclass(frozen=True)
class Row:
    """The forecast of one optimizer step. Losses are nats per residue."""

    step: int
    difficulty: float
    mask_rate_min: float
    """Smallest mask rate that a sequence can have."""
    mask_rate_max: float
    """Largest mask rate that a sequence can have."""
    lr: float
    untrained: float
    """Loss of an untrained model (uniform predictor)."""
    unigram: float
    """Loss of the unigram model, which predicts the token frequencies."""
    run: float | None = None
    """Loss of the trained model whose profile was given."""


@dataclass(frozen=True)
class Phase:
    """A stretch of training."""

    name: str
    first: int
    last: int
    hours: float | None
    """Duration, where the throughput is known."""


@dataclass(frozen=True, eq=False)
class Forecast:
    """The training loss that a configuration implies for fixed predictors."""

    config: Config = field(repr=False)
    statistics: DataStatistics = field(repr=False)
    """Token frequencies and mean length of the training data."""
    predictors: Mapping[str, Predictor] = field(repr=False)
    """`untrained`, `unigram`, and `run` where a trained model's profile was given."""
    rows: tuple[Row, ...]
    full: Row
    """The forecast at difficulty 1, which holds at every step without a curriculum."""
    rises: Mapping[str, Rise]
    """The steepest climb of each predictor."""
    preschool_time: int | None
    """Smallest `preschool_time` that keeps the climb of the unigram under `monitoring.max_rise`; None if none does."""
    scatter: Mapping[str, float]
    """Relative Monte Carlo error of one step's loss, at the `start` and at `full` difficulty."""
    phases: tuple[Phase, ...]
    residues_per_step: float
    throughput: float | None
    """Residues per second."""
    facts: DataFacts | None = field(default=None, repr=False)
    """What is known about the data and the network; None without data."""
    notes: tuple[str, ...] = ()
    """What was assumed about a run file of another trainer, one sentence each."""

    def loss(self, step: int, predictor: str = "unigram") -> float:
        """Expected training loss at an optimizer step, nats per residue."""
        return self.predictors[predictor].loss(*self.mask_range(step))

    def mask_range(self, step: int) -> tuple[float, float]:
        """The smallest and the largest mask rate at an optimizer step."""
        settings = Schedule(self.config).at(step)
        return settings.mask_low, settings.mask_high

    @property
    def summary(self) -> str:
        """The forecast in two plain sentences: how the loss moves if the model learns nothing, and what that means."""
        steps = default_steps(self.config)
        losses = [self.loss(step, "untrained") for step in steps]
        start, peak, end = losses[0], max(losses), losses[-1]
        if peak > (1.0 + FLAT) * start:
            return (
                f"With these settings the training loss will rise from {start:.2f} to {peak:.2f} nats per residue over "
                f"the first {steps[losses.index(peak)]:,} steps even if the model learns nothing, because the task "
                "gets harder. A rise up to these values is no sign of divergence."
            )
        if end < (1.0 - FLAT) * start:
            return (
                f"With these settings the training loss will fall from {start:.2f} to {end:.2f} nats per residue even "
                "if the model learns nothing, because the task gets easier. Such a fall is no sign of learning."
            )
        return (
            f"With these settings the task is equally hard at every step: without learning the training loss stays at "
            f"{start:.2f} nats per residue. A lasting rise above that comes from the model or the data, not from a "
            "curriculum."
        )

    @cached_property
    def before_training(self) -> tuple[Foresight, ...]:
        """What can be known before training, the rules in `monitoring` that fire although nothing is wrong included."""
        return foresee(self.config, self.statistics, self.facts, predictors=self.predictors)

    @property
    def false_alarms(self) -> list[str]:
        """The rules in `monitoring` that fire although nothing is wrong, one sentence each."""
        return [known.sentence for known in self.before_training if known.about in RULES]

    def judge(self, expected: Mapping[int, float]) -> list[str]:
        """How expected or observed losses {step: nats per residue} compare with the forecast, one sentence each."""
        return [f"step {step:,}: {loss:.4g} is {self._judge(step, loss)}" for step, loss in sorted(expected.items())]

    def level(self, step: int, loss: float) -> Level:
        """Between which predictors a loss at an optimizer step lies."""
        low, high = self.mask_range(step)
        if loss > self.loss(step, "untrained"):
            return "above untrained"
        if loss > self.loss(step, "unigram"):
            return "above unigram"
        protein = self.config.graph.type == "absorb" and self.config.data.alphabet in ("protein", "esm")
        return "below any known model" if protein and loss < BEST_KNOWN * (high - low) else "below unigram"

    def _judge(self, step: int, loss: float) -> str:
        low, high = self.mask_range(step)
        untrained, unigram = self.loss(step, "untrained"), self.loss(step, "unigram")
        perplexity = math.exp(min(loss / max(high - low, 1e-12), 700.0))
        judgements: dict[Level, str] = {
            "above untrained": f"worse than an untrained model ({untrained:.3f})",
            "above unigram": f"between an untrained model ({untrained:.3f}) and the unigram model ({unigram:.3f})",
            "below unigram": f"better than the unigram model ({unigram:.3f}) by {unigram - loss:.3f}",
            "below any known model": f"better than any known model: perplexity {perplexity:.1f} per masked residue, "
            "where the largest protein models have 6.4 with 15 % masked",
        }
        return judgements[self.level(step, loss)]

    def to_dict(self) -> dict[str, Any]:
        """The forecast as plain data."""
        frequencies = self.statistics.frequencies
        return {
            "summary": self.summary,
            "letters": {"source": self.statistics.source, "entropy": entropy(frequencies)},
            "symbols": len(frequencies),
            "rows": [asdict(row) for row in self.rows],
            "without_curriculum": asdict(self.full),
            "steepest_rise": {name: asdict(rise) for name, rise in self.rises.items()},
            "preschool_time": self.preschool_time,
            "false_alarms": self.false_alarms,
            "before_training": [known.to_dict() for known in self.before_training],
            "scatter": dict(self.scatter),
            "phases": [asdict(phase) for phase in self.phases],
            "residues_per_step": self.residues_per_step,
            "throughput": self.throughput,
            "never_masked": self.config.prior_kept,
            "advice": self.config.advice(),
            **({"assumed": list(self.notes)} if self.notes else {}),
        }


def make_forecast(
    config: Config,
    statistics: DataStatistics,
    *,
    steps: Sequence[int] | None = None,
    trained: Predictor | None = None,
    throughput: float | None = None,
    facts: DataFacts | None = None,
    notes: tuple[str, ...] = (),
) -> Forecast:
    """The forecast of a configuration for given statistics of the data; `sedd.forecast` finds them.

    `steps` are the optimizer steps of the rows, by default a few that show the shape; `trained` is the profile of a
    trained model, as a third predictor; `throughput` in residues per second gives durations; `facts` are what
    `Forecast.before_training` says more with; `notes` say what was assumed about the run file.

    Raises:
        ConfigError: if a step is negative, or the alphabet has more than 256 symbols and there is no closed form.
    """
    graph = make_graph(config.graph.type, len(statistics.frequencies))
    if not predictable(graph, config.model):
        raise ConfigError(
            f"an alphabet of {graph.n} symbols: with graph.type={config.graph.type} and model.head={config.model.head} "
            f"a forecast is possible for at most {MOST_SYMBOLS} symbols",
            keys=["graph.type", "model.head"],
        )
    predictors = both_predictors(graph, config.model, statistics.frequencies)
    if trained is not None:
        predictors["run"] = trained
    residues = residues_per_step(config, statistics)
    return Forecast(
        config=config,
        statistics=statistics,
        predictors=predictors,
        rows=tuple(_row(config, predictors, step) for step in (default_steps(config) if steps is None else steps)),
        full=_row(config, predictors, max(config.curriculum.preschool_time, config.optim.warmup)),
        rises={name: steepest_rise(config, predictor) for name, predictor in predictors.items()},
        preschool_time=smallest_preschool_time(config, predictors["unigram"], limit=config.monitoring.max_rise),
        scatter={
            "start": scatter(config, graph, statistics, checked_difficulty(config.curriculum, 0)),
            "full": scatter(config, graph, statistics, 1.0),
        },
        phases=_phases(config, None if throughput is None else residues / throughput),
        residues_per_step=residues,
        throughput=throughput,
        facts=facts,
        notes=notes,
    )


def default_steps(config: Config) -> list[int]:
    """The ramp in eighths, and a few steps after it."""
    ramp, end = min(config.curriculum.preschool_time, config.training.n_iters), config.training.n_iters
    return sorted({*(round(ramp * part / 8) for part in range(9)), (ramp + end) // 2, end})


def _row(config: Config, predictors: Mapping[str, Predictor], step: int) -> Row:
    if step < 0:
        raise ConfigError(f"step {step}: steps count from 0")
    settings = Schedule(config).at(step)
    low, high = settings.mask_low, settings.mask_high
    losses = {name: predictor.loss(low, high) for name, predictor in predictors.items()}
    return Row(step, settings.difficulty, low, high, settings.lr, **losses)


def _phases(config: Config, seconds_per_step: float | None) -> tuple[Phase, ...]:
    """The ramp, full difficulty, and convergence, which begins after `monitoring.patience` steps."""
    end, ramp = config.training.n_iters, min(config.curriculum.preschool_time, config.training.n_iters)
    settled = min(max(ramp, config.monitoring.patience), end)
    phases = (("ramp", 0, ramp), ("full difficulty", ramp, settled), ("convergence", settled, end))
    hours = None if seconds_per_step is None else seconds_per_step / 3600.0
    lengths = ((name, first, last, hours and (last - first) * hours) for name, first, last in phases)
    return tuple(Phase(*phase) for phase in lengths if phase[2] > phase[1])
