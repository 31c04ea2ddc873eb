"""The sections with charts: each says in words what its chart shows, or why there is none."""

from __future__ import annotations

import math
from html import escape

import numpy as np

from sedd.report.charts import (
    MOST_POINTS,
    attribution_chart,
    bound_chart,
    bound_levels,
    bound_profile_chart,
    loss_chart,
    normalised_chart,
    off_the_chart,
    optimizer_chart,
)
from sedd.report.contents import Contents
from sedd.report.figures import chart_figure, heat_figure
from sedd.report.heatmap import heat_map
from sedd.report.plots import Chart
from sedd.runs.metrics import BoundRecord

ROWS = 25
"""Rows of the table of evaluations."""
NO_LINES = "<p>No line of the training loss was logged yet (training.log_every).</p>"
NO_BINS = "<p>The loss by mask rate was not recorded, so there is nothing to attribute.</p>"


def loss(contents: Contents) -> str:
    """Training loss with the forecast."""
    chart = loss_chart(contents)
    if chart is None:
        return NO_LINES
    words = []
    if contents.predictors:
        words.append(
            "The band lies between a model that knows nothing and one that knows only how often each letter occurs. A "
            "loss that rises along with the band rises because of the curriculum. Below the band, order was learnt."
        )
    if contents.forecast is None:
        words.append(
            "The phases are unknown, since the curriculum is not known here."
            if contents.predictors
            else "Without a usable configuration there is no forecast to compare with."
        )
    else:
        phases = [
            f"{phase.name} from step {phase.first:,} to {phase.last:,}"
            + (f" ({hours(phase.hours)})" if phase.hours else "")
            for phase in contents.forecast.phases
        ]
        words.append(f"Phases, split by dotted lines: {', '.join(phases)}.")
    return chart_figure(chart, caption=" ".join((*words, *_drawn(chart, contents))))


def attribution(contents: Contents) -> str:
    """What the curriculum and the model did to the loss."""
    chart = attribution_chart(contents)
    if chart is None:
        few = len(contents.history.lines) < 2
        return "<p>A change needs at least two logged lines (training.log_every).</p>" if few else NO_BINS
    whole = None if contents.diagnosis is None else contents.diagnosis.whole
    said = f"<p>{escape(str(whole))}</p>" if whole is not None else ""
    caption = (
        "Difficulty is what the curriculum did, learning what the model did; luck is which mask rates happened to be "
        "drawn. At every step the three add up to the change of the loss, each line pooled with its neighbours. "
        "Learning below 0 is good. Mask rates that the curriculum has just reached were not measured before: their "
        "nearest neighbours stand in for them."
    )
    table = ""
    if whole is not None and whole.moved():
        rows = "".join(
            f"<tr><td>{low:.1%} to {high:.1%}</td><td class=n>{harder:+.4f}</td><td class=n>{learnt:+.4f}</td></tr>"
            for low, high, harder, learnt in whole.moved(5)
        )
        table = (
            "<details><summary>The mask rates that moved most</summary><table><thead><tr><th scope=col>mask rate</th>"
            "<th scope=col class=n>difficulty, nats</th><th scope=col class=n>learning, nats</th></tr></thead>"
            f"<tbody>{rows}</tbody></table></details>"
        )
    return said + chart_figure(chart, caption=" ".join((caption, *_drawn(chart, contents)))) + table


def normalised(contents: Contents) -> str:
    """The loss with the difficulty taken out."""
    chart = normalised_chart(contents)
    if chart is None:
        return NO_BINS if contents.history.lines else NO_LINES
    caption = (
        "Each loss over that of a model which knows only the letters and had the same draws. It means the same at "
        "every step, whatever the curriculum does: 1 knows the letters and no more, below 1 order was learnt."
    )
    return chart_figure(chart, caption=" ".join((caption, *_drawn(chart, contents))))


def bound(contents: Contents) -> str:
    """The held-out bound, its parts by mask rate, and a table."""
    chart = bound_chart(contents)
    if chart is None:
        return (
            "<p>The bound was evaluated, but was never finite.</p>"
            if contents.history.bounds
            else "<p>No held-out bound yet: the first comes after training.eval_every steps.</p>"
        )
    levels = bound_levels(contents)
    shown = {level.name for level in chart.panels[0].levels}
    values = "; ".join(
        f"{escape(level.name)}: {level.y:.4f}{'' if level.name in shown else ' (off the chart)'}" for level in levels
    )
    caption = (
        "Upper bound on −log p of held-out sequences, with averaged weights. It never sees the curriculum: this is the "
        "number to judge a model by. Lower is better; bars are ± one standard error over sequences."
        + (f" Lines: {values}." if values else "")
    )
    found = chart_figure(chart, caption=caption) + _bound_table(contents.finite_bounds)
    profile = bound_profile_chart(contents)
    if profile is not None:
        found += "<h3>By mask rate</h3>" + chart_figure(
            profile, caption="What the bound is made of: the area under each curve is the bound. Little is masked on "
            "the left, everything on the right." if contents.absorbs else "What the bound is made of, by mask rate.",
        )  # fmt: skip
    return found


def _bound_table(bounds: list[BoundRecord]) -> str:
    places = sorted({round(place) for place in np.linspace(0, len(bounds) - 1, min(len(bounds), ROWS))})
    rows = "".join(
        f"<tr><td class=n>{each.step:,}</td><td class=n>{each.nats:.4f}</td>"
        f"<td class=n>{f'{each.stderr:.4f}' if math.isfinite(each.stderr) else '–'}</td>"
        f"<td class=n>{each.nats / math.log(2):.4f}</td><td class=n>{each.residues:,}</td></tr>"
        for each in (bounds[place] for place in places)
    )
    some = f", {len(places)} of {len(bounds):,}" if len(places) < len(bounds) else ""
    heads = ("step", "nats", "±", "bits", "residues seen")
    return (
        f"<details><summary>Evaluations as a table{some}</summary><table><thead><tr>"
        + "".join(f"<th scope=col class=n>{head}</th>" for head in heads)
        + f"</tr></thead><tbody>{rows}</tbody></table></details>"
    )


def profile(contents: Contents) -> str:
    """The heat map."""
    heat = heat_map(contents)
    if heat is None:
        return NO_BINS if contents.history.lines else NO_LINES
    words = [
        "Loss per unit of mask rate"
        + (" (the cross-entropy of masked residues)" if contents.absorbs else "")
        + " over the last hundred or so steps. Learning shows as a row that gets darker from left to right; a row "
        "that gets lighter got worse."
    ]
    if heat.has_gaps:
        words.append("Hatched: the curriculum had not gone there yet, or nothing was drawn. Nothing is guessed.")
    if heat.clipped:
        words.append("Anything far above a model that knows nothing has the brightest colour.")
    if heat.lines_per_column > 1:
        words.append(f"Each column is the mean of up to {heat.lines_per_column} lines.")
    return heat_figure(heat, caption=" ".join(words))


def optimizer(contents: Contents) -> str:
    """Learning rate, gradient norm, skipped steps, rollbacks."""
    chart = optimizer_chart(contents)
    if chart is None:
        return NO_LINES
    skipped = len(contents.history.skipped)
    told = f"{skipped:,} steps were skipped: their gradient was not finite." if skipped else "No step was skipped."
    words = ["The gradient norm is that before clipping.", told]
    for event in contents.rollbacks:
        words.append(
            f"At step {event['from_step']:,} the run went back to step {event['step']:,} (red line), with the learning "
            f"rate times {event['lr_scale']:g}."
        )
    return chart_figure(chart, caption=" ".join((*words, *_drawn(chart, contents))))


def _drawn(chart: Chart, contents: Contents) -> list[str]:
    """What the drawing leaves out: what is off the chart, and lines that were put together."""
    words, off, count = [], off_the_chart(chart), len(contents.history.lines)
    if off is not None:
        words.append(f"Off the chart: as far as {off[0]:,.{0 if abs(off[0]) >= 1000 else 2}f} at step {off[1]:,.0f}.")
    if count > MOST_POINTS:
        together = math.ceil(count / MOST_POINTS)
        words.append(f"{count:,} lines were logged; each point stands for {together} of them, mostly as their mean.")
    return words


def hours(value: float) -> str:
    """A duration as people say it."""
    seconds = value * 3600
    for size, name in ((86400.0, "days"), (3600.0, "hours"), (60.0, "minutes")):
        if seconds >= 1.5 * size:
            return f"{seconds / size:.3g} {name}"
    return f"{seconds:.3g} seconds"
