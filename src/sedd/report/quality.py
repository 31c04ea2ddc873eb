"""The quality of a run's samples: its `samples` lines, and how the main metrics moved from step to step."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from sedd.evaluation.quality import Quality
from sedd.report.chart import Chart, Panel, Series
from sedd.report.contents import Contents

MAIN = {
    "3mer_divergence": ("3-mer divergence, nats/1000", 1000.0),
    "low_complexity": ("low complexity, %", 100.0),
    "diversity": ("diversity, 3-mers, %", 100.0),
    "copies": ("close copies, %", 100.0),
}
"""Metrics that are drawn over steps: title with unit, and the factor from the recorded number to that unit."""
_SETS = ("", "_held_out", "_shuffled")


@dataclass(frozen=True)
class JudgedSamples:
    """A `samples` line of the metrics."""

    step: int
    values: Mapping[str, tuple[float, float, float]]
    """By metric: samples, held-out, shuffled; in the units of `Row`."""
    quality: Quality | None
    """The complete outcome; None where only its numbers were recorded."""

    @staticmethod
    def from_record(record: Mapping[str, Any]) -> JudgedSamples:
        """From a record; a metric that lacks a number is left out."""
        values = {}
        for name in (key[8:-9] for key in record if key.startswith("samples_") and key.endswith("_held_out")):
            samples, held_out, shuffled = (record.get(f"samples_{name}{end}") for end in _SETS)
            if all(isinstance(value, int | float) for value in (samples, held_out, shuffled)):
                values[name] = (samples, held_out, shuffled)
        try:
            quality = Quality.from_dict(record.get("quality"))
        except ValueError:
            quality = None
        return JudgedSamples(record["step"], values, quality)  # type: ignore[arg-type]  # numbers, checked above

    def half(self, name: str) -> float:
        """Half the 95 % interval of the samples, 0 where it is unknown."""
        rows = () if self.quality is None else self.quality.rows
        return next((row.samples_half for row in rows if row.name == name), 0.0)


def judged_samples(contents: Contents) -> list[JudgedSamples]:
    """All `samples` lines of a run."""
    return [JudgedSamples.from_record(event) for event in contents.history.events if event["kind"] == "samples"]


def quality_chart(contents: Contents) -> Chart | None:
    """The main metrics over steps; None where samples were judged at fewer than two steps."""
    lines = judged_samples(contents)
    if len(lines) < 2:
        return None
    steps = np.array([float(line.step) for line in lines])
    unknown = (np.nan, np.nan, np.nan)
    panels = []
    for name, (title, scale) in MAIN.items():
        samples, held_out, shuffled = scale * np.array([line.values.get(name, unknown) for line in lines]).T
        if np.isnan(samples).all():
            continue
        half = scale * np.array([line.half(name) for line in lines])
        series = (
            Series("samples", steps, samples, "run", "points", np.maximum(samples - half, 0.0), samples + half),
            Series("held-out", steps, held_out, "model"),
            Series("shuffled", steps, shuffled, "curriculum", "dashed"),
        )
        panels.append(Panel(title, series, y_range=_range(series), height=0.5))
    last = max(float(contents.step), steps[-1])
    return Chart("quality", "Quality of samples", tuple(panels), x_range=(0.0, last * 1.01)) if panels else None


def _range(series: Sequence[Series]) -> tuple[float, float]:
    """Around all curves and error bars; below 0 only as far as a marker at 0 needs."""
    ends = np.concatenate([end for curve in series for end in (curve.y, curve.low, curve.high) if end is not None])
    low, high = float(np.nanmin(ends)), float(np.nanmax(ends))
    margin = max(0.08 * (high - low), 0.01)
    return (low - margin if low > margin else -0.05 * (high + margin), high + margin)
