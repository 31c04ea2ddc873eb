"""The charts of a report, as data: which numbers of a run, against which expectations, in which colours."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sedd.diagnosis.attribution import cumulative, normalised
from sedd.diagnosis.predictors import Predictor, entropy
from sedd.diffusion.loss_profile import BINS, EDGES
from sedd.report.contents import Contents
from sedd.report.plots import NAMES, Chart, Color, Level, Panel, Series
from sedd.runs.metrics import BoundRecord, TrainRecord

Array = NDArray[np.float64]

MOST_POINTS = 400
"""Points drawn of one curve; more lines than that are drawn as means of neighbours."""
ROOM = 2.5
"""A loss over this many times the highest expectation is off the chart, so that one spike does not flatten the rest."""


@dataclass(frozen=True, eq=False)
class Thinned:
    """Neighbouring lines put together, so that a curve has at most `MOST_POINTS` points."""

    groups: tuple[NDArray[np.int64], ...]

    @staticmethod
    def of(lines: Sequence[TrainRecord]) -> Thinned:
        return Thinned(tuple(np.array_split(np.arange(len(lines)), min(len(lines), MOST_POINTS))))

    @property
    def together(self) -> int:
        """Lines in the largest group."""
        return max(len(group) for group in self.groups)

    def __call__(self, values: Array, pick: Callable[[Array], float] = np.mean) -> Array:
        """(groups,): one number for each group; by default the mean."""
        return np.array([pick(values[group]) for group in self.groups])


def of_lines(lines: Sequence[TrainRecord], name: str) -> Array:
    """One number of each line."""
    return np.array([getattr(line, name) for line in lines], np.float64)


def has_bins(lines: Sequence[TrainRecord]) -> bool:
    """Whether the loss by mask rate was recorded."""
    return bool(lines) and all(line.bins.residues > 0 and line.bins.drawn.any() for line in lines)


# Loss ----------------------------------------------------------------------------------------------------------------


def loss_chart(contents: Contents) -> Chart | None:
    """Training loss between what models have that know nothing and that know the letters."""
    lines = contents.history.lines
    if not lines:
        return None
    thin = Thinned.of(lines)
    steps, losses = thin(of_lines(lines, "step"), np.max), of_lines(lines, "loss")
    expected = _expected(contents)
    series: list[Series] = []
    if expected is not None:
        x, nothing, letters = expected
        series += [
            Series("forecast band", x, nothing, "curriculum", "band", low=letters),
            Series(NAMES["untrained"], x, nothing, "curriculum", "dashed"),
            Series(NAMES["unigram"], x, letters, "curriculum"),
        ]
    if thin.together > 1:
        low, high = (thin(losses, pick) for pick in (np.min, np.max))
        series.append(Series("smallest and largest of the lines drawn together", steps, high, "run", "band", low=low))
    series.append(Series("training loss", steps, thin(losses), "run"))
    difficulty = Series("difficulty", steps, thin(of_lines(lines, "difficulty"), np.max), "muted")
    return Chart(
        "loss",
        "Training loss and forecast",
        (
            Panel("loss, nats per residue", tuple(series), y_range=_loss_range(losses, expected)),
            Panel("difficulty", (difficulty,), height=0.3, y_range=(0.0, 1.08)),
        ),
        x_range=(0.0, steps[-1]),
        phases=() if contents.forecast is None else contents.forecast.phases,
        marks=rollback_steps(contents),
    )


def rollback_steps(contents: Contents) -> tuple[float, ...]:
    """Where the run went back."""
    return tuple(float(event["step"]) for event in contents.rollbacks)


def _expected(contents: Contents) -> tuple[Array, Array, Array] | None:
    """Steps, and the losses there of a model that knows nothing and of one that knows the letters.

    Each line sums up the steps since the one before and says what its difficulty allowed: that is what its loss is
    to be compared with, more than the forecast of its last step.
    """
    lines, names = contents.history.lines, ("untrained", "unigram")
    if contents.predictors and has_bins(lines) and len(lines) > 1:
        thin = Thinned.of(lines)
        allowed = np.stack([line.bins.expected / line.bins.residues for line in lines])
        nothing, letters = (thin(allowed @ contents.predictors[name].values) for name in names)
        return thin(of_lines(lines, "step"), np.max), nothing, letters
    if contents.forecast is None:
        return None
    grid = np.unique(np.linspace(0, lines[-1].step, 200).astype(np.int64))
    nothing, letters = (np.array([contents.forecast.loss(int(step), name) for step in grid]) for name in names)
    return grid.astype(np.float64), nothing, letters


def _loss_range(losses: Array, expected: tuple[Array, Array, Array] | None) -> tuple[float, float]:
    finite = losses[np.isfinite(losses)]
    highest, usual = (float(finite.max()), float(np.median(finite))) if len(finite) else (1.0, 1.0)
    forecast = 0.0 if expected is None else float(expected[1].max())
    limit = max(ROOM * forecast, 1.5 * usual)
    return 0.0, 1.12 * max(min(highest, limit), forecast, 1e-6)


def off_the_chart(chart: Chart) -> tuple[float, float] | None:
    """The y that lies furthest off the first panel, and its step; None where all is on it."""
    panel = chart.panels[0]
    if panel.y_range is None:
        return None
    low, high = panel.y_range
    points = [(float(y), float(x)) for each in panel.series for x, y in zip(each.x, each.y, strict=True)]
    worst = max(points, key=lambda point: max(point[0] - high, low - point[0]), default=(low, 0.0))
    return None if low <= worst[0] <= high else worst


# Attribution ---------------------------------------------------------------------------------------------------------


def attribution_chart(contents: Contents) -> Chart | None:
    """What the curriculum, the model and luck have added to the loss since the first line."""
    lines = contents.history.lines
    if len(lines) < 2 or not has_bins(lines):
        return None
    found = None if contents.diagnosis is None else contents.diagnosis.cumulative  # computed once
    found = found or cumulative(lines)
    thin = Thinned.of(lines)
    steps = thin(found.steps, np.max)

    def curve(name: str, values: Array, color: Color, **more: str) -> Series:
        return Series(name, steps, thin(values), color, **more)  # type: ignore[arg-type]  # a style

    series = (
        curve("luck of the draw", found.draw, "luck", style="dotted"),
        curve("difficulty", found.difficulty, "curriculum", style="dashed"),
        curve("learning", found.learning, "model"),
        curve("change of the loss: their sum", found.loss - found.loss[0], "ink"),
    )
    zero = Level("no change", 0.0, style="line", legend=False)
    nothing = contents.predictors["untrained"].loss(0.0, 1.0) if contents.predictors else 0.0
    furthest = ROOM * max(float(np.median(np.abs(found.loss))), nothing)
    ends = [float(np.clip(pick(each.y), -furthest, furthest)) for each in series for pick in (np.min, np.max)]
    room = 0.08 * max(max(ends) - min(ends), 1e-3)
    y_range = (min(ends) - room, max(ends) + 2.5 * room)  # room for the names of the phases
    panel = Panel("change since the first line, nats per residue", series, (zero,), y_range=y_range)
    phases = () if contents.forecast is None else contents.forecast.phases
    return Chart(
        "attribution",
        "What moved the training loss",
        (panel,),
        x_range=(0.0, steps[-1]),
        phases=phases,
        marks=rollback_steps(contents),
    )


def normalised_chart(contents: Contents) -> Chart | None:
    """The loss over that of a model that knows the letters and had the same draws."""
    lines = contents.history.lines
    if not has_bins(lines) or "unigram" not in contents.predictors:
        return None
    thin = Thinned.of(lines)
    steps = thin(of_lines(lines, "step"), np.max)
    over = normalised(lines, contents.predictors["unigram"])
    count = max(1, min(9, len(over) // 6))
    padded = np.pad(over, (count // 2, count - 1 - count // 2), mode="edge")
    smooth = np.convolve(padded, np.full(count, 1.0 / count), "valid")
    series = [Series("each line", steps, thin(over), "run", "thin")] if count > 1 else []
    series.append(Series(f"mean of {count} lines" if count > 1 else "each line", steps, thin(smooth), "run"))
    nothing = contents.predictors["untrained"].loss(0.0, 1.0) / contents.predictors["unigram"].loss(0.0, 1.0)
    levels = (
        Level(NAMES["untrained"], nothing, "curriculum"),
        Level("knows the letters: 1", 1.0, "curriculum", "line"),
    )
    low, high = float(np.nanmin(smooth)), min(float(np.nanmax(smooth)), 1.5 * nothing)
    room = max(0.08 * (max(high, nothing) - min(low, 1.0)), 0.01)
    panel = Panel(
        "loss over that of a model that knows the letters",
        tuple(series),
        levels,
        y_range=(min(low, 1.0) - room, max(high, nothing) + room),
    )
    return Chart("normalised", "Loss with the difficulty taken out", (panel,), x_range=(0.0, steps[-1]))


# Bound ---------------------------------------------------------------------------------------------------------------


def bound_chart(contents: Contents) -> Chart | None:
    """The held-out bound with its standard errors."""
    bounds = contents.finite_bounds
    if not bounds:
        return None
    steps, nats = (np.array([getattr(bound, name) for bound in bounds], np.float64) for name in ("step", "nats"))
    errors = np.array([bound.stderr if np.isfinite(bound.stderr) else 0.0 for bound in bounds])
    series = Series("held-out bound ± standard error", steps, nats, "run", "points", nats - errors, nats + errors)
    low, high = float((nats - errors).min()), float((nats + errors).max())
    levels, near = [], max(1.5 * (high - low), 0.08)
    for level in bound_levels(contents):
        if low - near <= level.y <= high + near:
            levels.append(level)
    ends = [low, high, *(level.y for level in levels)]
    room = 0.08 * max(max(ends) - min(ends), 0.01)
    panel = Panel("nats per residue", (series,), tuple(levels), y_range=(min(ends) - room, max(ends) + room))
    last = max(float(contents.step), steps[-1])
    return Chart("bound", "Held-out bound", (panel,), x_range=(0.0, last * 1.01), marks=rollback_steps(contents))


def bound_levels(contents: Contents) -> list[Level]:
    """What the bound is read against: nothing known, letters known, and the exact value where the source has one."""
    if contents.frequencies is None:
        return []
    letters = contents.frequencies
    levels = [
        Level(NAMES["untrained"], float(np.log(len(letters))), "curriculum"),
        Level(NAMES["unigram"], entropy(letters), "curriculum", "line"),
    ]
    return levels if contents.exact is None else [*levels, Level("exact value", contents.exact, "model", "dotted")]


def bound_profile_chart(contents: Contents) -> Chart | None:
    """What the bound is made of, by mask rate: at the first and at the last evaluation."""
    bounds = [bound for bound in contents.finite_bounds if np.isfinite(bound.profile).any()]
    if not bounds:
        return None
    ends = {"first": bounds[0], "last": bounds[-1]} if len(bounds) > 1 else {"only": bounds[0]}
    series = []
    for name, bound in ends.items():
        x, y = _by_mask_rate(bound)
        color: Color = "muted" if name == "first" else "run"
        series.append(Series(f"{name} evaluation, step {bound.step:,}", x, y, color))
    predictor: Predictor | None = contents.predictors.get("unigram")
    if predictor is not None and contents.absorbs:
        middle = (EDGES[1:] + EDGES[:-1]) / 2
        series.append(Series(NAMES["unigram"], middle, predictor.values, "curriculum"))
    panel = Panel("nats per unit of mask rate", tuple(series))
    return Chart("bound-profile", "The bound by mask rate", (panel,), x_name="mask rate", x_range=(0.0, 1.0))


def _by_mask_rate(bound: BoundRecord, least: float = 0.02) -> tuple[Array, Array]:
    """The integrand at the middle of each bin; those narrower than `least` hold too few residues to show."""
    chosen = np.flatnonzero((np.diff(EDGES) > least) & (np.arange(BINS) > 0))
    return (EDGES[chosen] + EDGES[chosen + 1]) / 2, bound.profile[chosen]


# Optimizer -----------------------------------------------------------------------------------------------------------


def optimizer_chart(contents: Contents) -> Chart | None:
    """Learning rate, gradient norm, and the steps that were skipped."""
    history = contents.history
    lines = history.lines
    if not lines and not history.skipped:
        return None
    panels, last = [], float(max(contents.step, *(skip.step for skip in history.skipped), 1))
    if lines:
        thin = Thinned.of(lines)
        steps = thin(of_lines(lines, "step"), np.max)
        rate = Series("learning rate", steps, thin(of_lines(lines, "lr")), "muted")
        panels.append(Panel("learning rate", (rate,), height=0.5))
        norms = (
            Series("largest gradient norm", steps, thin(of_lines(lines, "grad_norm_max"), np.max), "luck", "thin"),
            Series("mean gradient norm", steps, thin(of_lines(lines, "grad_norm")), "model"),
        )
        clip = contents.config.optim.grad_clip if contents.config is not None else 0.0
        levels = (Level("clipped at", clip, "alarm"),) if clip else ()
        panels.append(Panel("gradient norm", norms, levels, log=bool((norms[1].y > 0).all())))
    if history.skipped:
        at, counts = np.array([(skip.step, skip.skipped) for skip in history.skipped], np.float64).T
        x = np.concatenate([[0.0], np.repeat(at, 2), [last]])  # a staircase
        total = np.concatenate([[0.0], np.repeat(np.concatenate([[0.0], counts]), 2)])[1:]
        panels.append(Panel("skipped steps", (Series("skipped steps so far", x, total, "alarm"),), height=0.5))
    return Chart("optimizer", "The optimizer", tuple(panels), x_range=(0.0, last), marks=rollback_steps(contents))
