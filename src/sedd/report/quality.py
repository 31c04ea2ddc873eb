"""How good the samples of a run were: the last ones as a table, and how the main metrics moved from step to step."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

import numpy as np

from sedd.evaluation.quality import Quality, Row
from sedd.evaluation.quality.table import LEGEND, title_of, values_of
from sedd.report.contents import Contents
from sedd.report.figures import chart_figure
from sedd.report.plots import Chart, Panel, Series

MAIN = {
    "3mer_divergence": ("3-mer divergence, nats/1000", 1000.0),
    "low_complexity": ("low complexity, %", 100.0),
    "diversity": ("diversity, 3-mers, %", 100.0),
    "copies": ("close copies, %", 100.0),
}
"""Metrics that are drawn over steps: title with unit, and what a recorded number is multiplied by."""
NONE = (
    "<p>No samples were judged in this run: <code>sampling.at_steps</code> and <code>sampling.every</code> say when. "
    "<code>sedd quality</code> judges samples of a run at any time.</p>"
)
_TONES = {"beats": "good", "loses": "bad"}
Triple = tuple[float, float, float]


@dataclass(frozen=True)
class Judged:
    """A `samples` line of the metrics."""

    step: int
    values: Mapping[str, Triple]
    """By metric: samples, held-out, shuffled; in the units of `Row`."""
    quality: Quality | None
    """The whole outcome; None where only its numbers were recorded."""

    @staticmethod
    def of(line: Mapping[str, Any]) -> Judged:
        """From a line; what it lacks is left out."""
        names = [key.removeprefix("samples_").removesuffix("_held_out") for key in line if key.endswith("_held_out")]
        keys = {name: [f"samples_{name}{end}" for end in ("", "_held_out", "_shuffled")] for name in names}
        values = {
            name: (line[a], line[b], line[c])
            for name, (a, b, c) in keys.items()
            if all(isinstance(line.get(key), int | float) for key in (a, b, c))
        }
        try:
            return Judged(line["step"], values, Quality.from_json(line.get("quality")))
        except ValueError:
            return Judged(line["step"], values, None)

    def half(self, name: str) -> float:
        """Half the interval of the samples, 0 where it is unknown."""
        rows = () if self.quality is None else self.quality.rows
        return next((row.samples_half for row in rows if row.name == name), 0.0)


def section(contents: Contents) -> str:
    """Sentence, table and notes of the last line, then the curves."""
    lines = [Judged.of(event) for event in contents.history.events if event["kind"] == "samples"]
    if not lines:
        return NONE
    last, chart = lines[-1], quality_chart(lines, contents)
    parts = [f"<h3>Step {last.step:,}</h3>", _plain(last) if last.quality is None else _whole(last.quality)]
    if chart is not None:
        caption = (
            "Samples with their 95 % interval, held-out natural sequences, and these shuffled. Good is what is near "
            "held-out; a divergence is good near 0. Close copies above held-out: the model repeats its training set."
        )
        parts += ["<h3>From step to step</h3>", chart_figure(chart, caption=caption)]
    return "".join(parts)


def quality_chart(lines: Sequence[Judged], contents: Contents) -> Chart | None:
    """The main metrics over steps; None where there is one line only."""
    if len(lines) < 2:
        return None
    steps = np.array([float(each.step) for each in lines])
    unknown = (np.nan, np.nan, np.nan)
    panels = []
    for name, (title, scale) in MAIN.items():
        samples, held_out, shuffled = scale * np.array([each.values.get(name, unknown) for each in lines]).T
        if np.isnan(samples).all():
            continue
        half = scale * np.array([each.half(name) for each in lines])
        series = (
            Series("samples", steps, samples, "run", "points", np.maximum(samples - half, 0.0), samples + half),
            Series("held-out", steps, held_out, "model"),
            Series("shuffled", steps, shuffled, "curriculum", "dashed"),
        )
        panels.append(Panel(title, series, y_range=_range(series), height=0.62))
    last = max(float(contents.step), steps[-1])
    return Chart("quality", "Quality of samples", tuple(panels), x_range=(0.0, last * 1.01)) if panels else None


def _range(series: Sequence[Series]) -> tuple[float, float]:
    """Round all curves and bars; not below 0, but for what makes a point on it whole."""
    ends = np.concatenate([each for one in series for each in (one.y, one.low, one.high) if each is not None])
    low, high = float(np.nanmin(ends)), float(np.nanmax(ends))
    room = max(0.08 * (high - low), 0.01)
    return (low - room if low > room else -0.05 * (high + room), high + room)


def _whole(quality: Quality) -> str:
    heads = (
        "metric",
        f"samples ({quality.samples:,})",
        f"held-out ({quality.held_out:,})",
        f"shuffled ({quality.held_out:,})",
        "vs shuffled",
        "vs held-out",
    )
    notes = "".join(f"<li>{escape(note)}</li>" for note in quality.notes)
    listed = f'<div class="note"><ul>{notes}</ul></div>' if notes else ""
    legend = re.sub("`(.+?)`", r"<code>\1</code>", escape(LEGEND))
    return (
        f"<p>{escape(quality.sentence)}</p>{_table(heads, [_cells(row) for row in quality.rows])}"
        f'<p class="small">{legend}</p>{listed}'
    )


def _cells(row: Row) -> list[str]:
    answers = [row.against_shuffled if row.differ else "-", row.against_held_out]
    tags = [f'<span class="tag {_TONES[each]}">{each}</span>' if each in _TONES else each for each in answers]
    return [escape(title_of(row)), *values_of(row), *tags]


def _plain(judged: Judged) -> str:
    rows = [[escape(name), *(f"{value:.4g}" for value in values)] for name, values in judged.values.items()]
    return "<p>Recorded without intervals and verdicts, as nats and shares.</p>" + _table(
        ("metric", "samples", "held-out", "shuffled"), rows
    )


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Cells are HTML; the second to the fourth of each row are numbers."""

    def kind(place: int) -> str:
        return " class=n" if 1 <= place <= 3 else ""

    head = "".join(f"<th scope=col{kind(i)}>{name}</th>" for i, name in enumerate(heads))
    body = "".join(
        "<tr>"
        + "".join(f'<td{kind(i)} data-name="{heads[i].split(" (")[0]}">{cell}</td>' for i, cell in enumerate(row))
        + "</tr>"
        for row in rows
    )
    return f'<table class="cards thirds"><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>'
