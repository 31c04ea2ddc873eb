"""Watches a run: which rule fires, and whether the curriculum, the model or the data made it fire.

It reads the lines of the metrics file one after the other and nothing else, so that a run gets the same verdict while
it trains, after a resume, and when it is long over.

The central test does not depend on the curriculum: the loss of the last lines is compared with that of earlier lines
*at the same mask rates*. The Monte Carlo error of this difference is measured from line to line in the same run. A rule
that fires only because of Monte Carlo error raises no alarm.
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
from sedd.diagnosis.alarms import Alarm, Cause, Severity
from sedd.diagnosis.attribution import attribute
from sedd.diagnosis.judge import verdict
from sedd.diagnosis.predictors import Predictor
from sedd.diagnosis.rises import RISE_STEPS, rise_window, smallest_preschool_time
from sedd.diagnosis.verdict import Verdict
from sedd.diffusion.loss_profile import LossProfile
from sedd.runs.history import History
from sedd.runs.metrics import TrainRecord

RECENT = 3
"""Latest lines, pooled as the present."""
REFERENCE = 10
"""Lines before the latest, pooled as the reference."""
MIN_LINES = 8
"""Lines from which the noise between lines can be measured."""
NOISE_LINES = 40
"""Lines on which the noise is measured."""
Z_CHANGE = 5.0
"""Standard errors from which a change is significant."""
MIN_RELATIVE_WARNING = 0.01
"""Relative increase of the loss per unit of mask rate from which a significant change is a warning."""
MIN_RELATIVE_CRITICAL = 0.04
"""Relative increase of the loss per unit of mask rate from which a significant change is a divergence."""
UNIGRAM_MARGIN = 0.004
"""Relative decrease below the loss of the unigram model from which a model counts as better than it."""
UNTRAINED_RATIO = 1.25
"""Loss over that of an untrained model from which a run diverges, however few lines there are."""


EVERY_LINE = frozenset({"profile", "letters", "max_rise", "max_loss", "max_oscillation", "letters_only"})
"""Rules that look at every train line."""


@dataclass(frozen=True)
class Change:
    """The present loss per unit of mask rate less the earlier one, at the same mask rates."""

    nats: float
    """The difference, nats per unit of mask rate. Positive: the model got worse."""
    stderr: float
    """Its Monte Carlo error; infinite while it is unknown."""
    level: float
    """The earlier loss per unit of mask rate."""

    def exceeds(self, relative: float) -> bool:
        """Whether it is a significant increase, and larger than this share of the earlier loss."""
        return self.nats > max(Z_CHANGE * self.stderr, relative * self.level)


class Monitor:
    """Takes in the lines of a metrics file and raises alarms.

    Args:
        config: of the run; `config.monitoring` holds the thresholds.
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
        raised: list[Alarm] = []
        evaluated: frozenset[str] = frozenset()  # rules that may stop firing
        match record["kind"]:
            case "train":
                evaluated = EVERY_LINE
                self._count(self.history.lines[-1])
                if len(self.history.lines) > 1:
                    self._steps.append(_difference(self.history.lines[-1].bins, self.history.lines[-2].bins)[0])
                rules = (
                    self._profile, self._token_frequencies, self._rise, self._max_loss, self._oscillation,
                    self._unigram_only,
                )  # fmt: skip
                raised = [alarm for rule in rules for alarm in rule()]
                self._keep_best()
            case "bound":
                evaluated, raised = frozenset({"patience"}), list(self._patience())
            case "skipped":
                evaluated, raised = frozenset({"skipped"}), list(self._skipped())
            case "rollback":
                self._go_back(record)
        return self._new(raised, evaluated)

    def verdict(self) -> Verdict:
        """The verdict on the run so far."""
        return verdict(self.history, self.alarms, self.noise(), firing=self._firing)

    # The comparison at fixed mask rate -----------------------------------------------------------------------------

    def change(self, now: LossProfile, before: LossProfile, lines: tuple[int, int]) -> Change:
        """How much worse `now` is than `before` at the same mask rates; each pools as many lines as `lines` gives."""
        nats, level = _difference(now, before)
        return Change(nats, self.noise() * math.sqrt(sum(1.0 / n for n in lines)), level)

    def noise(self) -> float:
        """Standard deviation of one line's loss per unit of mask rate; infinite while there are too few lines."""
        steps = np.array(self._steps[:-RECENT][-NOISE_LINES:])
        steps = steps[np.isfinite(steps)]
        if len(steps) < MIN_LINES - 2:
            return math.inf
        steps = steps - np.median(steps)  # the steady decrease by learning is not noise
        return float(max(1.4826 * np.median(np.abs(steps)), 0.6 * steps.std()) / math.sqrt(2.0))

    def recent(self, lines: int = RECENT, *, skip: int = 0) -> LossProfile:
        """The sum of the last `lines` lines, after the very last `skip` are left out."""
        end = len(self.history.lines) - skip
        return sum((line.bins for line in self.history.lines[max(0, end - lines) : end]), LossProfile())

    def _keep_best(self) -> None:
        """Keep the best `REFERENCE` lines so far: against them even a slow decline becomes significant."""
        if len(self.history.lines) < REFERENCE:
            return
        candidate = self.recent(REFERENCE)
        if self._best is None or _difference(candidate, self._best)[0] < 0.0:
            self._best, self._best_step = candidate, self.history.lines[-1].step

    def _count(self, line: TrainRecord) -> None:
        if line.step > self.config.optim.warmup:
            self._totals.append(self._totals[-1] + line.bins if self._totals else line.bins)

    def _go_back(self, record: Mapping[str, Any]) -> None:
        """After a rollback: forget what came after its checkpoint, except the alarm that caused it."""
        step = record["step"]
        self.history.rewind(step)
        self.alarms = [alarm for alarm in self.alarms if alarm.step <= step] + [Alarm.from_dict(record["alarm"])]
        self._firing.clear()
        self._steps.clear()
        self._totals.clear()
        for line in self.history.lines:
            self._count(line)
        self._best = None

    # Rules ---------------------------------------------------------------------------------------------------------

    def _profile(self) -> Iterator[Alarm]:
        """The model got worse at fixed mask rate, or is worse than an untrained model."""
        lines = self.history.lines
        now = self.recent()
        worst: tuple[Change, int] | None = None
        if len(lines) >= MIN_LINES + RECENT:
            count = min(REFERENCE, len(lines) - RECENT)
            since = lines[-RECENT - 1].step
            candidates = [(self.change(now, self.recent(count, skip=RECENT), (RECENT, count)), since)]
            if self._best is not None:
                candidates.append((self.change(now, self._best, (RECENT, REFERENCE)), self._best_step))
            finite = [candidate for candidate in candidates if math.isfinite(candidate[0].nats)]
            worst = max(finite, key=lambda candidate: candidate[0].nats, default=None)
        over_untrained = self._over("untrained", now)
        if worst is not None and worst[0].exceeds(MIN_RELATIVE_WARNING):
            change, since = worst
            unit = "masked residue" if self.config.graph.type == "absorb" else "unit of mask rate"
            critical = change.exceeds(MIN_RELATIVE_CRITICAL) or over_untrained > 1.0 + MIN_RELATIVE_WARNING
            cause = self._cause(since)
            message = (
                f"at the same mask rates the loss is {change.nats:.3f} nats per {unit} worse than around step "
                f"{since:,} ({change.level:.3f} then; Monte Carlo error is at most {Z_CHANGE * change.stderr:.3f})"
                + (f", and {over_untrained:.2f} times that of an untrained model" if over_untrained > 1.0 else "")
            )
            numbers = {"worse": change.nats, "stderr": change.stderr, "level": change.level, "since": since}
            severity: Severity = "critical" if critical and cause != "data" else "warning"
            yield self._alarm("profile", cause, severity, message, numbers)
        elif len(lines) >= RECENT and over_untrained > UNTRAINED_RATIO:
            cause = self._cause(lines[0].step)
            message = f"the loss is {over_untrained:.2f} times that of an untrained model"
            numbers = {"over_untrained": over_untrained, "since": lines[0].step}
            yield self._alarm("profile", cause, "critical", message, numbers)

    def _token_frequencies(self) -> Iterator[Alarm]:
        if self.frequencies_changed():
            now, usual = self._frequency_shift()
            message = (
                f"the token frequencies of the last sequences differ from those of the training set by {now:.3f} nats "
                f"per residue (Kullback-Leibler divergence; median so far {usual:.4f})"
            )
            yield self._alarm("letters", "data", "warning", message, {"shift": now, "usual": usual})

    def frequencies_changed(self) -> bool:
        """Whether the token frequencies of the last lines differ from the earlier ones."""
        now, usual = self._frequency_shift()
        return now > max(8.0 * usual, 0.02)

    def _frequency_shift(self) -> tuple[float, float]:
        """Divergence of the token frequencies from the training set: largest of the last lines, median before, nats."""
        lines = self.history.lines[-NOISE_LINES - RECENT :]
        shifts = [line.token_divergence for line in lines if line.token_divergence is not None]
        if len(shifts) < MIN_LINES:
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
        split = attribute(before, self.recent(), first=lines[start].step, last=lines[-1].step)
        per_1000 = split.change * RISE_STEPS / distance
        if per_1000 <= self.rules.max_rise or split.change <= 0:
            return
        if split.draw > max(split.difficulty, split.learning):
            return  # Monte Carlo error
        cause: Cause = "curriculum" if split.difficulty >= split.learning else "learning"
        if cause == "learning" and not any(rule == "profile" for rule, _ in self._firing):
            return  # only `profile` tests the learning part against its Monte Carlo error
        message = (
            f"the loss climbs by {per_1000:.2f} nats per 1,000 steps (limit {self.rules.max_rise:g}); from step "
            f"{split.first:,}: difficulty {split.difficulty:+.3f}, learning {split.learning:+.3f}, Monte Carlo error "
            f"{split.draw:+.3f}"
        )
        parts = {name: getattr(split, name) for name in ("difficulty", "learning", "draw")}
        numbers = {"per_1000": per_1000, **parts, "since": split.first}
        yield self._alarm("max_rise", cause, "info" if cause != "learning" else "warning", message, numbers)

    def _max_loss(self) -> Iterator[Alarm]:
        """The loss is over `monitoring.max_loss`."""
        line = self.history.lines[-1]
        if line.loss <= self.rules.max_loss:
            return
        over_untrained = self._over("untrained", line.bins)
        worse = over_untrained > 1.0 + MIN_RELATIVE_CRITICAL
        if not worse and line.bins.drawn.sum() > 1.2 * line.bins.expected.sum():
            return  # Monte Carlo error: larger mask rates were drawn than expected
        message = (
            f"the loss is {line.loss:.2f} (limit {self.rules.max_loss:g}); an untrained model would have "
            f"{line.loss / over_untrained:.2f} with the same masks"
        )
        numbers = {"loss": line.loss, "over_untrained": over_untrained, "since": line.step}
        cause = self._cause(line.step) if worse else "curriculum"
        yield self._alarm("max_loss", cause, "warning" if worse else "info", message, numbers)

    def _oscillation(self) -> Iterator[Alarm]:
        """The loss scatters by more than `monitoring.max_oscillation`, and does so at fixed mask rate too."""
        lines = self.history.lines[-2 * REFERENCE :]
        if len(lines) < REFERENCE:
            return
        measured = _scatter(np.array([line.loss for line in lines]))
        if measured <= self.rules.max_oscillation:
            return
        over_unigram = np.array([self._over("unigram", line.bins) for line in lines])
        at_fixed_rate = _scatter(over_unigram) if np.isfinite(over_unigram).all() else 0.0
        if at_fixed_rate <= 0.5 * measured:
            return  # Monte Carlo error of the mask rates
        message = (
            f"the loss scatters by {measured:.0%} from line to line (limit {self.rules.max_oscillation:.0%}); at fixed "
            f"mask rate by {at_fixed_rate:.0%}"
        )
        numbers = {"scatter": measured, "without_luck": at_fixed_rate, "since": lines[0].step}
        yield self._alarm("max_oscillation", "instability", "warning", message, numbers)

    def _unigram_only(self) -> Iterator[Alarm]:
        """The model is no better than the unigram model, and does not improve."""
        half = (len(self._totals) - 1) // 2
        if half < 2 * REFERENCE:
            return
        first, middle, last = (self._totals[at] for at in (-2 * half - 1, -half - 1, -1))
        earlier, later = middle - first, last - middle
        change, over_unigram = self.change(later, earlier, (half, half)), self._over("unigram", later)
        tolerance = max(2.0 * self.noise() / math.sqrt(half) / max(change.level, 1e-12), UNIGRAM_MARGIN)
        if over_unigram > 1.0 - tolerance and change.nats > -3.0 * change.stderr:
            since = self.history.lines[-half].step
            message = (
                f"since step {since:,} the model is no better than the token frequencies alone (its loss is "
                f"{over_unigram:.4f} times that of the unigram model), and it does not improve"
            )
            numbers = {"over_unigram": over_unigram, "since": since}
            yield self._alarm("letters_only", "learning", "info", message, numbers)

    def _patience(self) -> Iterator[Alarm]:
        """The held-out bound has not improved for `monitoring.patience` steps."""
        bounds = self.history.bounds
        best = min(bounds, key=lambda bound: bound.nats)
        last = bounds[-1]
        if last.step - best.step >= self.rules.patience:
            message = (
                f"the held-out bound has not improved since step {best.step:,} ({best.nats:.4f} nats per residue; now "
                f"{last.nats:.4f})"
            )
            numbers = {"best": best.nats, "now": last.nats, "since": best.step}
            yield self._alarm("patience", "learning", "warning", message, numbers)

    def _skipped(self) -> Iterator[Alarm]:
        """Steps are skipped because their gradient is not finite."""
        step = self.history.skipped[-1].step
        span = max(100, REFERENCE * self.config.training.log_every)
        recent = sum(1 for skip in self.history.skipped if step - skip.step <= span)
        if recent < RECENT:
            return
        share = recent / (recent + min(span, max(step, 1)))
        message = f"{recent} of the last {recent + min(span, step):,} steps were skipped: their gradient was not finite"
        numbers = {"skipped": recent, "share": share, "since": max(0, step - span)}
        yield self._alarm("skipped", "instability", "critical" if share > 0.2 else "warning", message, numbers)

    # Causes and remedies -------------------------------------------------------------------------------------------

    def _cause(self, since: int) -> Cause:
        """Why the model got worse after step `since`."""
        if self.frequencies_changed():
            return "data"
        norms = np.array([line.grad_norm for line in self.history.lines if line.step <= since][-NOISE_LINES:])
        now = max((line.grad_norm for line in self.history.lines[-RECENT:]), default=0.0)
        skips = any(skip.step > since for skip in self.history.skipped)
        exploded = len(norms) >= MIN_LINES and now > 5.0 * float(np.median(norms))
        return "instability" if skips or exploded else "learning"

    def _over(self, name: str, bins: LossProfile) -> float:
        """The loss of these lines over that of a predictor at the same mask rates; NaN where it is unknown."""
        predictor = self.predictors.get(name)
        if predictor is None:
            return math.nan
        return float(bins.loss.sum() / max(float(bins.drawn @ predictor.values), 1e-12))

    def _remedies(self, alarm: Alarm) -> tuple[str, ...]:
        match alarm.rule, alarm.cause:
            case "max_rise", "curriculum":
                return remedies.of_rise(self.config, self._preschool_time)
            case "letters_only", _:
                return remedies.of_unigram_only(self.config)
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
    def _preschool_time(self) -> int | None:
        """The smallest `preschool_time` that keeps the climb under `monitoring.max_rise`; None if there is none."""
        unigram = self.predictors.get("unigram")
        if unigram is None:
            return None
        return smallest_preschool_time(self.config, unigram, limit=self.rules.max_rise)

    def _alarm(self, rule: str, cause: Cause, severity: Severity, message: str, numbers: Mapping[str, float]) -> Alarm:
        plain = {name: float(value) for name, value in numbers.items() if math.isfinite(value)}
        return Alarm(self._step, rule, cause, severity, message, plain)

    def _new(self, raised: list[Alarm], evaluated: frozenset[str]) -> list[Alarm]:
        """The alarms in `raised` that were not firing before, or became critical; `evaluated` rules may stop firing."""
        severe = {(a.rule, a.cause, a.severity) for a in self.alarms[-50:]}
        new = [
            replace(alarm, remedies=self._remedies(alarm))  # computed for these only: a rule may fire at every line
            for alarm in raised
            if (alarm.rule, alarm.cause) not in self._firing
            or (alarm.severity == "critical" and (alarm.rule, alarm.cause, "critical") not in severe)
        ]
        self._firing = {(a.rule, a.cause) for a in raised} | {f for f in self._firing if f[0] not in evaluated}
        self.alarms += new
        return new


def _difference(now: LossProfile, before: LossProfile) -> tuple[float, float]:
    """Loss per unit of mask rate of `now` less that of `before`, and the latter, at the mask rates that both have.

    Bins are weighted by the harmonic mean of their corrupted residues: inverse variance, if each residue has the same.
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
