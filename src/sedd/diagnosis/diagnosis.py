"""What `sedd.diagnose` returns: a verdict and the numbers behind it, for people and for programs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import groupby
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sedd.config.config import Config
from sedd.diagnosis.alarms import Alarm, Verdict
from sedd.diagnosis.attribution import Attribution, Cumulative, between, cumulative, normalised
from sedd.diagnosis.external_curve import ExternalCurveFit
from sedd.diagnosis.forecast import Forecast
from sedd.runs.history import History

Array = NDArray[np.float64]

SHOWN = 8
"""Lines of a table for people."""


@dataclass(frozen=True, eq=False)
class Diagnosis:
    """Whether the curriculum or the model moved the loss. `print` it, or take the numbers."""

    source: str
    """What was diagnosed."""
    config: Config = field(repr=False)
    """With which configuration."""
    verdict: Verdict
    """What the run is, in one word and one sentence, with all alarms."""
    forecast: Forecast = field(repr=False)
    """What the configuration shows whatever is learnt; `run` is the run's own profile."""
    history: History = field(default_factory=History, repr=False)
    """What the run has recorded; empty for a CSV."""
    elsewhere: ExternalCurveFit | None = field(default=None, repr=False)
    """For a CSV: the curve against what is known in closed form."""

    @property
    def alarms(self) -> tuple[Alarm, ...]:
        """All alarms, in order."""
        return self.verdict.alarms

    @cached_property
    def cumulative(self) -> Cumulative | None:
        """Difficulty and learning summed up along the run; None where no loss by mask rate was recorded."""
        lines = self.history.lines
        return cumulative(lines) if lines and all(line.bins.drawn.any() for line in lines) else None

    @cached_property
    def normalised(self) -> Array:
        """Loss over that of a model that knows only the letters: the same meaning at every step. (lines,)"""
        if self.elsewhere is not None:
            return self.elsewhere.over_unigram
        return normalised(self.history.lines, self.forecast.predictors["unigram"])

    @property
    def steps(self) -> list[int]:
        """The optimizer step of each entry of `normalised`."""
        return self.history.steps if self.elsewhere is None else self.elsewhere.curve.steps.tolist()

    @cached_property
    def whole(self) -> Attribution | None:
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
        loss, lines = self.cumulative.loss, self.history.lines
        lowest = np.minimum.accumulate(loss)
        top = int((loss - lowest).argmax())
        bottom = int(loss[: top + 1].argmin())
        return between(lines, lines[bottom].step, lines[top].step) if bottom < top else None

    def between(self, first: int, last: int) -> Attribution:
        """The split of the change between two optimizer steps.

        Raises:
            DataError: if there is no loss by mask rate, as in a CSV, or both steps fall on the same line.
        """
        return between(self.history.lines, first, last)

    @property
    def assumed(self) -> list[str]:
        """What was taken for granted, one sentence each."""
        found = [f"DataStatistics: {self.forecast.letters.source}, {len(self.forecast.letters.frequencies)} symbols."]
        if self.elsewhere is None:
            return found
        if self.elsewhere.rate is not None:
            found.append(
                f"Ramp: the curve fits an exponential ramp of rate {self.elsewhere.rate:g} better than the "
                "configuration's; give curriculum.rate to hold it fixed."
            )
        return [
            *found,
            "Losses: nats per residue, each that of a single step or of the steps just before it.",
            "A curve alone cannot be split into difficulty and learning, and its loss is no held-out bound.",
        ]

    def to_json(self) -> dict[str, Any]:
        """Everything as plain data."""
        found: dict[str, Any] = {"source": self.source, **self.verdict.to_json()}
        if self.elsewhere is not None:
            found["curve"] = self.elsewhere.to_json()
        else:
            found |= {
                "whole": self.whole.to_json() if self.whole else None,
                "steepest": self.steepest.to_json() if self.steepest else None,
                "cumulative": _columns(self.cumulative),
                "bounds": [{"step": b.step, "nats": b.nats, "stderr": b.stderr} for b in self.history.bounds],
            }
        normalised_loss = {"step": self.steps, "over_unigram": _plain(self.normalised)}
        return found | {
            "normalised": normalised_loss,
            "assumed": self.assumed,
            "forecast": self.forecast.to_json(),
        }

    def __str__(self) -> str:
        return "\n".join(self._text())

    def _text(self) -> Iterator[str]:
        yield self.verdict.sentence
        if self.alarms:
            yield ""
            yield "Alarms"
            yield from grouped(self.alarms)
        if self.elsewhere is not None:
            yield ""
            yield from _curve_table(self.elsewhere)
        if self.whole is not None:  # the verdict has its sum
            yield ""
            yield f"What moved most from step {self.whole.first:,} to {self.whole.last:,}"
            yield from moved_text(self.whole)
        if self.steepest is not None and self.whole is not None and not _same(self.steepest, self.whole):
            yield ""
            yield "Its largest climb"
            yield from split_text(self.steepest)
        if self.elsewhere is None and self.steps:
            yield ""
            yield "Loss over that of a model that knows only the letters (1 at any difficulty: it knows no more)"
            shown = _spread(len(self.steps))
            yield "  step " + " ".join(f"{self.steps[i]:>9,}" for i in shown)
            yield "       " + " ".join(f"{self.normalised[i]:>9.3f}" for i in shown)
        yield ""
        yield "Taken for granted"
        yield from (f"  {sentence}" for sentence in self.assumed)


def grouped(alarms: Sequence[Alarm]) -> Iterator[str]:
    """Alarms for people: for each rule and cause the first and the last, and what to do."""

    def kind(alarm: Alarm) -> tuple[str, str]:
        return alarm.rule, alarm.cause

    order = {key: place for place, key in reversed(list(enumerate(map(kind, alarms))))}
    for (rule, cause), group in groupby(sorted(alarms, key=lambda alarm: order[kind(alarm)]), key=kind):
        same = list(group)
        times = f", {len(same)} times" if len(same) > 1 else ""
        severest = max(same, key=lambda alarm: ("info", "warning", "critical").index(alarm.severity))
        yield f"  {rule}: {severest.severity}, cause {cause}{times}"
        for place in dict.fromkeys((0, len(same) - 1)):
            yield f"    step {same[place].step:,}: {same[place].message}"
        yield from (f"    - {remedy}" for remedy in same[-1].remedies)


def split_text(found: Attribution) -> Iterator[str]:
    """An attribution for people, with the bins that moved."""
    yield f"  {found}"
    yield from moved_text(found)


def moved_text(found: Attribution) -> Iterator[str]:
    """The bins of an attribution that moved most."""
    for low, high, difficulty, learning in found.moved():
        yield f"    mask rates {low:.1%} to {high:.1%}: difficulty {difficulty:+.4f}, learning {learning:+.4f}"


def _same(a: Attribution, b: Attribution) -> bool:
    return (a.first, a.last) == (b.first, b.last)


def _curve_table(found: ExternalCurveFit) -> Iterator[str]:
    yield f"  {'step':>9} {'difficulty':>10} {'loss':>9} {'untrained':>9} {'ratio':>6} {'letters':>9} {'ratio':>6}"
    for i in _spread(len(found.curve)):
        yield (
            f"  {found.curve.steps[i]:>9,} {found.difficulty[i]:>10.3f} {found.curve.losses[i]:>9.4f} "
            f"{found.untrained[i]:>9.4f} {found.over_untrained[i]:>6.2f} {found.unigram[i]:>9.4f} "
            f"{found.over_unigram[i]:>6.2f}"
        )


def _spread(count: int) -> list[int]:
    """At most `SHOWN` places, the first and the last among them."""
    return sorted({round(place) for place in np.linspace(0, count - 1, min(count, SHOWN))})


def _columns(found: Cumulative | None) -> dict[str, list[float | None]] | None:
    if found is None:
        return None
    return {name: _plain(getattr(found, name)) for name in ("steps", "loss", "difficulty", "learning", "draw")}


def _plain(values: Array) -> list[float | None]:
    """For files: seven significant digits, null for what is not finite."""
    return [float(f"{value:.7g}") if np.isfinite(value) else None for value in values]
