"""A curve in the making: a healthy training that faults change, before it is written to a log."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from judging.evidence import distance
from judging.expected import Array, Expected, Trainer, expected
from judging.setting import Random, Setting, log_uniform
from judging.truth import DECIDES, FINE, Truth
from sedd.diagnosis.verdict import Kind

MOST_NOISE = 0.35
"""Largest relative scatter of one line."""
FEW = 6
"""Points below which nothing can be said."""


@dataclass(eq=False)
class Validation:
    """The validation losses of a log."""

    at: NDArray[np.int64]
    """Indices of the points at which there was an evaluation."""
    base: Expected
    """What fixed predictors have, at the difficulty at which the validation loss is computed."""
    mean: Array
    """(points,): expected validation loss."""
    sd: float
    """Relative scatter of one evaluation."""


@dataclass(eq=False)
class Draft:
    """A curve in the making. Arrays are (points,)."""

    random: Random
    setting: Setting
    base: Expected
    """What fixed predictors have in this trainer."""
    mean: Array
    """Expected loss, nats per residue."""
    sd: Array
    """Relative scatter of one line."""
    tails: float
    """Degrees of freedom of the noise; infinite for a Gaussian."""
    missing: NDArray[np.bool_]
    """Rows that are not finite."""
    validation: Validation | None = None
    name: str = "healthy"
    accepted: tuple[Kind, ...] = ("healthy", "curriculum")
    forbidden: tuple[Kind, ...] = ()
    conditional: tuple[Kind, ...] = ()
    onset: int | None = None
    """Index of the first point after it began."""
    severity: float = 0.0
    z: float | None = None
    """Where the distance from the healthy curves is not the evidence."""
    faultless: bool = True
    unit: float = 1.0
    facts: dict[str, Any] = field(default_factory=dict)

    @property
    def points(self) -> int:
        return len(self.setting.steps)

    def ratio(self, base: Expected) -> Array:
        """log(loss / loss of the uniform predictor); NaN in rows that are not finite."""
        return np.where(self.missing, np.nan, np.log(self.mean / base.uniform))

    def distance(self) -> float:
        """z against the best healthy curve of the configuration stated, from a consistent or a mismatched trainer."""
        if self.z is not None:
            return self.z
        setting, effective = self.setting, self.setting.effective()
        config = setting.config(stated=True)
        trainers: list[Trainer] = ["consistent"]
        if config.graph.type == "absorb" and config.curriculum.mode == "scale":
            trainers.append("mismatched")
        bases = [setting.expected(stated=True, trainer=trainer) for trainer in trainers]
        return min(distance(self.ratio(base), self.sd, effective) for base in bases)

    def gap(self, allowed: float = 0.05) -> float:
        """z of validation losses that are higher than a healthy gap allows."""
        validation = self.validation
        if validation is None:
            return 0.0
        at = validation.at
        gap = np.log(validation.mean / validation.base.uniform) - self.ratio(self.base)
        excess = np.maximum(gap[at] - allowed, 0.0)
        return float(np.linalg.norm(excess[np.isfinite(excess)]) / np.hypot(validation.sd, self.sd[at].mean() / 3))

    def truth(self, seed: int) -> Truth:
        """What is true of the case. Where the evidence does not decide, nothing wrong is right too."""
        z = self.distance() if not self.faultless else 0.0
        accepted, forbidden, conditional = self.accepted, self.forbidden, self.conditional
        if self.faultless:
            accepted = self._healthy_kinds()
            forbidden = forbidden or tuple(k for k in ("learning", "instability", "leak") if k not in accepted)
        elif z <= DECIDES:
            accepted = (*accepted, "healthy", "curriculum", "plateau", "inconclusive")
            conditional = (*conditional, *FINE, "plateau") if conditional else ()
            forbidden = ()
        steps, k = self.setting.steps, self.onset
        onset = None if k is None else (int(steps[max(k - 1, 0)]), int(steps[min(k, self.points - 1)]))
        facts = self.setting.facts | self.facts | {
            "stated": self.setting.stated, "true": self.setting.true, "trainer": self.setting.trainer,
            "points": self.points, "noise": round(float(np.median(self.sd)), 4),
        }  # fmt: skip
        return Truth(
            seed, self.name, tuple(dict.fromkeys(accepted)), tuple(dict.fromkeys(forbidden)), conditional, onset,
            float(self.severity), float(z), self.faultless, facts,
        )  # fmt: skip

    def _healthy_kinds(self) -> tuple[Kind, ...]:
        """Right kinds of a curve without a fault: others are right where a fault that matters would not be seen."""
        if self.points < FEW:
            return ("inconclusive",)
        finite = ~self.missing
        rises = self.mean[-1] / self.mean[: max(1, self.points // 20)].min() > 1.1
        wanted: tuple[Kind, ...] = ("curriculum", "healthy") if rises else ("healthy",)
        if not rises and np.ptp(self.setting.difficulty(stated=True)) > 0:
            wanted = ("healthy", "curriculum")  # a rise that learning hides
        if self.name != "healthy":
            wanted = (*self.accepted, *wanted) if self.accepted[0] not in FINE else (*wanted, *self.accepted)
        late = np.arange(self.points) >= self.points / 2
        growth = 0.1 * (np.arange(self.points) - self.points / 2) / (self.points / 2)
        visible = np.linalg.norm((growth / self.sd)[late & finite])
        if visible < DECIDES or finite.sum() < 8:
            wanted = (*wanted, "inconclusive")
        last = np.log(self.mean / self.base.unigram)[-max(3, self.points // 10) :]
        if last.mean() > -0.03:
            wanted = (*wanted, "plateau")  # at the unigram model, as far as one can see
        return wanted


def healthy_draft(random: Random, setting: Setting, *, validated: bool | None = None) -> Draft:
    """A training without a fault, with its noise and, sometimes, validation losses."""
    base = setting.expected()
    mean = base.loss(setting.frequencies, setting.beyond)
    # Fewer masked residues, more scatter. Real runs: 18 % per step at a loss of 0.29 and 6 % at 1.12, a power of 0.5.
    share = base.uniform / base.uniform.max()
    level = log_uniform(random, 0.01, 0.15)
    sd = np.minimum(level * share ** -random.uniform(0.3, 0.6), MOST_NOISE)
    tails = 4.0 if random.random() < 0.2 else np.inf
    draft = Draft(random, setting, base, mean, sd, tails, np.zeros(len(mean), bool))
    if random.random() < 0.2 if validated is None else validated:
        add_validation(draft)
    return draft


def add_validation(draft: Draft) -> Validation:
    """Validation losses of a healthy model, at the difficulty of the step or at full difficulty."""
    random, setting = draft.random, draft.setting
    count = min(draft.points, int(random.integers(8, 50)))
    at = np.unique(np.linspace(random.integers(0, 2), draft.points - 1, count).astype(np.int64))
    base = draft.base
    if full := random.random() < 0.5:
        base = expected(setting.config(), np.ones(draft.points), setting.trainer, setting.tokens)
    behind = 1.0 - random.uniform(0.0, 0.15)
    mean = base.loss(setting.frequencies, setting.beyond * behind)
    validation = Validation(at, base, mean, max(0.003, float(draft.sd.mean()) * log_uniform(random, 0.1, 0.5)))
    draft.facts["validation"] = "at full difficulty" if full else "at the difficulty of the step"
    draft.validation = validation
    return validation


def rebase(draft: Draft, setting: Setting) -> None:
    """Let the trainer have another configuration or another clock than the one stated."""
    draft.setting = setting
    draft.base = setting.expected()
    draft.mean = draft.base.loss(setting.frequencies, setting.beyond)
    if draft.validation is not None:
        draft.validation = replace(draft.validation, base=draft.base, mean=draft.mean)
