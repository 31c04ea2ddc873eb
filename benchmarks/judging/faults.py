"""Faults of the training that move the loss: divergence, forgetting, spikes, scatter, rows that are not finite."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import numpy as np

from judging.draft import Draft
from judging.evidence import distance_of_scatter, distance_of_shifts
from judging.expected import Array
from judging.setting import log_uniform
from judging.truth import FINE
from sedd.diagnosis.verdict import Kind

Fault = Callable[[Draft], None]
FAULTS: dict[str, tuple[Fault, float]] = {}
"""Fault and its weight in the draw, by name."""
Where = Literal["anywhere", "ramp", "full"]


def fault(name: str, weight: float = 1.0, *, model: bool = True) -> Callable[[Fault], Fault]:
    """Register a fault; a fault of the model changes the validation loss as it changes the training loss."""

    def register(plant: Fault) -> Fault:
        FAULTS[name] = (_of_the_model(plant) if model else plant), weight
        return plant

    return register


def _of_the_model(plant: Fault) -> Fault:
    def planted(draft: Draft) -> None:
        before = draft.mean
        plant(draft)
        if draft.validation is not None:
            draft.validation.mean = draft.validation.mean * (draft.mean / before)
            if not draft.faultless:  # other training data would not change the validation loss
                draft.accepted = tuple(kind for kind in draft.accepted if kind != "data")

    return planted


def mark(draft: Draft, accepted: tuple[Kind, ...], *, severity: float = 0.0, forbidden: tuple[Kind, ...] = ()) -> None:
    """Note what is right for a fault that matters; that nothing is wrong is not."""
    draft.accepted, draft.severity, draft.faultless = accepted, severity, False
    draft.forbidden = forbidden or tuple(FINE - {*accepted})


def begin(draft: Draft, where: Where = "anywhere") -> int:
    """Draw the point at which a fault begins; anywhere if the log does not contain what `where` names."""
    points = np.arange(draft.points)
    inside = (points >= 0.08 * draft.points) & (points <= 0.9 * draft.points) & (points > 1)
    difficulty = draft.setting.difficulty()
    part = {"ramp": difficulty < 0.97, "full": difficulty >= 1.0}.get(where, inside)
    candidates = np.flatnonzero(inside & part)
    if not len(candidates):
        candidates = np.flatnonzero(inside)
    draft.onset = int(draft.random.choice(candidates))
    return draft.onset


def progress(draft: Draft, k: int) -> Array:
    """From 0 at the point before `k` to 1 at the last one, (points,)."""
    return np.clip((np.arange(draft.points) - k + 1) / (draft.points - k), 0.0, 1.0)


def amount(draft: Draft, low: float = 0.004, high: float = 2.0) -> float:
    """Relative size of a fault, from invisible to gross."""
    return log_uniform(draft.random, low, high)


def _grow(draft: Draft, shape: Callable[[Array], Array], where: Where, accepted: tuple[Kind, ...]) -> None:
    size, k = amount(draft), begin(draft, where)
    draft.mean = draft.mean * (1.0 + size * shape(progress(draft, k)))
    mark(draft, accepted, severity=size)


@fault("level jump on the ramp")
def jump_on_ramp(draft: Draft) -> None:
    _grow(draft, lambda p: (p > 0).astype(float), "ramp", ("learning", "data"))


@fault("level jump at full difficulty")
def jump_at_full(draft: Draft) -> None:
    _grow(draft, lambda p: (p > 0).astype(float), "full", ("learning", "data"))


@fault("linear growth on the ramp")
def grow_on_ramp(draft: Draft) -> None:
    _grow(draft, lambda p: p, "ramp", ("learning",))


@fault("linear growth at full difficulty")
def grow_at_full(draft: Draft) -> None:
    _grow(draft, lambda p: p, "full", ("learning",))


@fault("growth that stops")
def grow_and_stay(draft: Draft) -> None:
    width = draft.random.uniform(0.1, 0.6)
    _grow(draft, lambda p: np.minimum(p / width, 1.0), "anywhere", ("learning",))


@fault("exponential growth")
def explode(draft: Draft) -> None:
    rate = draft.random.uniform(3, 12)
    size, k = amount(draft, 0.02, 30.0), begin(draft)
    draft.mean = draft.mean * (1.0 + size * np.expm1(rate * progress(draft, k)) / np.expm1(rate))
    mark(draft, ("learning", "instability"), severity=size)


@fault("growth from early on", 0.7)
def grow_slowly(draft: Draft) -> None:
    size, k = amount(draft, 0.004, 0.2), max(2, int(draft.points * draft.random.uniform(0.02, 0.3)))
    draft.onset = k
    draft.mean = draft.mean * (1.0 + size * progress(draft, k))
    mark(draft, ("learning",), severity=size)


@fault("forgetting")
def forget(draft: Draft) -> None:
    k = begin(draft)
    lost = np.exp(-progress(draft, k) * draft.random.uniform(0.5, 8))
    keep = draft.random.random() < 0.3  # the token frequencies are forgotten too, or not
    before = draft.mean
    draft.mean = draft.base.loss(draft.setting.frequencies * (1.0 if keep else lost), draft.setting.beyond * lost)
    mark(draft, ("learning",), severity=float(draft.mean[-1] / before[-1] - 1.0))


@fault("collapse to the uniform predictor")
def collapse(draft: Draft) -> None:
    k = begin(draft)
    over = draft.random.uniform(0.0, 0.1) if draft.random.random() < 0.5 else 0.0
    before = draft.mean
    draft.mean = np.where(np.arange(draft.points) >= k, draft.base.uniform * (1.0 + over), before)
    mark(draft, ("learning", "data", "instability"), severity=float(draft.mean[-1] / before[-1] - 1.0))


def _spikes(draft: Draft, count: int, decay: float) -> float:
    """Multiply the loss by `count` spikes of 1.2 to 6 times, which fall by `decay` per point; returns the largest."""
    rise = np.zeros(draft.points)
    first = begin(draft)
    starts = [first, *draft.random.integers(first, draft.points, count - 1)]
    height = log_uniform(draft.random, 0.2, 5.0)
    for start in starts:
        after = np.arange(draft.points - start)
        rise[start:] += height * draft.random.uniform(0.5, 1.0) * decay**after
    draft.mean = draft.mean * (1.0 + rise)
    return float(rise.max())


@fault("many spikes that decay")
def many_spikes(draft: Draft) -> None:
    clean = draft.mean
    count = int(draft.random.integers(5, 6 + max(1, draft.points // 15)))
    size = _spikes(draft, count, draft.random.uniform(0.0, 0.6))
    draft.z = distance_of_shifts(np.log(draft.mean / clean) / draft.sd, draft.tails)
    mark(draft, ("instability",), severity=size)


@fault("a spike or two that decay", 0.7)
def few_spikes(draft: Draft) -> None:
    draft.facts["spike"] = _spikes(draft, int(draft.random.integers(1, 3)), draft.random.uniform(0.0, 0.5))
    draft.accepted, draft.forbidden = ("healthy", "curriculum", "instability"), ("learning",)
    recovered = abs(draft.mean[-1] / draft.base.loss(draft.setting.frequencies, draft.setting.beyond)[-1] - 1) < 0.02
    if not recovered:
        draft.accepted, draft.forbidden = (*draft.accepted, "learning", "data", "inconclusive"), ("leak",)


@fault("spikes that stay")
def staircase(draft: Draft) -> None:
    k, size = begin(draft), amount(draft, 0.01, 1.0)
    steps = np.sort(draft.random.integers(k, draft.points, int(draft.random.integers(2, 6))))
    level = 1.0 + size * np.searchsorted([k, *steps], np.arange(draft.points), side="right") / (len(steps) + 1)
    peaks = np.zeros(draft.points)
    peaks[[k, *steps]] = draft.random.uniform(0.0, 2.0) * size
    draft.mean = draft.mean * (level + peaks)
    mark(draft, ("learning", "instability", "data"), severity=size)


@fault("oscillation")
def oscillate(draft: Draft) -> None:
    k, size, period = begin(draft), log_uniform(draft.random, 0.01, 0.8), draft.random.uniform(2, 12)
    phase = 2 * np.pi * (np.arange(draft.points) - k) / period
    wave = np.sign(np.cos(phase + 0.01)) if draft.random.random() < 0.5 else np.cos(phase)
    swing = np.where(np.arange(draft.points) >= k, size * wave, 0.0)
    draft.mean = draft.mean * np.maximum(1.0 + swing, 0.05)
    draft.z = distance_of_shifts(np.log1p(np.maximum(swing, -0.95)) / draft.sd, draft.tails)
    mark(draft, ("instability",), severity=size)


@fault("growing scatter")
def scatter(draft: Draft) -> None:
    k, size = begin(draft), log_uniform(draft.random, 1.1, 8.0)
    factor = 1.0 + (size - 1.0) * np.minimum(progress(draft, k) * draft.random.uniform(1, 10), 1.0)
    draft.z = distance_of_scatter(factor)
    draft.sd = draft.sd * factor
    mark(draft, ("instability",), severity=float(draft.sd[-1] - draft.sd[-1] / size))
    if draft.sd[-1] < 0.08:  # more scatter, of a size that harms nobody
        draft.accepted, draft.forbidden = ("instability", "healthy", "curriculum"), ()


@fault("a few rows that are not finite")
def some_missing(draft: Draft) -> None:
    k = begin(draft)
    draft.onset = None
    draft.missing[k : k + int(draft.random.integers(1, 4))] = True
    draft.missing[-max(4, draft.points // 10) :] = False
    draft.accepted, draft.forbidden = ("healthy", "curriculum"), ("instability", "learning")


@fault("many rows that are not finite")
def many_missing(draft: Draft) -> None:
    k, share = begin(draft), draft.random.uniform(0.1, 0.6)
    after = np.arange(draft.points) >= k
    draft.missing |= after & (draft.random.random(draft.points) < share)
    draft.missing[k] = True
    draft.z = np.inf if draft.missing.sum() > max(3, 0.04 * draft.points) else 0.0
    mark(draft, ("instability",), severity=float(draft.missing.mean()))


@fault("not finite to the end")
def broken(draft: Draft) -> None:
    k = begin(draft)
    draft.missing[k:] = True
    draft.z = np.inf
    mark(draft, ("instability",), severity=1.0)


@fault("growth, then not finite")
def explode_and_break(draft: Draft) -> None:
    size, k = log_uniform(draft.random, 0.2, 20.0), begin(draft)
    end = int(draft.random.integers(k + 1, draft.points)) if k + 1 < draft.points else draft.points - 1
    grown = 1.0 + size * np.expm1(4 * np.clip((np.arange(draft.points) - k + 1) / (end - k + 1), 0, 1)) / np.expm1(4)
    draft.mean = draft.mean * grown
    draft.missing[end:] = True
    draft.z = np.inf
    mark(draft, ("instability", "learning"), severity=1.0)
