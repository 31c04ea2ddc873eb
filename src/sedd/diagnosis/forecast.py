"""The training loss before training: what a model that learns nothing, or only the letters, will show at each step."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from sedd.config.config import Config
from sedd.data.statistics import DataStatistics
from sedd.diagnosis.predictors import MOST_SYMBOLS, Predictor, both_predictors, entropy, predictable
from sedd.diffusion.graphs import Graph, make_graph
from sedd.diffusion.noising import noise_state, path_positions
from sedd.diffusion.schedule import Schedule
from sedd.errors import ConfigError
from sedd.plugins.contracts import Curriculum, checked_difficulty

Array = NDArray[np.float64]

CLOCK = 1000
"""Rises are stated per so many optimizer steps."""
GRID = 1200
"""Steps at which a curve is looked at."""
BEST_KNOWN = 1.85
"""Nats per masked residue of the largest protein language models with 15 % of the residues masked: ESM-2 15B has a
perplexity of 6.4 (Lin et al. 2023). With more masks any model has more."""


@dataclass(frozen=True)
class Row:
    """The forecast of one optimizer step. Losses are nats per residue."""

    step: int
    difficulty: float
    mask_rate_min: float
    """Least mask rate that a sequence can draw."""
    mask_rate_max: float
    """Largest one."""
    lr: float
    untrained: float
    """Loss of a network that knows nothing."""
    unigram: float
    """Loss of one that knows how often each letter occurs."""
    run: float | None = None
    """Loss of the trained model whose profile was given."""


@dataclass(frozen=True)
class Rise:
    """The steepest climb of a forecast."""

    per_1000: float
    """Nats per residue per 1,000 optimizer steps."""
    first: int
    """Step where it begins."""
    last: int
    """Step where it ends."""


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
    """What a configuration will show, whatever its model learns."""

    config: Config = field(repr=False)
    letters: DataStatistics = field(repr=False)
    predictors: Mapping[str, Predictor] = field(repr=False)
    """`untrained`, `unigram`, and `run` where a trained model's profile was given."""
    rows: tuple[Row, ...]
    full: Row
    """The same without a curriculum: difficulty 1 at every step."""
    rises: Mapping[str, Rise]
    """The steepest climb of each predictor."""
    preschool_time: int | None
    """Smallest `preschool_time` that keeps the climb of the unigram under `monitoring.max_rise`; None if none does."""
    scatter: Mapping[str, float]
    """Scatter of one step's loss by the luck of the draw, as a share of it, at the `start` and at `full` difficulty."""
    phases: tuple[Phase, ...]
    residues_per_step: float
    throughput: float | None
    """Residues per second."""

    def loss(self, step: int, predictor: str = "unigram") -> float:
        """Expected training loss at an optimizer step, nats per residue."""
        return self.predictors[predictor].loss(*self.mask_range(step))

    def mask_range(self, step: int) -> tuple[float, float]:
        """The least and the largest mask rate at an optimizer step."""
        settings = Schedule(self.config).at(step)
        return settings.mask_low, settings.mask_high

    @property
    def false_alarms(self) -> list[str]:
        """Which of the rules in `monitoring` will fire although nothing is wrong."""
        rules, found = self.config.monitoring, []
        rise = self.rises["unigram"]
        if rise.per_1000 > rules.max_rise:
            remedy = (
                f"preschool_time {self.preschool_time:,} keeps it under"
                if self.preschool_time
                else "no preschool_time keeps it under"
            )
            found.append(
                f"The rule 'no more than {rules.max_rise:g} nats per 1,000 steps' will fire: the curriculum alone "
                f"raises the loss by up to {rise.per_1000:.2f}, between steps {rise.first:,} and {rise.last:,} "
                f"({remedy})."
            )
        highest = max(row.untrained for row in (*self.rows, self.full))
        if highest > rules.max_loss:
            found.append(
                f"The rule 'no loss over {rules.max_loss:g}' will fire: a model that knows nothing has {highest:.2f}."
            )
        lines = math.sqrt(self.config.training.log_every)
        for when, share in self.scatter.items():
            if share / lines > rules.max_oscillation:
                found.append(
                    f"The rule 'no oscillation over {rules.max_oscillation:.0%}' will fire at {when} difficulty: the "
                    f"luck of the draw alone scatters each logged loss by {share / lines:.0%}. Use "
                    "curriculum.mode=truncate, a larger batch or a larger training.log_every."
                )
        return found

    def judge(self, expected: Mapping[int, float]) -> list[str]:
        """What can be said of losses that somebody expects (or saw) at some steps, one sentence each."""
        return [self._judge(step, loss) for step, loss in sorted(expected.items())]

    def _judge(self, step: int, loss: float) -> str:
        low, high = self.mask_range(step)
        nothing, letters = self.loss(step, "untrained"), self.loss(step, "unigram")
        per_masked = loss / max(high - low, 1e-12)
        said = f"step {step:,}: {loss:.4g} "
        if loss > nothing:
            return said + f"is worse than knowing nothing: an untrained model has {nothing:.3f} here"
        if loss > letters:
            return said + f"is what an untrained model ({nothing:.3f}) has after learning hardly more than the letters"
        protein = self.config.graph.type == "absorb" and self.config.data.alphabet != "text"
        if protein and per_masked < BEST_KNOWN:
            return said + (
                f"was never reached: it needs a perplexity of {math.exp(per_masked):.1f} per masked residue; the "
                "largest protein models have 6.4 with 15 % masked"
            )
        return said + f"is better than the letters alone ({letters:.3f}) by {letters - loss:.3f}: order was learnt"

    def to_json(self) -> dict[str, Any]:
        """Everything as plain data."""
        return {
            "letters": {"source": self.letters.source, "entropy": entropy(self.letters.frequencies)},
            "symbols": len(self.letters.frequencies),
            "rows": [asdict(row) for row in self.rows],
            "without_curriculum": asdict(self.full),
            "steepest_rise": {name: asdict(rise) for name, rise in self.rises.items()},
            "preschool_time": self.preschool_time,
            "false_alarms": self.false_alarms,
            "scatter": dict(self.scatter),
            "phases": [asdict(phase) for phase in self.phases],
            "residues_per_step": self.residues_per_step,
            "throughput": self.throughput,
            "never_masked": self.config.prior_kept,
            "advice": self.config.advice(),
        }


def make_forecast(
    config: Config,
    letters: DataStatistics,
    *,
    steps: Sequence[int] | None = None,
    trained: Predictor | None = None,
    throughput: float | None = None,
) -> Forecast:
    """Compute a forecast. `sedd.forecast` is this with the data found for you.

    Args:
        config: of the run.
        letters: of the training data.
        steps: optimizer steps of the rows; by default a few that show the shape.
        trained: the profile of a trained model, as a third predictor.
        throughput: residues per second, for durations.

    Raises:
        ConfigError: if a step is negative, or the alphabet has more than 256 symbols and there is no closed form.
    """
    graph = make_graph(config.graph.type, len(letters.frequencies))
    if not predictable(graph, config.model):
        raise ConfigError(
            f"an alphabet of {graph.n} symbols: with graph.type={config.graph.type} and model.head={config.model.head} "
            f"a forecast is made for {MOST_SYMBOLS} at most",
            keys=["graph.type", "model.head"],
        )
    predictors = both_predictors(graph, config.model, letters.frequencies)
    if trained is not None:
        predictors["run"] = trained
    residues_per_step = _residues_per_step(config, letters)
    return Forecast(
        config=config,
        letters=letters,
        predictors=predictors,
        rows=tuple(_row(config, predictors, step) for step in (default_steps(config) if steps is None else steps)),
        full=_row(config, predictors, max(config.curriculum.preschool_time, config.optim.warmup)),
        rises={
            name: _steepest(config.curriculum, _by_difficulty(config, predictor), rise_window(config))
            for name, predictor in predictors.items()
        },
        preschool_time=smallest_preschool_time(config, predictors["unigram"], limit=config.monitoring.max_rise),
        scatter={
            "start": scatter(config, graph, letters, checked_difficulty(config.curriculum, 0)),
            "full": scatter(config, graph, letters, 1.0),
        },
        phases=_phases(config, None if throughput is None else residues_per_step / throughput),
        residues_per_step=residues_per_step,
        throughput=throughput,
    )


def rise_window(config: Config) -> int:
    """Optimizer steps over which a rise is looked at: 1,000, or a quarter of a shorter run."""
    return max(1, min(CLOCK, config.training.n_iters // 4))


def default_steps(config: Config) -> list[int]:
    """The ramp in eighths, and a few steps after it."""
    ramp, end = min(config.curriculum.preschool_time, config.training.n_iters), config.training.n_iters
    return sorted({*(round(ramp * part / 8) for part in range(9)), (ramp + end) // 2, end})


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
    low, high = 1, longest
    while low < high:
        middle = (low + high) // 2
        if _steepest(stretched(middle), losses, window).per_1000 <= limit:
            high = middle
        else:
            low = middle + 1
    unit: int = 10 ** max(0, len(str(low)) - 2)
    return -(-low // unit) * unit


def scatter(config: Config, graph: Graph, letters: DataStatistics, difficulty: float, *, steps: int = 200) -> float:
    """Standard deviation of one step's loss over its mean, for a model whose loss per mask rate never changes.

    Simulates the library's own stratified draws. For `uniform` only the noise levels are drawn, not what they hit.
    """
    per_step = max(1, round(_residues_per_step(config, letters) / letters.length))
    length = max(1, round(letters.length))
    random = np.random.default_rng(0)
    u = np.stack(
        [path_positions(0, np.arange(first, first + per_step)) for first in range(0, steps * per_step, per_step)]
    )
    state = noise_state(config.noise, torch.from_numpy(u).flatten(), difficulty=difficulty, mode=config.curriculum.mode)
    sigma, dsigma = state.sigma.double().numpy(), state.dsigma.double().numpy()
    if graph.has_mask:
        masks = random.binomial(length, -np.expm1(-sigma)) / length
        losses = np.where(masks > 0, masks * dsigma / np.expm1(np.maximum(sigma, 1e-12)), 0.0)
    else:
        losses = dsigma * np.exp(-sigma)
    of_step = losses.reshape(u.shape).mean(1)
    return float(of_step.std() / max(of_step.mean(), 1e-12))


def _row(config: Config, predictors: Mapping[str, Predictor], step: int) -> Row:
    if step < 0:
        raise ConfigError(f"step {step}: steps count from 0")
    settings = Schedule(config).at(step)
    low, high = settings.mask_low, settings.mask_high
    losses = {name: predictor.loss(low, high) for name, predictor in predictors.items()}
    return Row(step, settings.difficulty, low, high, settings.lr, **losses)


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
    return Rise(float(after[steepest] - before[steepest]) * CLOCK / window, first, first + window)


def _residues_per_step(config: Config, letters: DataStatistics) -> float:
    training = config.training
    return float(training.batch_residues or training.batch_size * training.accum * letters.length)


def _phases(config: Config, seconds_per_step: float | None) -> tuple[Phase, ...]:
    """The ramp, full difficulty, and convergence from where the held-out bound must have improved."""
    end, ramp = config.training.n_iters, min(config.curriculum.preschool_time, config.training.n_iters)
    settled = min(max(ramp, config.monitoring.patience), end)
    phases = (("ramp", 0, ramp), ("full difficulty", ramp, settled), ("convergence", settled, end))
    hours = None if seconds_per_step is None else seconds_per_step / 3600.0
    return tuple(
        Phase(name, first, last, None if hours is None else (last - first) * hours)
        for name, first, last in phases
        if last > first
    )
