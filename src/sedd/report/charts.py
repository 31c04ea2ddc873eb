"""The charts of a report as data: the numbers of a run beside what they are compared with."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from sedd.diagnosis.attribution import normalised
from sedd.diagnosis.cumulative import cumulative
from sedd.diagnosis.forecast import Forecast
from sedd.diagnosis.predictors import Predictor
from sedd.report.chart import NAMES, Array, Chart, Color, Level, Panel, Series
from sedd.report.contents import Contents
from sedd.runs.metrics import TrainRecord

MOST_POINTS = 300
"""Points of one curve; more lines than that are drawn as means of neighbours."""
PARTS: tuple[tuple[str, Color], ...] = (("difficulty", "curriculum"), ("learning", "model"))
"""Parts of the attribution that have an interval, and their colours."""
USUAL = 0.9
"""Quantile of the losses that a few spikes do not move."""
FAR = 4.0
"""If that is over this many times the highest expected loss, the axis is logarithmic."""
CLIP = 2.5
"""A loss over this many times the highest expected loss is off the chart, so that one spike does not flatten it."""


@dataclass(frozen=True, eq=False)
class Thinned:
    """Logged lines in at most `MOST_POINTS` groups of neighbours: a curve has one point for each group."""

    lines: Sequence[TrainRecord]

    @cached_property
    def groups(self) -> list[NDArray[np.int64]]:
        """Indices of the lines of each group."""
        return np.array_split(np.arange(len(self.lines)), min(len(self.lines), MOST_POINTS))

    @cached_property
    def steps(self) -> Array:
        """(groups,): the last step of each group."""
        return self.field("step", np.max)

    def __call__(self, values: Array, reduce: Callable[[Array], float] = np.mean) -> Array:
        """(groups,): one number per group from one number per line."""
        return np.array([reduce(values[group]) for group in self.groups])

    def field(self, name: str, reduce: Callable[[Array], float] = np.mean) -> Array:
        """(groups,): one number per group from a field of the lines."""
        return self(np.array([getattr(line, name) for line in self.lines], np.float64), reduce)


def has_bins(lines: Sequence[TrainRecord]) -> bool:
    """Whether the loss by mask rate was recorded."""
    return bool(lines) and all(line.bins.residues > 0 and line.bins.drawn.any() for line in lines)


def off_the_chart(chart: Chart) -> tuple[float, float] | None:
    """The y that lies furthest outside the first panel, and its step; None where every point is inside."""
    panel = chart.panels[0]
    if panel.y_range is None:
        return None
    low, high = panel.y_range
    points = [(float(y), float(x)) for series in panel.series for x, y in zip(series.x, series.y, strict=True)]
    worst = max(points, key=lambda point: max(point[0] - high, low - point[0]), default=(low, 0.0))
    return None if low <= worst[0] <= high else worst


def _with_phases(contents: Contents, chart: Chart) -> Chart:
    phases = () if contents.forecast is None else contents.forecast.phases
    return replace(with_events(contents, chart), phases=phases)


def with_events(contents: Contents, chart: Chart) -> Chart:
    """A chart over optimizer steps with the rollbacks, and with the steps at which what the verdict says began."""
    marks = tuple(float(rollback.step) for rollback in contents.history.rollbacks)
    return replace(chart, marks=marks, since=contents.verdict.began)


def loss_chart(contents: Contents) -> Chart | None:
    """Training loss, and the band between a uniform predictor and a unigram model."""
    lines = contents.history.lines
    if not lines:
        return None
    thin = Thinned(lines)
    series: list[Series] = []
    expected = expected_losses(thin, contents.predictors, contents.forecast)
    if expected is not None:
        series += band(*expected)
    if len(lines) > MOST_POINTS:
        low, high = thin.field("loss", np.min), thin.field("loss", np.max)
        series.append(Series("minimum to maximum of neighbouring lines", thin.steps, high, "run", "band", low=low))
    series.append(Series("training loss", thin.steps, thin.field("loss"), "run"))
    losses = np.array([line.loss for line in lines])
    difficulty = Series("difficulty", thin.steps, thin.field("difficulty", np.max), "muted")
    panel = Panel(
        "loss, nats per residue", tuple(series), y_range=loss_range(losses, None if expected is None else expected[1])
    )
    small = Panel("difficulty", (difficulty,), height=0.3, y_range=(0.0, 1.08))
    return _with_phases(
        contents, Chart("loss", "Training loss and expected range", (panel, small), (0.0, thin.steps[-1]))
    )


def band(steps: Array, uniform: Array, unigram: Array) -> list[Series]:
    """The band between the losses of a uniform predictor and of a unigram model, with its edges."""
    return [
        Series("expected range", steps, uniform, "curriculum", "band", low=unigram),
        Series(NAMES["untrained"], steps, uniform, "curriculum", "dashed"),
        Series(NAMES["unigram"], steps, unigram, "curriculum"),
    ]


def expected_losses(
    thin: Thinned, predictors: Mapping[str, Predictor], forecast: Forecast | None
) -> tuple[Array, Array, Array] | None:
    """Steps, and the expected losses of a uniform predictor and of a unigram model.

    A line averages over the steps since the previous line and records the mask rates that their difficulty allowed.
    Its loss is compared with the expectation over these steps rather than with the forecast of the last of them.
    """
    lines, names = thin.lines, ("untrained", "unigram")
    if predictors and has_bins(lines) and len(lines) > 1:
        allowed = np.stack([line.bins.expected / line.bins.residues for line in lines])
        uniform, unigram = (thin(allowed @ predictors[name].values) for name in names)
        return thin.steps, uniform, unigram
    if forecast is None:
        return None
    grid = np.unique(np.linspace(0, lines[-1].step, 200).astype(np.int64))
    uniform, unigram = (np.array([forecast.loss(int(step), name) for step in grid]) for name in names)
    return grid.astype(np.float64), uniform, unigram


def loss_range(losses: Array, uniform: Array | None) -> tuple[float, float]:
    """Ends of the y axis: a spike far above the losses of a `uniform` predictor is cut off, a divergence is not."""
    finite = losses[np.isfinite(losses)]
    highest, usual = (float(finite.max()), float(np.quantile(finite, USUAL))) if len(finite) else (1.0, 1.0)
    forecast = 0.0 if uniform is None else float(uniform.max())
    limit = max(CLIP * forecast, 1.4 * usual)
    return 0.0, 1.12 * max(min(highest, limit), forecast, 1e-6)


def far_above(losses: Array, uniform: Array | None) -> bool:
    """Whether losses are so far above those of a `uniform` predictor that only a logarithmic axis shows both."""
    finite = losses[np.isfinite(losses)]
    return uniform is not None and len(finite) > 0 and float(np.quantile(finite, USUAL)) > FAR * float(uniform.max())


def loss_panel(unit: str, series: Sequence[Series], y_range: tuple[float, float], *, far: bool) -> Panel:
    """Losses on a linear axis, or on a logarithmic one that shows them all."""
    return Panel(unit, tuple(series), y_range=None if far else y_range, log=far)


def attribution_chart(contents: Contents) -> Chart | None:
    """How much the curriculum, the model and Monte Carlo error have added to the loss since the first line."""
    lines = contents.history.lines
    if len(lines) < 2 or not has_bins(lines):
        return None
    parts = None if contents.diagnosis is None else contents.diagnosis.cumulative  # cached there
    parts = parts or cumulative(lines)
    steps, bands = parts.steps, []
    for name, color in PARTS:
        low, high = (getattr(parts, f"{name}_{edge}") for edge in ("low", "high"))
        if np.isfinite(low).all():
            bands.append(Series(f"95 % interval of {name}", steps, high, color, "band", low=low))
    series = (
        Series("Monte Carlo error", steps, parts.draw, "noise", "dotted"),
        Series("difficulty", steps, parts.difficulty, "curriculum", "dashed"),
        Series("learning", steps, parts.learning, "model"),
        Series("change of the loss (sum)", steps, parts.loss - parts.loss[0], "ink"),
    )
    uniform = contents.predictors["untrained"].loss(0.0, 1.0) if contents.predictors else 0.0
    furthest = CLIP * max(float(np.median(np.abs(parts.loss))), uniform)
    ends = [float(np.clip(reduce(curve.y), -furthest, furthest)) for curve in series for reduce in (np.min, np.max)]
    margin = 0.08 * max(max(ends) - min(ends), 1e-3)
    y_range = (min(ends) - margin, max(ends) + 2.5 * margin)  # leaves space for the names of the phases
    unit = "change since the first line, nats per residue"
    panel = Panel(unit, (*bands, *series), (Level("", 0.0, style="line"),), y_range=y_range)
    chart = Chart("attribution", "What moved the training loss", (panel,), x_range=(0.0, float(steps[-1])))
    return _with_phases(contents, chart)


def normalised_chart(contents: Contents) -> Chart | None:
    """The loss divided by the loss of a unigram model at the same mask rates."""
    lines = contents.history.lines
    if not has_bins(lines) or "unigram" not in contents.predictors:
        return None
    thin = Thinned(lines)
    ratio = normalised(lines, contents.predictors["unigram"])
    count = max(1, min(9, len(ratio) // 6))
    extended = np.pad(ratio, (count // 2, count - 1 - count // 2), mode="edge")
    smooth = np.convolve(extended, np.full(count, 1.0 / count), "valid")
    series = [Series("logged line", thin.steps, thin(ratio), "run", "thin")] if count > 1 else []
    series.append(Series(f"mean of {count} lines" if count > 1 else "logged line", thin.steps, thin(smooth), "run"))
    uniform = contents.predictors["untrained"].loss(0.0, 1.0) / contents.predictors["unigram"].loss(0.0, 1.0)
    levels = (Level(NAMES["untrained"], uniform, "curriculum"), Level(NAMES["unigram"], 1.0, "curriculum", "line"))
    low, high = float(np.nanmin(smooth)), min(float(np.nanmax(smooth)), 1.5 * uniform)
    y_range = padded(min(low, 1.0), max(high, uniform))
    panel = Panel("loss / loss of a unigram model", tuple(series), levels, y_range=y_range)
    chart = Chart("normalised", "Loss relative to a unigram model", (panel,), x_range=(0.0, thin.steps[-1]))
    return with_events(contents, chart)


def padded(low: float, high: float) -> tuple[float, float]:
    """Ends of an axis with a margin."""
    margin = 0.08 * max(high - low, 0.01)
    return low - margin, high + margin


def optimizer_chart(contents: Contents) -> Chart | None:
    """Learning rate, gradient norm, and skipped steps."""
    history = contents.history
    if not history.lines and not history.skipped:
        return None
    panels, last = [], float(max(contents.step, 1))
    if history.lines:
        thin = Thinned(history.lines)
        rate = Series("learning rate", thin.steps, thin.field("lr"), "muted")
        panels.append(Panel("learning rate", (rate,), height=0.5))
        norms = (
            Series("largest gradient norm", thin.steps, thin.field("grad_norm_max", np.max), "noise", "thin"),
            Series("mean gradient norm", thin.steps, thin.field("grad_norm"), "model"),
        )
        clip = contents.config.optim.grad_clip if contents.config is not None else 0.0
        levels = (Level("clipped at", clip, "alarm"),) if clip else ()
        panels.append(Panel("gradient norm", norms, levels, log=bool((norms[1].y > 0).all())))
    if history.skipped:
        steps, counts = np.array([(skip.step, skip.skipped) for skip in history.skipped], np.float64).T
        x = np.concatenate([[0.0], np.repeat(steps, 2), [last]])  # a staircase
        y = np.repeat(np.concatenate([[0.0], counts]), 2)
        panels.append(Panel("skipped steps", (Series("skipped steps so far", x, y, "alarm"),), height=0.5))
    return with_events(contents, Chart("optimizer", "The optimizer", tuple(panels), x_range=(0.0, last)))
