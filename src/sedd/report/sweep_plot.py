"""The figures of a sweep: parallel coordinates, and the bound against each key that was varied."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from sedd.report.chart import LIGHT, Color
from sedd.report.plots import FONT, WIDTH, new_figure, style_axes
from sedd.sweeps.space import Axis, RangeAxis, Value, shown
from sedd.sweeps.trials import Sweep, Trial

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLUMNS = 3
"""Panels beside each other."""
UNIT = "nats per residue"


def drawn(sweep: Sweep) -> list[Trial]:
    """The trials that are drawn: those with a bound at the end, the leader last, so that it lies on top."""
    complete = [trial for trial in sweep.trials if trial.state == "complete"]
    return sorted(complete, key=lambda trial: (trial is sweep.leader, -bound_of(trial)))


def bound_of(trial: Trial) -> float:
    """The bound with the first seed, which all trials have; in a sweep of single changes the mean over seeds."""
    return trial.screening[-1].nats if trial.screening else trial.nats


def error_of(sweep: Sweep, trial: Trial) -> float:
    """Half of the 95 % interval of the difference to the run file: by sequence with the first seed, or over seeds in a
    sweep of single changes; infinite where it is not known."""
    if trial.number == 0:
        return 0.0
    if trial.screening and sweep.baseline.screening:
        return trial.screening[-1].minus(sweep.baseline.screening[-1]).half_width
    contrast = sweep.to_baseline.get(trial.number)
    return math.inf if contrast is None else contrast.half_width


def place(axis: Axis, value: object) -> float | None:
    """Where a value lies on an axis, 0 to 1; None outside."""
    if isinstance(axis, RangeAxis):
        if not isinstance(value, int | float) or not axis.low <= value <= axis.high:
            return None
        return axis.place(value)
    if value not in axis.values:
        return None
    return axis.values.index(value) / max(len(axis.values) - 1, 1)


def axes_of(sweep: Sweep) -> tuple[Axis, ...]:
    """What is varied; each axis has the value of the run file, which the sweep need not try."""
    return tuple(with_value(axis, sweep.defaults.get(axis.key)) for axis in sweep.space)


def with_value(axis: Axis, value: Value) -> Axis:
    """An axis on which a value has a place: a range widened to it, or a list in the order of its numbers.

    A range has no place for what is no number, nor a logarithmic one for 0: then it stays as it is.
    """
    if isinstance(axis, RangeAxis):
        if not _is_number(value) or (axis.log and value <= 0):
            return axis
        return replace(axis, low=min(axis.low, value), high=max(axis.high, value))
    values = axis.values if value in axis.values else (value, *axis.values)
    return replace(axis, values=tuple(sorted(values)) if all(map(_is_number, values)) else values)


def _is_number(value: Value) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def parallel_coordinates(sweep: Sweep, colors: Mapping[Color, str] = LIGHT) -> Figure:
    """A line per trial through its value of each key, and its bound at the right; the better half in colour."""
    figure = new_figure(WIDTH, 4.2, colors=colors)
    axes = figure.subplots()
    trials = drawn(sweep)
    bounds = [bound_of(trial) for trial in trials]
    low, high = min(bounds, default=0.0), max(bounds, default=1.0)
    keys = axes_of(sweep)
    count = len(keys)
    for index, trial in enumerate(trials):
        values = [place(axis, trial.changes.get(axis.key, sweep.defaults.get(axis.key))) for axis in keys]
        y = [math.nan if value is None else value for value in values] + [
            (bound_of(trial) - low) / max(high - low, 1e-12)
        ]
        best, good = trial is sweep.leader, index >= len(trials) / 2
        color = colors["curriculum"] if best else colors["run"] if good else colors["muted"]
        axes.plot(
            range(count + 1), y, color=color, lw=2.6 if best else 1.2, alpha=1.0 if best else 0.7 if good else 0.4
        )
    axes.set_xticks(range(count + 1), [*(axis.key for axis in keys), "bound"], fontsize=FONT * 0.85)
    axes.set_ylim(-0.08, 1.08)
    axes.set_yticks([])
    axes.set_facecolor("none")
    axes.spines[["top", "right", "left", "bottom"]].set_visible(False)
    axes.tick_params(labelcolor=colors["ink"], length=0)
    for column, axis in enumerate(keys):
        _ruler(axes, column, _ticks(axis), colors)
    _ruler(axes, count, [(0.0, f"{low:.4f}"), (1.0, f"{high:.4f}")], colors)
    return figure


def marginal_effects(sweep: Sweep, colors: Mapping[Color, str] = LIGHT) -> Figure:
    """The bound of every trial against each key, with the 95 % interval of its difference to the run file.

    Of single changes, a panel has those of its key, and the run file.
    """
    rows = -(-len(sweep.space) // COLUMNS)
    figure = new_figure(WIDTH, 3.4 * rows, colors=colors)
    grid = figure.subplots(rows, min(COLUMNS, len(sweep.space)), sharey=True, squeeze=False)
    for axes in grid.flat[len(sweep.space) :]:
        axes.set_visible(False)
    for axis, axes in zip(axes_of(sweep), grid.flat, strict=False):
        _marginal(axes, sweep, axis, colors)
    return figure


def _marginal(axes: Axes, sweep: Sweep, axis: Axis, colors: Mapping[Color, str]) -> None:
    style_axes(axes, colors, UNIT)
    for trial in drawn(sweep):
        x = place(axis, trial.changes.get(axis.key, sweep.defaults.get(axis.key)))
        elsewhere = sweep.single_changes and trial.changes and axis.key not in trial.changes
        if x is None or elsewhere:
            continue
        best, base = trial is sweep.leader, not trial.changes
        color = colors["curriculum"] if best else colors["ink"] if base else colors["run"]
        half = error_of(sweep, trial)
        axes.errorbar(
            [x], [bound_of(trial)], yerr=[half] if math.isfinite(half) else None, fmt="s" if base else "o", color=color,
            ms=7 if best or base else 5, lw=1.0, alpha=1.0 if best or base else 0.7,
        )  # fmt: skip
    ticks = _ticks(axis)
    axes.set_xticks([at for at, _ in ticks], [text for _, text in ticks])
    axes.set_xlim(-0.1, 1.1)
    axes.set_xlabel(axis.key, loc="right", fontsize=FONT, color=colors["muted"])


def _ticks(axis: Axis) -> list[tuple[float, str]]:
    if isinstance(axis, RangeAxis):
        return [(float(u), shown(axis.at(float(u)))) for u in np.linspace(0.0, 1.0, 3)]
    return [(place(axis, value) or 0.0, shown(value)) for value in axis.values]


def _ruler(axes: Axes, column: int, ticks: Sequence[tuple[float, str]], colors: Mapping[Color, str]) -> None:
    axes.axvline(column, color=colors["grid"], lw=1.0, zorder=0)
    for y, text in ticks:
        axes.annotate(
            text, (column, y), xytext=(4, 0), textcoords="offset points", va="center", fontsize=FONT * 0.8,
            color=colors["muted"],
        )  # fmt: skip
