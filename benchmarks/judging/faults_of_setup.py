"""Faults of what surrounds the training: data, validation, configuration, and what the numbers of the log mean."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import numpy as np

from judging.draft import Draft, Validation, add_validation, rebase
from judging.evidence import BEST_KNOWN
from judging.expected import Array, Trainer
from judging.faults import amount, begin, fault, mark
from judging.setting import log_uniform, with_true
from sedd.diagnosis.verdict import Kind

setup_fault = partial(fault, model=False)
"""Register a fault that says itself what becomes of the validation loss."""


def _validation(draft: Draft) -> Validation:
    return draft.validation or add_validation(draft)


@fault("dead head")
def dead_head(draft: Draft) -> None:
    effective, gain = draft.setting.effective(), np.log(draft.base.unigram / draft.base.uniform)
    draft.mean = draft.base.uniform.copy()
    draft.z = float(np.linalg.norm(gain * -np.expm1(-effective / 4000.0) / draft.sd))
    mark(draft, ("plateau",), severity=float(-gain[-1]))


@setup_fault("stuck at the token frequencies")
def stuck(draft: Draft) -> None:
    draft.setting = replace(draft.setting, beyond=np.zeros(draft.points))
    draft.mean = draft.base.loss(draft.setting.frequencies, draft.setting.beyond)
    if draft.validation is not None:
        draft.validation.mean = draft.validation.base.loss(draft.setting.frequencies, draft.setting.beyond)
    draft.accepted = ("plateau",)


def _memorise(draft: Draft) -> float:
    """The training loss falls by a factor, slowly; returns it."""
    k, factor = begin(draft), log_uniform(draft.random, 0.03, 0.9)
    p = np.clip((np.arange(draft.points) - k + 1) / (draft.points - k), 0.0, 1.0)
    draft.mean = draft.mean * np.exp(np.log(factor) * (1.0 - np.exp(-3 * p)) / (1.0 - np.exp(-3.0)))
    return factor


def _too_low(draft: Draft) -> float:
    """z of a loss below what the best known models reach."""
    below = np.maximum(BEST_KNOWN - draft.ratio(draft.base), 0.0)
    return float(np.linalg.norm(below[np.isfinite(below)] / draft.sd[np.isfinite(below)]))


@setup_fault("memorising, without validation")
def memorise_unseen(draft: Draft) -> None:
    draft.validation = None
    factor = _memorise(draft)
    draft.z = _too_low(draft)
    mark(draft, ("overfitting", "leak", "unit", "data", "inconclusive"), severity=1.0 - factor)


@setup_fault("memorising", 1.5)
def memorise(draft: Draft) -> None:
    validation = _validation(draft)
    _memorise(draft)
    assert draft.onset is not None
    rise = amount(draft, 0.004, 1.0)
    p = np.clip((np.arange(draft.points) - draft.onset + 1) / (draft.points - draft.onset), 0.0, 1.0)
    validation.mean = validation.mean * (1.0 + rise * p)
    at = validation.at
    draft.z = float(np.linalg.norm(np.log1p(rise * p[at]))) / validation.sd
    mark(draft, ("overfitting",), severity=rise)


def _leak(draft: Draft) -> float:
    factor = log_uniform(draft.random, 0.02, 0.9)
    learnt = np.maximum(draft.setting.frequencies, 0.0)
    draft.mean = draft.mean * (1.0 - (1.0 - factor) * learnt)
    return factor


@setup_fault("leak, without validation")
def leak_unseen(draft: Draft) -> None:
    draft.validation = None
    factor = _leak(draft)
    draft.z = _too_low(draft)
    mark(draft, ("leak", "overfitting", "unit", "data", "inconclusive"), severity=1.0 - factor)


@setup_fault("leak", 1.5)
def leak(draft: Draft) -> None:
    _validation(draft)
    factor = _leak(draft)
    draft.z = draft.gap()
    # Above what the best models reach, the same gap could be held-out data of another kind, or overfitting.
    sure: tuple[Kind, ...] = ("leak",) if _too_low(draft) > 6 else ("leak", "held_out", "overfitting", "inconclusive")
    mark(draft, sure, severity=1.0 - factor)


@setup_fault("validation of another kind", 1.5)
def held_out(draft: Draft) -> None:
    validation = _validation(draft)
    further = log_uniform(draft.random, 0.005, 0.5)
    validation.mean = validation.mean * (1.0 + further * draft.setting.frequencies)
    draft.z = draft.gap()
    mark(draft, ("held_out", "leak", "overfitting") if further < 0.1 else ("held_out",), severity=further)


@setup_fault("averages that do not follow", 1.5)
def averages(draft: Draft) -> None:
    validation = _validation(draft)
    share = draft.random.uniform(0, 0.3) if draft.random.random() < 0.5 else 0.0
    validation.mean = validation.base.loss(share * draft.setting.frequencies, np.zeros(draft.points))
    gap = np.log(validation.mean / validation.base.uniform) - draft.ratio(draft.base)
    draft.z = draft.gap(allowed=0.02)
    mark(draft, ("averages",), severity=float(np.nan_to_num(gap)[-1]))


@setup_fault("data change, upwards")
def harder_data(draft: Draft) -> None:
    size, k = amount(draft), begin(draft)
    lasting = draft.random.random() < 0.6
    end = draft.points if lasting else min(draft.points, k + int(draft.random.integers(3, max(4, draft.points // 6))))
    inside = (np.arange(draft.points) >= k) & (np.arange(draft.points) < end)
    draft.mean = draft.mean * np.where(inside, 1.0 + size, 1.0)
    # A model that got worse would have a higher validation loss too.
    model: tuple[Kind, ...] = () if draft.validation else ("learning",)
    mark(draft, ("data", *model) if lasting else ("data", "instability", *model), severity=size)


@setup_fault("data change, downwards")
def easier_data(draft: Draft) -> None:
    size, k = log_uniform(draft.random, 0.02, 0.7), begin(draft)
    draft.mean = draft.mean * np.where(np.arange(draft.points) >= k, 1.0 - size, 1.0)
    beside = min(20, k, draft.points - k)
    draft.z = -np.log1p(-size) / float(draft.sd[k] * np.sqrt(2.0 / max(beside, 1)))
    if size < 0.2:
        draft.z = min(draft.z, 1.0)  # attention that begins to contribute looks alike
    mark(draft, ("data", "leak", "overfitting"), severity=size)


@fault("learning rate restarted")
def restart_lr(draft: Draft) -> None:
    size, k = amount(draft, 0.01, 0.8), begin(draft)
    tau = draft.points * log_uniform(draft.random, 0.02, 0.5)
    after = np.arange(draft.points) - k
    draft.mean = draft.mean * (1.0 + np.where(after >= 0, size * np.exp(-np.maximum(after, 0) / tau), 0.0))
    left = size * np.exp(-after[-1] / tau)
    recovered: tuple[Kind, ...] = ("healthy", "curriculum") if left < 0.02 else ()
    mark(draft, ("instability", "learning", "data", *recovered), severity=size)


# The configuration does not fit ---------------------------------------------------------------------------------------


def _misfit(draft: Draft, *overrides: str) -> None:
    before = draft.mean
    rebase(draft, with_true(draft.setting, *overrides))
    effect = float(np.abs(np.log(draft.mean / before)).max())
    draft.conditional = ("healthy", "curriculum", "plateau")
    mark(draft, ("config",), severity=float(np.expm1(effect)), forbidden=("learning", "instability"))


@setup_fault("another preschool_time", 2.0)
def other_time(draft: Draft) -> None:
    true = draft.setting.config().curriculum.preschool_time
    factor = log_uniform(draft.random, 0.25, 4.0)
    _misfit(draft, f"curriculum.preschool_time={max(2, round(true * factor))}")
    draft.facts["factor"] = round(factor, 2)


@setup_fault("another ramp")
def other_ramp(draft: Draft) -> None:
    own = draft.setting.config().curriculum.difficulty_ramp  # type: ignore[attr-defined]  # of every built-in one
    others = [name for name in ("linear", "exponential", "cosine", "constant") if name != own]
    _misfit(draft, f"curriculum.difficulty_ramp={draft.random.choice(others)}")


@setup_fault("another sigma_max")
def other_noise(draft: Draft) -> None:
    own = draft.setting.config().noise.sigma_max
    others = [s for s in (0.3, 0.5, 0.8, 1.0, 2.0, 4.0, 6.9) if abs(s - own) > 0.05]
    _misfit(draft, f"noise.sigma_max={draft.random.choice(others)}")
    draft.accepted = ("config", "unit")  # at full difficulty it is a constant factor


@setup_fault("another min_difficulty")
def other_start(draft: Draft) -> None:
    own = draft.setting.config().curriculum.min_difficulty
    others = [d for d in (0.01, 0.05, 0.1, 0.2, 0.3, 0.5, 0.8) if abs(d - own) > 0.01]
    _misfit(draft, f"curriculum.min_difficulty={draft.random.choice(others)}")


@setup_fault("clock of the curriculum restarted")
def restart_clock(draft: Draft) -> None:
    k, steps, before = begin(draft), draft.setting.steps, draft.mean
    clock = np.where(np.arange(draft.points) >= k, steps - steps[k], steps)
    rebase(draft, replace(draft.setting, clock=clock))
    draft.conditional = ("healthy", "curriculum", "plateau")
    effect = float(np.abs(np.log(draft.mean / before)).max())
    mark(draft, ("config",), severity=float(np.expm1(effect)), forbidden=("learning",))


# The numbers are not nats per residue ---------------------------------------------------------------------------------


def _in_unit(draft: Draft, factor: float, name: str) -> None:
    draft.unit = factor
    draft.facts["unit"] = name
    draft.conditional = ("healthy", "curriculum", "plateau")
    clean: Array = draft.mean
    draft.mean = clean * factor
    draft.z = draft.distance()
    draft.mean = clean
    mark(draft, ("unit",), severity=abs(factor - 1.0))


def draw_unit(draft: Draft) -> tuple[float, str]:
    """A factor that a log has, and its name."""
    match draft.random.integers(3):
        case 0:
            return 1.0 / np.log(2.0), "bits"
        case 1:
            length = int(log_uniform(draft.random, 20, 1000))
            return float(length), f"sum over {length} residues"
        case _:
            share = draft.random.uniform(0.3, 0.95)
            return share, f"mean over positions, {share:.2f} of them residues"


@setup_fault("another unit", 4.0)
def other_unit(draft: Draft) -> None:
    _in_unit(draft, *draw_unit(draft))


def _other_loss(draft: Draft, trainer: Trainer) -> None:
    rebase(draft, replace(draft.setting, trainer=trainer))
    draft.conditional = ("healthy", "curriculum", "plateau")
    mark(draft, ("unit", "config"), severity=1.0, forbidden=("learning", "instability"))
    draft.accepted = ("unit",) if trainer in ("unweighted", "per_masked") else ("unit", "config")


@setup_fault("unweighted cross-entropy", 1.5)
def unweighted(draft: Draft) -> None:
    _other_loss(draft, "unweighted")


@setup_fault("weighted loss per masked residue")
def per_masked(draft: Draft) -> None:
    _other_loss(draft, "per_masked")


@setup_fault("weighted twice")
def twice(draft: Draft) -> None:
    _other_loss(draft, "twice")
