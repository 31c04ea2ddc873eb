"""The page of a report: its numbers, figures and tables as plain data, and the template that shows them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from importlib.resources import files

from jinja2 import Environment, StrictUndefined

from sedd.data.prepare.progress import duration
from sedd.diagnosis.alarms import grouped
from sedd.diagnosis.attribution import Attribution
from sedd.diagnosis.verdict import Kind
from sedd.evaluation.intervals import with_error
from sedd.evaluation.quality.table import LEGEND, title_of, values_of
from sedd.report.charts import MOST_POINTS, bound_levels
from sedd.report.contents import Contents
from sedd.report.figures import Table, figures
from sedd.report.heatmap import heat_map
from sedd.report.quality import JudgedSamples, judged_samples

SECTIONS = {
    "loss": "Training loss",
    "attribution": "Curriculum or model?",
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
TONES: dict[Kind, tuple[str, str]] = {
    "healthy": ("good", "healthy"),
    "curriculum": ("good", "healthy, the task gets harder"),
    "plateau": ("wait", "plateau"),
    "inconclusive": ("wait", "inconclusive"),
    "learning": ("bad", "the model got worse"),
    "instability": ("bad", "unstable"),
    "data": ("bad", "the data changed"),
    "overfitting": ("bad", "overfitting"),
    "leak": ("bad", "the training loss sees its targets"),
    "averages": ("bad", "the averaged weights do not follow"),
    "held_out": ("bad", "held-out data of another kind"),
    "config": ("wait", "the configuration does not fit"),
    "unit": ("wait", "another unit"),
}
NOISE_CAUSE: str = "little signal"
"""Cause of an alarm that Monte Carlo error explains."""
ENDED_LONG_AGO = 0.1
"""A ramp of less than this share of the steps so far ended long ago."""
SEVERITY_TONES = {"info": "good", "warning": "wait", "critical": "bad"}


@dataclass(frozen=True)
class Number:
    """A key number, with a small line below it."""

    name: str
    value: str
    note: str = ""


def render(contents: Contents) -> str:
    """The complete page. It holds no script and loads nothing."""
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters["duration"] = duration
    template = environment.from_string(_resource("page.html.jinja"))
    shown = [alarm for alarm in contents.verdict.alarms if alarm.cause != NOISE_CAUSE]
    judged = judged_samples(contents)
    attribution = None if contents.diagnosis is None else contents.diagnosis.overall
    return template.render(
        css=_resource("page.css"),
        sections=SECTIONS,
        contents=contents,
        tone=tone(contents),
        ramping=ramping(contents),
        numbers=key_numbers(contents),
        figures=figures(contents),
        heat=heat_map(contents),
        lines_per_point=math.ceil(len(contents.history.lines) / MOST_POINTS),
        attribution=attribution,
        largest_changes=largest_changes(attribution),
        levels=bound_levels(contents),
        alarms=grouped(shown),
        noise_alarms=len(contents.verdict.alarms) - len(shown),
        severity_tones=SEVERITY_TONES,
        judged=judged[-1] if judged else None,
        quality_table=quality_table(judged[-1]) if judged else None,
        quality_legend=LEGEND.replace("`", ""),
        advice=contents.config.advice() if contents.config is not None and contents.curriculum_known else [],
    )


def ramping(contents: Contents) -> bool:
    """Whether the ramp explains part of the plotted loss: it takes at least a tenth of the steps so far, or goes on."""
    if contents.forecast is None:
        return False
    ramp = min(contents.forecast.config.curriculum.preschool_time, contents.forecast.config.training.n_iters)
    return ramp >= ENDED_LONG_AGO * contents.step and contents.forecast.mask_range(0) != contents.forecast.mask_range(
        ramp
    )


def tone(contents: Contents) -> tuple[str, str]:
    """Colour and label of the verdict; that the task gets harder is not said of a ramp that ended long ago."""
    kind = contents.verdict.kind
    return TONES["healthy" if kind == "curriculum" and not ramping(contents) else kind]


def _resource(name: str) -> str:
    return (files(__package__) / name).read_text(encoding="utf-8")


def largest_changes(attribution: Attribution | None) -> Table:
    """The mask rates that contribute most to the change of the loss."""
    changes = () if attribution is None else attribution.moved(5)
    rows = [
        (f"{low:.1%} to {high:.1%}", f"{difficulty:+.4f}", f"{learning:+.4f}")
        for low, high, difficulty, learning in changes
    ]
    return Table(("mask rate", "difficulty, nats", "learning, nats"), tuple(rows))


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


def key_numbers(contents: Contents) -> list[Number]:
    """The numbers that readers ask for first."""
    history, config = contents.history, contents.config
    of = f"of {config.training.n_iters:,}" if config is not None else ""
    numbers = [Number("optimizer step", f"{contents.step:,}", of), *_bound_numbers(contents)]
    if history.lines:
        last = history.lines[-1]
        loss = f"{last.loss:.4f}" if last.loss < 1000 else f"{last.loss:.4g}"
        numbers.append(Number("training loss", loss, f"nats per residue, at difficulty {last.difficulty:.2f}"))
        if last.seconds > 0:
            rate = f"{last.residues / last.seconds:,.0f} residues per second"
            numbers.append(Number("time in training steps", duration(last.seconds), rate))
        numbers.append(Number("training residues", _large(last.residues)))
    if contents.parameters is not None:
        numbers.append(Number("parameters", _large(contents.parameters)))
    if history.data is not None:
        length = f"of {history.data.mean_length:.0f} residues on average"
        numbers.append(Number("training sequences", f"{history.data.sequences:,}", length))
    trouble = [f"{len(history.skipped):,} skipped"] if history.skipped else []
    trouble += [f"{len(history.rollbacks):,} rolled back"] if history.rollbacks else []
    if trouble:
        numbers.append(Number("steps", ", ".join(trouble)))
    return numbers


def _bound_numbers(contents: Contents) -> list[Number]:
    bounds = contents.finite_bounds
    if not bounds:
        return [Number("held-out bound", "none yet")]
    last, best = bounds[-1], min(bounds, key=lambda bound: bound.nats)
    known = "± is half of a 95 % interval" if math.isfinite(last.half_width) else "of too few sequences for an error"
    text = with_error(last.nats, last.half_width) if math.isfinite(last.half_width) else f"{last.nats:.4f}"
    bits, perplexity = f"{last.nats / math.log(2):.3f} bits", f"perplexity {math.exp(min(last.nats, 700)):.4g}"
    numbers = [
        Number("held-out bound", text, f"nats per residue, {known}; {bits}, {perplexity}"),
        Number("best bound", f"{best.nats:.4f}", f"at step {best.step:,}"),
    ]
    levels = bound_levels(contents)
    if levels:
        level = levels[-1]  # the exact value where it is known, otherwise the unigram model
        side = "above" if last.nats > level.y else "below"
        note = f"the bound is {abs(last.nats - level.y):.4f} {side} it"
        numbers.append(Number(f"for comparison: {level.name}", f"{level.y:.4f}", note))
    return numbers


def _large(value: int) -> str:
    for size, name in ((1e9, "billion"), (1e6, "million")):
        if value >= size:
            return f"{value / size:.3g} {name}"
    return f"{value:,}"
