"""The page of a report: its numbers, figures and tables as plain data, and the template that shows them."""

from __future__ import annotations

import math

from sedd.diagnosis.alarms import Alarm, grouped
from sedd.diagnosis.attribution import Attribution
from sedd.diagnosis.labels import LABELS
from sedd.diagnosis.ramp import ramp_matters
from sedd.evaluation.intervals import with_error
from sedd.evaluation.quality.table import LEGEND, title_of, values_of
from sedd.report.bound_charts import bound_levels
from sedd.report.chart import Level
from sedd.report.charts import MOST_POINTS
from sedd.report.contents import Contents
from sedd.report.figures import Table, figures
from sedd.report.heatmap import heat_map
from sedd.report.key_numbers import key_numbers
from sedd.report.quality import JudgedSamples, judged_samples
from sedd.report.verdict_view import VerdictView, resource, templates, view_of

SECTIONS = {
    "loss": "Training loss",
    "attribution": "What moved the training loss",
    "normalised": "Loss relative to a unigram model",
    "bound": "Held-out bound",
    "profile": "Loss by mask rate",
    "optimizer": "Optimizer",
    "alarms": "Alarms",
    "quality": "Quality of samples",
    "samples": "Samples",
    "comparable": "Comparing runs",
    "configuration": "Configuration",
    "environment": "Environment",
}
"""Anchors and headings, in order."""
SEVERITY_TONES = {"info": "good", "warning": "wait", "critical": "bad"}


def render(contents: Contents) -> str:
    """The complete page. It holds no script and loads nothing."""
    environment = templates()
    environment.filters["with_interval"] = with_interval
    shown, chance = alarms_of(contents)
    judged = judged_samples(contents)
    attribution = None if contents.diagnosis is None else contents.diagnosis.overall
    return environment.get_template("page.html.jinja").render(
        css=resource("page.css"),
        sections=SECTIONS,
        contents=contents,
        view=view(contents),
        ramping=ramping(contents),
        numbers=key_numbers(contents),
        figures=figures(contents),
        heat=heat_map(contents),
        lines_per_point=math.ceil(len(contents.history.lines) / MOST_POINTS),
        attribution=attribution,
        largest_changes=largest_changes(attribution),
        levels=bound_levels(contents),
        own_numbers=own_numbers(contents),
        probed=any(bound.probe is not None for bound in contents.history.bounds),
        alarms=grouped(shown),
        chance=chance,
        severity_tones=SEVERITY_TONES,
        judged=judged[-1] if judged else None,
        quality_table=quality_table(judged[-1]) if judged else None,
        quality_legend=LEGEND.replace("`", ""),
        advice=contents.config.advice() if contents.config is not None and contents.curriculum_known else [],
    )


def ramping(contents: Contents) -> bool:
    """Whether the ramp explains part of the plotted loss; not known where the curriculum is not."""
    return contents.forecast is not None and ramp_matters(contents.forecast.config, contents.step)


def view(contents: Contents) -> VerdictView:
    """The verdict; that the task gets harder is not said of a ramp that ended long ago."""
    ended = contents.verdict.kind == "curriculum" and not ramping(contents)
    return view_of(contents.verdict, label=LABELS["healthy"] if ended else None)


def alarms_of(contents: Contents) -> tuple[list[Alarm], list[str]]:
    """The alarms that a person should know of, and how often rules were broken by what is harmless, in sentences.

    That the ramp broke a rule is worth knowing while the ramp explains part of the loss, and no longer.
    """
    alarms, known = contents.verdict.alarms, ramping(contents)
    shown = [alarm for alarm in alarms if alarm.severity != "info" or alarm.cause != "curriculum" or known]
    by_chance = {} if contents.diagnosis is None else contents.diagnosis.by_chance
    lines = len(contents.history.lines)
    sentences = [
        f"{rule}: {count:,} of {lines:,} lines, by Monte Carlo error alone" for rule, count in sorted(by_chance.items())
    ]
    over = [alarm for alarm in alarms if alarm not in shown]
    return shown, [*sentences, *(f"{alarm.rule}, at step {alarm.step:,}: the ramp, which is over" for alarm in over)]


def with_interval(level: Level) -> str:
    """The value of a level with half of its 95 % interval; an exact one without."""
    if level.half_width == 0.0:
        return f"{level.y:.4f}"
    return with_error(level.y, level.half_width)


def largest_changes(attribution: Attribution | None) -> Table:
    """The mask rates that contribute most to the change of the loss."""
    changes = () if attribution is None else attribution.moved(5)
    rows = [
        (f"{low:.1%} to {high:.1%}", f"{difficulty:+.4f}", f"{learning:+.4f}")
        for low, high, difficulty, learning in changes
    ]
    return Table(("mask rate", "difficulty, nats", "learning, nats"), tuple(rows))


def own_numbers(contents: Contents) -> Table:
    """The first, last, least and largest value of each number of `evaluation.metrics` and `Trainer.log`."""
    values: dict[str, list[tuple[int, float]]] = {}
    for record in contents.history.metrics:
        for name, value in record.numbers.items():
            values.setdefault(name, []).append((record.step, value))
    rows = []
    for name, points in values.items():
        first, last = points[0], points[-1]
        finite = [value for _, value in points if math.isfinite(value)]
        ends = [f"{value:.5g} (step {step:,})" for step, value in (first, last)]
        rows.append((name, *ends, *(f"{end(finite):.5g}" if finite else "" for end in (min, max)), f"{len(points):,}"))
    return Table(("name", "first", "last", "least", "largest", "times"), tuple(rows))


def quality_table(judged: JudgedSamples) -> Table:
    """One row per metric, with intervals and comparisons where they were recorded."""
    quality = judged.quality
    if quality is None:
        numbers = [(name, *(f"{value:.4g}" for value in values)) for name, values in judged.values.items()]
        return Table(("metric", "samples", "held-out", "shuffled"), tuple(numbers))
    counts = (f"samples ({quality.samples:,})", f"held-out ({quality.held_out:,})", f"shuffled ({quality.held_out:,})")
    rows = [
        (title_of(row), *values_of(row), row.against_shuffled if row.differ else "-", row.against_held_out)
        for row in quality.rows
    ]
    return Table(("metric", *counts, "vs shuffled", "vs held-out"), tuple(rows))
