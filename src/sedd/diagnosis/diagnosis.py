"""What `sedd.diagnose` returns: a verdict and the numbers behind it, as text and as plain data."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from functools import cached_property
from typing import Any

import numpy as np

from sedd.config.config import Config
from sedd.diagnosis.alarms import Alarm, grouped, in_words
from sedd.diagnosis.attribution import Attribution, between, normalised
from sedd.diagnosis.cumulative import Cumulative, cumulative
from sedd.diagnosis.curve_fit import trainers
from sedd.diagnosis.curve_fit.result import ExternalCurveFit
from sedd.diagnosis.forecast import Forecast
from sedd.diagnosis.labels import LABELS
from sedd.diagnosis.predictors import Array
from sedd.diagnosis.verdict import Verdict
from sedd.runs.history import History

SHOWN = 8
"""Columns or rows of a printed table."""


@dataclass(frozen=True, eq=False)
class Diagnosis:
    """Whether the curriculum or the model moved the loss. `print` it, or use the numbers."""

    source: str
    """Path of the run or the curve."""
    config: Config = field(repr=False)
    """Configuration of the run."""
    verdict: Verdict
    """The verdict, with all alarms."""
    forecast: Forecast = field(repr=False)
    """Loss of fixed predictors under the configuration; `run` is the run's own profile."""
    history: History = field(default_factory=History, repr=False)
    """The lines of the metrics file; empty for a CSV."""
    by_chance: Mapping[str, int] = field(default_factory=dict, repr=False)
    """How often each rule of `monitoring` was broken by Monte Carlo error alone, which raises no alarm."""
    unseen: tuple[str, ...] = ()
    """What the log cannot show, one sentence each."""
    external_curve: ExternalCurveFit | None = field(default=None, repr=False)
    """For a CSV: the curve and the hypothesis that fits it best."""

    @property
    def summary(self) -> str:
        """The answer in two plain sentences."""
        return self.verdict.summary

    @property
    def alarms(self) -> tuple[Alarm, ...]:
        """All alarms, in the order of their steps."""
        return self.verdict.alarms

    @cached_property
    def cumulative(self) -> Cumulative | None:
        """Difficulty and learning parts along the run; None where no loss by mask rate was recorded."""
        lines = self.history.lines
        return cumulative(lines) if lines and all(line.bins.drawn.any() for line in lines) else None

    @cached_property
    def normalised(self) -> Array:
        """Loss over that of the unigram model, which is comparable at every difficulty, (lines,)."""
        if self.external_curve is not None:
            return self.external_curve.over_unigram
        return normalised(self.history.lines, self.forecast.predictors["unigram"])

    @property
    def steps(self) -> list[int]:
        """The optimizer step of each entry of `normalised`."""
        return self.history.steps if self.external_curve is None else self.external_curve.curve.steps.tolist()

    @cached_property
    def overall(self) -> Attribution | None:
        """The change of the loss from the first line to the last; None where there are fewer than two."""
        lines = self.history.lines
        if self.cumulative is None or len(lines) < 2:
            return None
        return between(lines, lines[0].step, lines[-1].step)

    @cached_property
    def steepest(self) -> Attribution | None:
        """The largest climb of the (smoothed) loss, from a low point to a later high one; None if it never rises."""
        if self.cumulative is None:
            return None
        loss, steps = self.cumulative.loss, self.cumulative.steps.astype(int).tolist()
        lowest = np.minimum.accumulate(loss)
        top = int((loss - lowest).argmax())
        bottom = int(loss[: top + 1].argmin())
        return self.between(steps[bottom], steps[top]) if bottom < top else None

    def between(self, first: int, last: int) -> Attribution:
        """The split of the change between two optimizer steps.

        Raises:
            DataError: if there is no loss by mask rate, as in a CSV, or both steps fall on the same line.
        """
        return between(self.history.lines, first, last)

    @property
    def assumed(self) -> list[str]:
        """The assumptions, one sentence each: on the configuration of another program, on its log, then all others."""
        statistics = self.forecast.statistics
        assumptions = [f"Token frequencies: {statistics.source}, {len(statistics.frequencies)} symbols."]
        if self.external_curve is None:
            return [*self.forecast.notes, *assumptions]
        fit = self.external_curve
        assumptions = [*self.forecast.notes, *fit.curve.notes, *assumptions]
        log = f"Losses: {fit.unit_words}, each of one step or the mean of the steps just before it."
        if fit.curve.unit is None:
            log += " The unit was inferred; name it with unit (--unit) to hold it fixed."
        unigram = "Unigram: a model that knows the token frequencies and nothing else."
        assumptions += [unigram, f"Trainer: {trainers.WORDS[fit.trainer]}.", log, *fit.notes]
        if fit.changes:
            changed = ", ".join(f"{key}={value}" for key, value in fit.changes.items())
            assumptions.append(f"Settings: the curve fits {changed} better than what the configuration has.")
        if fit.restart is not None:
            assumptions.append(f"The clock of the curriculum began again at about step {fit.restart:,}.")
        return [
            *assumptions,
            "Learning never makes the loss rise at equal difficulty, and its limit is that of the best known models.",
            "A curve alone cannot be split into difficulty and learning, and its loss is not a held-out bound.",
        ]

    def to_dict(self) -> dict[str, Any]:
        """The diagnosis as plain data."""
        data: dict[str, Any] = {"source": self.source, **self.verdict.to_dict()}
        if self.external_curve is not None:
            data["curve"] = self.external_curve.to_dict()
        else:
            parts = [item.name for item in fields(Cumulative)]
            data |= {
                "whole": self.overall.to_dict() if self.overall else None,
                "steepest": self.steepest.to_dict() if self.steepest else None,
                "cumulative": self.cumulative and {name: _plain(getattr(self.cumulative, name)) for name in parts},
                "bounds": [{"step": b.step, "nats": b.nats, "stderr": b.stderr} for b in self.history.bounds],
            }
        data["by_chance"], data["unseen"] = dict(self.by_chance), list(self.unseen)
        data["normalised"] = {"step": self.steps, "over_unigram": _plain(self.normalised)}
        return data | {"assumed": self.assumed, "forecast": self.forecast.to_dict()}

    def __str__(self) -> str:
        return "\n\n".join("\n".join(block) for block in self._blocks())

    def _answer(self) -> Iterator[Iterable[str]]:
        """The answer first, then how certain it is, then the numbers behind it."""
        verdict = self.verdict
        yield [verdict.lead]
        yield verdict_lines(verdict)
        if self.history.ended is not None:
            yield [self.history.ended.sentence]
        if verdict.sentence:
            yield [verdict.sentence]

    def _blocks(self) -> Iterator[Iterable[str]]:
        yield from self._answer()
        if self.alarms:
            yield [
                "Notes" if not any(a.severity != "info" for a in self.alarms) else "Alarms",
                *_alarm_lines(self.alarms),
            ]
        if self.external_curve is not None:
            yield _curve_table(self.external_curve)
        change, climb = self.overall, self.steepest
        if change is not None:  # its sum is part of the verdict
            title = f"Mask rates with the largest change from step {change.first:,} to {change.last:,}, without errors"
            yield [title, *mask_rate_lines(change)]
            if climb is not None and (climb.first, climb.last) != (change.first, change.last):
                yield ["Largest climb", f"  {climb}", *mask_rate_lines(climb)]
        if self.external_curve is None and self.steps:
            shown = evenly_spaced(len(self.steps), SHOWN)
            yield [
                "Loss over that of the unigram model (1 at any difficulty: token frequencies alone)",
                "  step " + " ".join(f"{self.steps[i]:>9,}" for i in shown),
                "       " + " ".join(f"{self.normalised[i]:>9.3f}" for i in shown),
            ]
        if self.unseen:
            yield ["What this log cannot show", *(f"  {sentence}" for sentence in self.unseen)]
        yield ["Assumptions", *(f"  {sentence}" for sentence in self.assumed)]


def verdict_lines(verdict: Verdict) -> Iterator[str]:
    """Certainty, beginning, and what to do, one line each."""
    yield f"Verdict: {LABELS[verdict.kind]}. {verdict.certainty}".rstrip()
    if verdict.since is not None:
        yield f"Began between step {verdict.since[0]:,} and step {verdict.since[1]:,} (95 % interval)."
    if verdict.remedies:
        yield "What to do"
        yield from (f"  - {remedy}" for remedy in verdict.remedies)
    if verdict.conditional is not None:
        yield f"If that is so: {verdict.conditional.summary} {verdict.conditional.advice}".rstrip()


def chance_lines(diagnosis: Diagnosis) -> Iterator[str]:
    """How often Monte Carlo error alone broke each rule of `monitoring`."""
    lines = len(diagnosis.history.lines)
    yield f"Rules of `monitoring` that Monte Carlo error alone broke, of {lines:,} logged lines (no alarm)"
    if not diagnosis.by_chance:
        yield "  none"
    for rule, count in sorted(diagnosis.by_chance.items()):
        yield f"  {rule}: {count:,} lines"


def _alarm_lines(alarms: Sequence[Alarm]) -> Iterator[str]:
    """For each rule and cause the first alarm, the last one, and the remedies."""
    for severity, group in grouped(alarms):
        times = f", {len(group)} times" if len(group) > 1 else ""
        yield f"  {in_words(group[0].rule)}: {severity}, cause {group[0].cause}{times}"
        for alarm in group if len(group) == 1 else (group[0], group[-1]):
            yield f"    noticed at step {alarm.step:,}: {alarm.message}"
        yield from (f"    - {remedy}" for remedy in group[-1].remedies)


def mask_rate_lines(split: Attribution) -> Iterator[str]:
    """Lines of text on the mask rates with the largest parts of a change."""
    digits = split.digits + 1
    for low, high, difficulty, learning in split.moved():
        yield (
            f"    mask rates {low:.1%} to {high:.1%}: difficulty {difficulty:+.{digits}f}, "
            f"learning {learning:+.{digits}f}"
        )


def _curve_table(fit: ExternalCurveFit) -> Iterator[str]:
    yield "Losses beside those of an untrained model and of the unigram model, at the same difficulty"
    header = ("step", "difficulty", "loss", "untrained", "loss/untrained", "unigram", "loss/unigram")
    yield "  " + " ".join(f"{name:>9}" for name in header)
    for i in evenly_spaced(len(fit.curve), SHOWN):
        yield (
            f"  {fit.curve.steps[i]:>9,} {fit.difficulty[i]:>10.3f} {fit.curve.losses[i]:>9.4f} "
            f"{fit.untrained[i]:>9.4f} {fit.over_untrained[i]:>14.2f} {fit.unigram[i]:>9.4f} "
            f"{fit.over_unigram[i]:>12.2f}"
        )


def evenly_spaced(count: int, most: int) -> list[int]:
    """At most `most` of the indices below `count`, the first and the last among them."""
    return sorted({round(index) for index in np.linspace(0, count - 1, min(count, most))})


def _plain(values: Array) -> list[float | None]:
    """Seven significant digits, null for what is not finite."""
    return [float(f"{value:.7g}") if np.isfinite(value) else None for value in values]
