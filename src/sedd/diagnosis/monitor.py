"""Watches a run: takes in the lines of its metrics file and asks the judge when there is something to judge.

It reads the lines one after the other and nothing else, so that a run gets the same verdict while it trains, after a
resume, and when it is long over. A look of the judge takes milliseconds, so it does not look at every line: always at
an evaluation, often while the run is young, later when a cheap test of the last lines asks for it.

An alarm needs a Bayes factor of at least 100 times the number of looks so far. A Bayes factor is an e-value, so that by
Markov's inequality and a union bound at most about 1 % of healthy runs ever get an alarm, however often it looks.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from functools import cached_property
from typing import Any

from sedd.config.config import Config
from sedd.diagnosis import remedies
from sedd.diagnosis.alarms import Alarm, Cause, Severity
from sedd.diagnosis.evidence.base import RunFacts
from sedd.diagnosis.judge import Judgement, judge_run, main_symptom
from sedd.diagnosis.levels import LinePool
from sedd.diagnosis.predictors import Predictor
from sedd.diagnosis.rises import smallest_preschool_time
from sedd.diagnosis.rules import RULES, Broken, over
from sedd.diagnosis.verdict import WENT_WRONG, Verdict
from sedd.runs.history import History

RECENT = 3
"""Lines of the cheap test."""
BEFORE = 20
"""Lines with which it compares them."""
TRIGGER = 3.0
"""Standard deviations from which it asks the judge."""
YOUNG = 100
"""Lines up to which the judge looks at every second one."""
LATER = 50
"""Share of the lines after which the judge looks again anyway: 1/50."""
LEVEL = 0.01
"""Probability that a healthy run ever gets an alarm, at most."""
MIN_CRITICAL = 0.04
"""Log ratio of the loss at equal mask rates, at the lower end of its interval, from which a run diverges."""
PLATEAUS = ("uniform plateau", "late plateau")
"""Plateaus that are worth an alarm: nearly every run stands at the unigram model for a while."""
CRITICAL_NATS = 0.02
"""Rise of the held-out bound, at the lower end of its interval, from which overfitting is critical."""


class Monitor:
    """Takes in the lines of a metrics file and raises alarms.

    Args:
        config: of the run; `config.monitoring` holds the thresholds.
        predictors: `untrained` and `unigram` (see `sedd.diagnosis.predictors`), where they are known.
    """

    def __init__(self, config: Config, predictors: Mapping[str, Predictor]) -> None:
        self.config, self.predictors = config, predictors
        self.history = History()
        self.alarms: list[Alarm] = []
        self.by_chance: Counter[str] = Counter()
        """How often each rule was broken by Monte Carlo error alone."""
        self._pool = LinePool()
        self._step = 0
        self._looks = 0
        self._looked_at = 0
        self._levels: list[float] = []  # log loss over the unigram model, of the last lines
        self._firing: tuple[str, Severity] | None = None  # hypothesis and severity of the alarm that lasts
        self._breaking: set[str] = set()

    def observe(self, record: Mapping[str, Any]) -> list[Alarm]:
        """Take in one line of the metrics file; returns the alarms that it raises."""
        self.history.append(record)
        self._step = record["step"]
        raised: list[Alarm] = []
        match record["kind"]:
            case "train":
                self._take_in()
                raised = self._broken_rules()
                if self._due():
                    raised += self._look()
            case "bound" | "skipped":
                raised = self._look()
            case "rollback":
                self._go_back(record)
        self.alarms += raised
        return raised

    def verdict(self) -> Verdict:
        """The verdict on the run so far."""
        return judge_run(self.facts(), past=True).verdict(self.alarms)

    def facts(self) -> RunFacts:
        """What the lines so far show."""
        return RunFacts(self.config, self.history, self.predictors, self._pool.levels())

    # When the judge looks ------------------------------------------------------------------------------------------

    def _take_in(self) -> None:
        line = self.history.lines[-1]
        self._pool.append(line)
        ratio = over(self.predictors, "unigram", line.bins)
        self._levels = [*self._levels[-(BEFORE + RECENT - 1) :], math.log(max(ratio, 1e-12))]

    def _due(self) -> bool:
        count = len(self.history.lines)
        waited = count - self._looked_at
        if count < RECENT:
            return False
        if count <= YOUNG:
            return waited >= 2
        pause = max(2, count // LATER) if self._firing else 2
        return waited >= max(2, count // LATER) or (waited >= pause and self._suspicious())

    def _suspicious(self) -> bool:
        """Whether the loss of the last lines, relative to the unigram model, is far above that of the lines before."""
        before, now = self._levels[:-RECENT], self._levels[-RECENT:]
        if len(before) < BEFORE:
            return False
        mean = sum(before) / len(before)
        spread = math.sqrt(sum((value - mean) ** 2 for value in before) / len(before))
        return not sum(now) / RECENT - mean <= TRIGGER * spread / math.sqrt(RECENT)  # NaN is suspicious

    # Alarms --------------------------------------------------------------------------------------------------------

    def _look(self) -> list[Alarm]:
        """Ask the judge; the alarm that follows from its verdict, if it is a new one."""
        if len(self.history.lines) < RECENT and len(self.history.skipped) < RECENT:
            return []
        self._looks += 1
        self._looked_at = len(self.history.lines)
        judgement = judge_run(self.facts())
        kind, name = judgement.decision.kind, judgement.decision.likeliest
        worth = kind in WENT_WRONG or (kind == "plateau" and name in PLATEAUS)
        if not worth or judgement.log_bayes_factor < math.log(self._looks / LEVEL):
            self._firing = None
            return []
        firing = (name, _severity(judgement))
        if firing == self._firing:
            return []
        self._firing = firing
        return [self._alarm_of(judgement)]

    def _alarm_of(self, judgement: Judgement) -> Alarm:
        verdict = judgement.verdict()
        numbers = dict(verdict.numbers)
        if verdict.since is not None:
            numbers |= {"since": float(verdict.since[0]), "since_latest": float(verdict.since[1])}
        cause: Cause = verdict.kind  # type: ignore[assignment]  # what is worth an alarm is a cause
        return Alarm(
            self._step,
            verdict.hypothesis,
            cause,
            _severity(judgement),
            verdict.summary,
            {name: value for name, value in numbers.items() if math.isfinite(value)},
            tuple(str(remedy) for remedy in verdict.remedies),
        )

    def _broken_rules(self) -> list[Alarm]:
        """An alarm for each rule of `monitoring` that the curriculum begins to break; Monte Carlo error is counted."""
        lines, known = self.history.lines, self._breaking
        broken = [found for rule in RULES if (found := rule(self.config, lines, self.predictors, known))]
        self.by_chance.update(found.rule for found in broken if not found.by_curriculum)
        explained = [found for found in broken if found.by_curriculum]
        new = [self._alarm_of_rule(found) for found in explained if found.rule not in self._breaking]
        self._breaking = {found.rule for found in explained}
        return new

    def _alarm_of_rule(self, broken: Broken) -> Alarm:
        needed = self._preschool_time if broken.rule == "max_rise" else None
        advice = tuple(map(str, remedies.of_rise(self.config, needed)))
        return Alarm(self._step, broken.rule, "curriculum", "info", broken.message, dict(broken.numbers), advice)

    @cached_property
    def _preschool_time(self) -> int | None:
        """The smallest `preschool_time` that keeps the climb under `monitoring.max_rise`; None if there is none."""
        unigram = self.predictors.get("unigram")
        if unigram is None:
            return None
        return smallest_preschool_time(self.config, unigram, limit=self.config.monitoring.max_rise)

    def _go_back(self, record: Mapping[str, Any]) -> None:
        """After a rollback: forget what came after its checkpoint, except the alarm that caused it."""
        step = record["step"]
        self.history.rewind(step)
        self.alarms = [alarm for alarm in self.alarms if alarm.step <= step] + [Alarm.from_dict(record["alarm"])]
        self._firing = None
        self._breaking.clear()
        self._pool, self._levels, self._looked_at = LinePool(), [], 0
        for line in self.history.lines:
            self._pool.append(line)


def _severity(judgement: Judgement) -> Severity:
    low = main_symptom(judgement.symptoms, judgement.decision.likeliest).effect.low
    match judgement.decision.kind:
        case "learning" | "instability":
            return "critical" if low > MIN_CRITICAL else "warning"
        case "overfitting":
            return "critical" if low > CRITICAL_NATS else "warning"
        case _:
            return "warning"
