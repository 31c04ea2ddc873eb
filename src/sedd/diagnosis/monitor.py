"""Watches a run: which rule fires, and whether the curriculum, the model, the data or mere luck made it fire.

It reads the lines of the metrics file one after the other and nothing else, so that a run is judged alike while it
trains, after a resume, and when it is long over.

The heart of it is one comparison that no curriculum can disturb: the loss of the last lines against that of earlier
ones *at the same mask rates*. How large a difference luck makes is measured from line to line in the same run.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from sedd.config.config import Config
from sedd.diagnosis import remedies
from sedd.diagnosis.alarms import Alarm, Cause, Severity, Verdict
from sedd.diagnosis.attribution import attribute
from sedd.diagnosis.forecast import CLOCK, rise_window, smallest_preschool_time
from sedd.diagnosis.predictors import Predictor
from sedd.diagnosis.verdicts import verdict
from sedd.diffusion.loss_profile import LossProfile
from sedd.runs.history import History
from sedd.runs.metrics import TrainRecord

RECENT = 3
"""Lines that are pooled as "now"."""
REFERENCE = 10
"""Lines before them that are pooled as "before"."""
LEAST = 8
"""Lines from which the noise between lines can be measured."""
NOISE_LINES = 40
"""Lines that the noise is measured on."""
SURE = 5.0
"""Standard errors that a change must have to be one."""
NOTICEABLE = 0.01
"""Share of the loss per unit of mask rate by which a change must exceed luck to be worth a warning."""
SERIOUS = 0.04
"""The same for a divergence."""
STUCK = 0.004
"""Share of the loss of the letters alone that a model must be better by to know more than them."""
HOPELESS = 1.25
"""Times the loss of a model that knows nothing: a divergence, however few lines there are."""


EVERY_LINE = frozenset({"profile", "letters", "max_rise", "max_loss", "max_oscillation", "letters_only"})
"""Rules that look at every train line."""


@dataclass(frozen=True)
class Change:
    """The loss per unit of mask rate now, less that before, at the same mask rates."""

    nats: float
    """Positive: the model got worse."""
    stderr: float
    """What luck does; infinite while it cannot be told."""
    level: float
    """The loss per unit of mask rate before."""

    def beyond(self, share: float) -> bool:
        """Whether it is an increase that luck does not explain, and larger than this share of the level."""
        return self.nats > max(SURE * self.stderr, share * self.level)


class Monitor:
    """Judges a run line by line.

    Args:
        config: of the run; `config.monitoring` has the thresholds.
        predictors: `untrained` and `unigram` (see `sedd.diagnosis.predictors`), where they are known.
    """

    def __init__(self, config: Config, predictors: Mapping[str, Predictor]) -> None:
        self.config, self.rules, self.predictors = config, config.monitoring, predictors
        self.history = History()
        self.alarms: list[Alarm] = []
        self._step = 0
        self._firing: set[tuple[str, Cause]] = set()
        self._steps: list[float] = []  # change from each line to the next at the same mask rates
        self._totals: list[LossProfile] = []  # of all lines after the warm-up, up to each of them
        self._best: LossProfile | None = None
        self._best_step = 0

    def observe(self, record: Mapping[str, Any]) -> list[Alarm]:
        """Take in one line of the metrics file; returns the alarms that it raises."""
        self.history.append(record)
        self._step = record["step"]
        found: list[Alarm] = []
        judged: frozenset[str] = frozenset()  # rules that were looked at, and may fall silent
        match record["kind"]:
            case "train":
                judged = EVERY_LINE
                self._count(self.history.lines[-1])
                if len(self.history.lines) > 1:
                    self._steps.append(_difference(self.history.lines[-1].bins, self.history.lines[-2].bins)[0])
                found = [alarm for rule in self._line_rules() for alarm in rule]
                self._keep_best()
            case "bound":
                judged, found = frozenset({"patience"}), list(self._patience())
            case "skipped":
                judged, found = frozenset({"skipped"}), list(self._skipped())
            case "rollback":
                self._go_back(record)
        return self._new(found, judged)

    def verdict(self) -> Verdict:
        """What the run is, so far."""
        return verdict(self.history, self.alarms, self.noise(), firing=self._firing)

    # The comparison at fixed mask rate -----------------------------------------------------------------------------

    def change(self, now: LossProfile, before: LossProfile, lines: tuple[int, int]) -> Change:
        """How much worse `now` is than `before` at the same mask rates; they pool so many lines each."""
        nats, level = _difference(now, before)
        return Change(nats, self.noise() * math.sqrt(sum(1.0 / n for n in lines)), level)

    def noise(self) -> float:
        """Standard deviation of one line's loss per unit of mask rate; infinite while there are too few lines."""
        steps = np.array(self._steps[:-RECENT][-NOISE_LINES:])
        steps = steps[np.isfinite(steps)]
        if len(steps) < LEAST - 2:
            return math.inf
        steps = steps - np.median(steps)  # learning is no noise
        return float(max(1.4826 * np.median(np.abs(steps)), 0.6 * steps.std()) / math.sqrt(2.0))

    def recent(self, lines: int = RECENT, *, skip: int = 0) -> LossProfile:
        """The last lines pooled, without the very last `skip`."""
        end = len(self.history.lines) - skip
        return sum((line.bins for line in self.history.lines[max(0, end - lines) : end]), LossProfile())

    def _keep_best(self) -> None:
        """Remember the best stretch so far: a slow decline is worse than that, even if hardly worse than yesterday."""
        if len(self.history.lines) < REFERENCE:
            return
        candidate = self.recent(REFERENCE)
        if self._best is None or _difference(candidate, self._best)[0] < 0.0:
            self._best, self._best_step = candidate, self.history.lines[-1].step

    def _count(self, line: TrainRecord) -> None:
        if line.step > self.config.optim.warmup:
            self._totals.append(self._totals[-1] + line.bins if self._totals else line.bins)

    def _go_back(self, record: Mapping[str, Any]) -> None:
        """After a rollback: what came later than its checkpoint never happened, but why it was needed stays."""
        step = record["step"]
        self.history.rewind(step)
        self.alarms = [alarm for alarm in self.alarms if alarm.step <= step] + [Alarm.from_json(record["alarm"])]
        self._firing.clear()
        self._steps.clear()
        self._totals.clear()
        for line in self.history.lines:
            self._count(line)
        self._best = None

    def _line_rules(self) -> Iterator[Iterator[Alarm]]:
        yield self._profile()
        yield self._letters()
        yield self._rise()
        yield self._high()
        yield self._oscillation()
        yield self._letters_only()

    # Rules ---------------------------------------------------------------------------------------------------------

    def _profile(self) -> Iterator[Alarm]:
        """The model got worse at fixed mask rate, or is worse than one that knows nothing."""
        lines = self.history.lines
        now = self.recent()
        worst: tuple[Change, int] | None = None
        if len(lines) >= LEAST + RECENT:
            count = min(REFERENCE, len(lines) - RECENT)
            since = lines[-RECENT - 1].step
            candidates = [(self.change(now, self.recent(count, skip=RECENT), (RECENT, count)), since)]
            if self._best is not None:
                candidates.append((self.change(now, self._best, (RECENT, REFERENCE)), self._best_step))
            told = [candidate for candidate in candidates if math.isfinite(candidate[0].nats)]
            worst = max(told, key=lambda candidate: candidate[0].nats, default=None)
        nothing = self._over("untrained", now)
        hopeless = len(lines) >= RECENT and nothing > HOPELESS
        if worst is not None and worst[0].beyond(NOTICEABLE):
            change, since = worst
            critical = change.beyond(SERIOUS) or nothing > 1.0 + NOTICEABLE
            cause = self._cause(since)
            yield self._alarm(
                "profile",
                cause,
                "critical" if critical and cause != "data" else "warning",
                f"at the same mask rates the loss is {change.nats:.3f} nats per {self._unit} worse than around step "
                f"{since:,} ({change.level:.3f} then; luck explains {SURE * change.stderr:.3f})"
                + (f", and {nothing:.2f} times that of a model that knows nothing" if nothing > 1.0 else ""),
                {"worse": change.nats, "stderr": change.stderr, "level": change.level, "since": since},
            )
        elif hopeless:
            cause = self._cause(lines[0].step)
            yield self._alarm(
                "profile",
                cause,
                "critical",
                f"the loss is {nothing:.2f} times that of a model that knows nothing",
                {"over_untrained": nothing, "since": lines[0].step},
            )

    def _letters(self) -> Iterator[Alarm]:
        """The letters of the data are others than before."""
        if self.strange_letters():
            now, usual = self._letters_shift()
            yield self._alarm(
                "letters",
                "data",
                "warning",
                f"the letters of the last sequences are not those of the training set: their divergence from them is "
                f"{now:.3f} nats per residue, usually {usual:.4f}",
                {"shift": now, "usual": usual},
            )

    def strange_letters(self) -> bool:
        """Whether the letters of the last lines are others than before."""
        now, usual = self._letters_shift()
        return now > max(8.0 * usual, 0.02)

    def _letters_shift(self) -> tuple[float, float]:
        """How far the letters of one of the last lines are from those of the training set, and what is usual, nats."""
        lines = self.history.lines[-NOISE_LINES - RECENT :]
        shifts = [line.token_divergence for line in lines if line.token_divergence is not None]
        if len(shifts) < LEAST:
            return 0.0, 0.0
        return max(shifts[-RECENT:]), float(np.median(shifts[:-RECENT]))

    def _rise(self) -> Iterator[Alarm]:
        """The loss climbs faster than `monitoring.max_rise`."""
        lines = self.history.lines
        start = bisect_right(lines, lines[-1].step - rise_window(self.config), key=lambda line: line.step) - 1
        if start < 0 or len(lines) - start <= 2 * RECENT:
            return
        distance = lines[-1].step - lines[start].step
        before = sum((line.bins for line in lines[start : start + RECENT]), LossProfile())
        found = attribute(before, self.recent(), first=lines[start].step, last=lines[-1].step)
        per_1000 = found.change * CLOCK / distance
        if per_1000 <= self.rules.max_rise or found.change <= 0:
            return
        blamed = max((("curriculum", found.difficulty), ("little signal", found.draw), ("learning", found.learning)),
                     key=lambda part: part[1])  # fmt: skip
        cause: Cause = blamed[0]  # type: ignore[assignment]  # one of the three above
        if cause == "learning" and not any(rule == "profile" for rule, _ in self._firing):
            cause = "little signal"  # that rule knows what luck does; a rise alone does not
        yield self._alarm(
            "max_rise",
            cause,
            "info" if cause != "learning" else "warning",
            f"the loss climbs by {per_1000:.2f} nats per 1,000 steps (limit {self.rules.max_rise:g}); from step "
            f"{found.first:,}: difficulty {found.difficulty:+.3f}, learning {found.learning:+.3f}, luck "
            f"{found.draw:+.3f}",
            {
                "per_1000": per_1000,
                "difficulty": found.difficulty,
                "learning": found.learning,
                "draw": found.draw,
                "since": found.first,
            },
        )

    def _high(self) -> Iterator[Alarm]:
        """The loss is over `monitoring.max_loss`."""
        line = self.history.lines[-1]
        if line.loss <= self.rules.max_loss:
            return
        nothing = self._over("untrained", line.bins)
        worse = nothing > 1.0 + SERIOUS
        by_draw = line.bins.drawn.sum() > 1.2 * line.bins.expected.sum()
        cause: Cause = self._cause(line.step) if worse else "little signal" if by_draw else "curriculum"
        yield self._alarm(
            "max_loss",
            cause,
            "warning" if worse else "info",
            f"the loss is {line.loss:.2f} (limit {self.rules.max_loss:g}); a model that knows nothing would have "
            f"{line.loss / nothing:.2f} on the same draws",
            {"loss": line.loss, "over_untrained": nothing, "since": line.step},
        )

    def _oscillation(self) -> Iterator[Alarm]:
        """Lines scatter by more than `monitoring.max_oscillation`."""
        lines = self.history.lines[-2 * REFERENCE :]
        if len(lines) < REFERENCE:
            return
        measured = _scatter(np.array([line.loss for line in lines]))
        if measured <= self.rules.max_oscillation:
            return
        over = np.array([self._over("unigram", line.bins) for line in lines])
        at_fixed_rate = _scatter(over) if np.isfinite(over).all() else 0.0
        unstable = at_fixed_rate > 0.5 * measured
        yield self._alarm(
            "max_oscillation",
            "instability" if unstable else "little signal",
            "warning" if unstable else "info",
            f"the loss scatters by {measured:.0%} from line to line (limit {self.rules.max_oscillation:.0%}); with the "
            f"luck of the draw taken out, by {at_fixed_rate:.0%}",
            {"scatter": measured, "without_luck": at_fixed_rate, "since": lines[0].step},
        )

    def _letters_only(self) -> Iterator[Alarm]:
        """The model knows the letters and stays there."""
        half = (len(self._totals) - 1) // 2
        if half < 2 * REFERENCE:
            return
        first, middle, last = (self._totals[at] for at in (-2 * half - 1, -half - 1, -1))
        earlier, later = middle - first, last - middle
        change, over = self.change(later, earlier, (half, half)), self._over("unigram", later)
        tolerance = max(2.0 * self.noise() / math.sqrt(half) / max(change.level, 1e-12), STUCK)
        if over > 1.0 - tolerance and change.nats > -3.0 * change.stderr:
            since = self.history.lines[-half].step
            yield self._alarm(
                "letters_only",
                "learning",
                "info",
                f"since step {since:,} the model knows no more than how often each letter occurs (its loss "
                f"is {over:.4f} times that of the letters), and it is not improving",
                {"over_unigram": over, "since": since},
            )

    def _patience(self) -> Iterator[Alarm]:
        """The held-out bound has not improved for `monitoring.patience` steps."""
        bounds = self.history.bounds
        best = min(bounds, key=lambda bound: bound.nats)
        last = bounds[-1]
        if last.step - best.step >= self.rules.patience:
            yield self._alarm(
                "patience",
                "learning",
                "warning",
                f"the held-out bound has not improved since step {best.step:,} ({best.nats:.4f} nats per residue; now "
                f"{last.nats:.4f})",
                {"best": best.nats, "now": last.nats, "since": best.step},
            )

    def _skipped(self) -> Iterator[Alarm]:
        """Steps are skipped because their gradient is not finite."""
        step = self.history.skipped[-1].step
        span = max(100, REFERENCE * self.config.training.log_every)
        recent = sum(1 for skip in self.history.skipped if step - skip.step <= span)
        if recent < RECENT:
            return
        share = recent / (recent + min(span, max(step, 1)))
        yield self._alarm(
            "skipped",
            "instability",
            "critical" if share > 0.2 else "warning",
            f"{recent} of the last {recent + min(span, step):,} steps were skipped: their gradient was not finite",
            {"skipped": recent, "share": share, "since": max(0, step - span)},
        )

    # What it is ----------------------------------------------------------------------------------------------------

    def _cause(self, since: int) -> Cause:
        """Why the model got worse after step `since`."""
        if self.strange_letters():
            return "data"
        norms = np.array([line.grad_norm for line in self.history.lines if line.step <= since][-NOISE_LINES:])
        now = max((line.grad_norm for line in self.history.lines[-RECENT:]), default=0.0)
        skips = any(skip.step > since for skip in self.history.skipped)
        exploded = len(norms) >= LEAST and now > 5.0 * float(np.median(norms))
        return "instability" if skips or exploded else "learning"

    def _over(self, name: str, bins: LossProfile) -> float:
        """The loss of these lines over that of a predictor on the same draws; NaN where it is unknown."""
        predictor = self.predictors.get(name)
        if predictor is None:
            return math.nan
        return float(bins.loss.sum() / max(float(bins.drawn @ predictor.values), 1e-12))

    @property
    def _unit(self) -> str:
        return "masked residue" if self.config.graph.type == "absorb" else "unit of mask rate"

    def _remedies(self, alarm: Alarm) -> tuple[str, ...]:
        """What to do, for the rules that a curriculum or luck can make fire, and for all else that goes wrong."""
        match alarm.rule, alarm.cause:
            case "max_rise", "curriculum":
                return remedies.of_rise(self.config, self._gentle)
            case "max_oscillation", "little signal":
                return remedies.of_noise(self.config, alarm.numbers["scatter"])
            case "letters_only", _:
                return remedies.of_letters_only(self.config)
            case "patience", _:
                return remedies.of_plateau(self.config)
            case "skipped", _:
                return remedies.of_skips(self.config)
            case _, "data":
                return remedies.of_data(self.history.lines)
            case _, "learning" | "instability":
                return remedies.of_divergence(self.config, self.history.lines, int(alarm.numbers["since"]))
        return ()

    @cached_property
    def _gentle(self) -> int | None:
        """The `preschool_time` that keeps the climb under `monitoring.max_rise`."""
        unigram = self.predictors.get("unigram")
        if unigram is None:
            return None
        return smallest_preschool_time(self.config, unigram, limit=self.rules.max_rise)

    def _alarm(
        self,
        rule: str,
        cause: Cause,
        severity: Severity,
        message: str,
        numbers: Mapping[str, float],
    ) -> Alarm:
        plain = {name: float(value) for name, value in numbers.items() if math.isfinite(value)}
        return Alarm(self._step, rule, cause, severity, message, plain)

    def _new(self, found: list[Alarm], judged: frozenset[str]) -> list[Alarm]:
        """Those that were not firing already, or became worse; a rule that is quiet again may fire anew."""
        severe = {(a.rule, a.cause, a.severity) for a in self.alarms[-50:]}
        new = [
            replace(alarm, remedies=self._remedies(alarm))  # computed for these only: a rule may fire at every line
            for alarm in found
            if (alarm.rule, alarm.cause) not in self._firing
            or (alarm.severity == "critical" and (alarm.rule, alarm.cause, "critical") not in severe)
        ]
        self._firing = {(a.rule, a.cause) for a in found} | {f for f in self._firing if f[0] not in judged}
        self.alarms += new
        return new


def _difference(now: LossProfile, before: LossProfile) -> tuple[float, float]:
    """Loss per unit of mask rate of `now` less that of `before`, and the latter, at the mask rates that both have.

    Each bin counts by how much is known about it: the harmonic mean of its corrupted residues.
    """
    both = (now.drawn > 0) & (before.drawn > 0) & (now.corrupted > 0) & (before.corrupted > 0)
    if not both.any():
        return math.nan, math.nan
    weight = 1.0 / (1.0 / now.corrupted[both] + 1.0 / before.corrupted[both])
    weight /= weight.sum()
    level = before.values[both]
    return float(weight @ (now.values[both] - level)), float(weight @ level)


def _scatter(values: np.ndarray) -> float:
    """Standard deviation around the line between neighbours, as a share of the mean."""
    around = values[1:-1] - (values[2:] + values[:-2]) / 2
    return float(around.std() / math.sqrt(1.5) / max(abs(values.mean()), 1e-12))
