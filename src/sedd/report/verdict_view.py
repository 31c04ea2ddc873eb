"""What every page shows of a verdict, as plain data for its template, and the templates themselves."""

from __future__ import annotations

import math
from dataclasses import dataclass
from importlib.resources import files

from jinja2 import Environment, FunctionLoader, StrictUndefined

from sedd.diagnosis.hypotheses import HYPOTHESES, in_percent
from sedd.diagnosis.labels import LABELS
from sedd.diagnosis.verdict import UNDECIDED, Verdict
from sedd.report.figures import Table
from sedd.terminal.activity import duration


@dataclass(frozen=True)
class VerdictView:
    """A verdict for the box at the top of a page."""

    verdict: Verdict
    colour: str
    """Class of the style sheet: `good`, `wait` or `bad`."""
    label: str
    """The verdict in a few words."""
    since: str
    """When it began, in a sentence; empty where nothing did."""
    probabilities: Table
    """Every kind that was considered, the likeliest first."""
    meaning: str
    """What is true under the likeliest hypothesis; empty where none was named."""
    numbers: Table
    """The numbers of the evidence."""


def view_of(verdict: Verdict, *, label: str | None = None) -> VerdictView:
    """A verdict as plain data; `label` replaces that of its kind."""
    hypothesis = HYPOTHESES.get(verdict.hypothesis)
    return VerdictView(
        verdict,
        colour=colour(verdict),
        label=LABELS[verdict.kind] if label is None else label,
        since=_since(verdict),
        probabilities=_probabilities(verdict),
        meaning="" if hypothesis is None else hypothesis.meaning,
        numbers=_numbers(verdict),
    )


def colour(verdict: Verdict) -> str:
    """`good`: go on. `wait`: the input does not decide, or the model does not improve. `bad`: act."""
    if verdict.went_wrong:
        return "bad"
    return "wait" if verdict.kind in UNDECIDED or verdict.kind == "plateau" else "good"


def _since(verdict: Verdict) -> str:
    if verdict.began is None:
        return ""
    low, high = verdict.began
    return f"It began between step {low:,} and step {high:,} (95 % interval)."


def _probabilities(verdict: Verdict) -> Table:
    ordered = sorted(verdict.probabilities.items(), key=lambda item: item[1], reverse=True)
    return Table(("verdict", "probability"), tuple((LABELS[kind], in_percent(value)) for kind, value in ordered))


def _numbers(verdict: Verdict) -> Table:
    factor = {"log of the Bayes factor against healthy": verdict.log_bayes_factor} if verdict.hypothesis else {}
    known = {name: value for name, value in {**factor, **verdict.numbers}.items() if math.isfinite(value)}
    return Table(("number", "value"), tuple((name, f"{value:.4g}") for name, value in known.items()))


def templates() -> Environment:
    """The environment that renders the templates of this package: everything is escaped, a missing name is an error."""
    environment = Environment(
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        loader=FunctionLoader(resource),
    )
    environment.filters["duration"] = duration
    return environment


def resource(name: str) -> str:
    """The text of a file of this package."""
    return (files(__package__) / name).read_text(encoding="utf-8")
