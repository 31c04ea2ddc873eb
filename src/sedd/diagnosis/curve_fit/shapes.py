"""The curves of which a hypothesis is made: learning, and what disturbs it; all in the logarithm of the loss."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations, product

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

TIMES = 6
"""Time constants of exponential learning."""
LATE = (0.15, 0.35, 0.6)
"""Centres of learning that begins late, as shares of the run."""
DEEP = 0.88
"""Share of the loss itself that vanishes exponentially, where it nearly goes: a leak."""
USUAL_TIME = 1500.0
"""Optimizer steps at the full learning rate in which learning usually happens."""
SPREAD = 2.0
"""Standard deviation of the log of that time."""
VARIES = 0.02
"""Variation of a weight along the curve from which on it matters."""
LASTING = ("level", "linear", "easing", "slowing", "speeding", "exploding", "stopping early", "stopping late")
"""Forms of a disturbance that stays: at once, or a growth of the log loss that is even, eases (the loss itself grows
evenly), slows down, speeds up, explodes, or stops after 15 % or 40 % of what remains."""
EXPLOSIONS: dict[str, tuple[float, float]] = {
    "exploding slowly": (3.0, 1.0), "exploding fast": (12.0, 1.0), "exploding far": (4.0, 20.0),
    "exploding fast and far": (9.0, 20.0),
}  # fmt: skip
"""Further forms of an exponential growth of the loss: e-folds in what remains, and the growth at the end. They begin
unseen, so that they matter for the step at which a growth began, not for whether there is one."""
DECAYS: dict[str, float] = {
    "sharp bump": 0.004, "bump": 0.01, "long bump": 0.025, "slow bump": 0.06, "slowest bump": 0.14,
}  # fmt: skip
"""Forms that decay, and their time constants as shares of the run."""
BUMPS = tuple(DECAYS)
STRETCHES = ("short stretch", "stretch", "between jumps")
"""Forms that end at once: after 6 % or 15 % of the run, or at the second of two jumps."""
KINDS = (*LASTING, *BUMPS, "short stretch", "stretch")
"""The forms that can begin at any step."""


@dataclass(frozen=True, eq=False)
class Learning:
    """Curves of learning, each from 0 at step 0 to its share, and the sets of them that are fitted together."""

    columns: Array
    """(curves, blocks): share that is learnt at each block, as it shows in the loss at this difficulty."""
    end: Array
    """(curves,): share that is learnt at the last step."""
    sets: tuple[tuple[int, ...], ...]
    """The sets of at most two curves."""
    log_prior: Array
    """(sets,): log of the weight of each set."""


def learning(steps: Array, effective: Array, of_frequencies: Array, of_context: Array) -> Learning:
    """The curves of learning.

    Args:
        steps: (blocks,) optimizer steps.
        effective: (blocks,) optimizer steps at the full learning rate so far.
        of_frequencies: (blocks,) weight of the token frequencies in the log loss at this difficulty, over that at full
            difficulty.
        of_context: (blocks,) likewise for what the other residues tell, which is more the fewer are masked.
    """
    last = max(float(effective[-1]), 1.0)
    spacing = float(np.diff(effective[: max(2, len(effective) // 10)]).mean()) if len(effective) > 1 else 1.0
    shortest = max(spacing, last / 500.0, 1.0)
    longest = max(last, 4 * shortest)
    columns, prior = [], []
    for tau in np.geomspace(shortest, longest, TIMES):
        columns.append(-np.expm1(-effective / tau) * of_frequencies)
        prior.append(-0.5 * (np.log(tau / USUAL_TIME) / SPREAD) ** 2)
    frequencies, plain = list(range(TIMES)), list[int]()
    if effective[-1] < 0.95 * steps[-1]:  # a warm-up need not slow down learning as much as it lowers the rate
        for tau in np.geomspace(max(float(steps[-1]) / 100.0, shortest), max(float(steps[-1]) / 4.0, 4 * shortest), 3):
            plain.append(len(columns))
            columns.append(-np.expm1(-steps / tau) * of_frequencies)
            prior.append(-1.0 - 0.5 * (np.log(tau / USUAL_TIME / 2) / SPREAD) ** 2)
    context: list[int] = []
    if np.ptp(of_context) > VARIES:
        for tau in np.geomspace(shortest * (longest / shortest) ** 0.25, longest, TIMES - 2):
            context.append(len(columns))
            columns.append(-np.expm1(-effective / tau) * of_context)
            prior.append(-0.5 * (np.log(tau / USUAL_TIME / 3) / SPREAD) ** 2)
    deep = []
    for tau in np.geomspace(shortest * (longest / shortest) ** 0.15, longest, 5):
        deep.append(len(columns))
        columns.append(np.log1p(DEEP * np.expm1(-effective / tau)) / np.log1p(-DEEP))
        prior.append(-2.0 - 0.5 * (np.log(tau / USUAL_TIME) / SPREAD) ** 2)
    late = []
    for share in LATE:
        late.append(len(columns))
        columns.append((_sigmoid((effective / last - share) / 0.04) - _sigmoid(-share / 0.04)) * of_context)
        prior.append(-2.0)
    sets = tuple(_sets(frequencies, plain, context, deep, late))
    weights = np.array(prior) - np.log(np.exp(prior).sum())
    log_prior = [np.log((0.2, 0.3, 0.5)[len(chosen)]) + sum(weights[i] for i in chosen) for chosen in sets]
    found = np.array(columns)
    return Learning(found, found[:, -1], sets, np.array(log_prior))


def _sets(
    frequencies: list[int], plain: list[int], context: list[int], deep: list[int], late: list[int]
) -> Iterator[tuple[int, ...]]:
    yield ()
    yield from ((i,) for i in (*frequencies, *plain, *context, *deep, *late))
    yield from combinations(frequencies, 2)
    yield from combinations(context, 2)
    yield from product(frequencies, (*context, *deep, *late))
    yield from product(context, late)
    yield from product(plain, (*context, *late))


def _sigmoid(x: Array | float) -> Array:
    return np.asarray(1.0 / (1.0 + np.exp(-np.clip(x, -40.0, 40.0))))


@dataclass(frozen=True, eq=False)
class Disturbances:
    """Curves of a disturbance, each from some step on."""

    columns: Array
    """(curves, blocks): 0 before the step; 1 is its full size."""
    kinds: NDArray[np.str_]
    """(curves,): of `KINDS`, or of `STRETCHES`."""
    since: Array
    """(curves,): the step."""

    def among(self, kinds: tuple[str, ...]) -> NDArray[np.bool_]:
        """(curves,): whether a curve has one of the forms."""
        return np.isin(self.kinds, kinds)

    def __add__(self, other: Disturbances) -> Disturbances:
        """The curves of both."""
        return Disturbances(
            np.concatenate([self.columns, other.columns]),
            np.concatenate([self.kinds, other.kinds]),
            np.concatenate([self.since, other.since]),
        )


def disturbances(steps: Array, starts: Array, kinds: tuple[str, ...] = KINDS) -> Disturbances:
    """Every form of disturbance from each of the steps `starts`."""
    last, span = float(steps[-1]), max(float(steps[-1] - steps[0]), 1.0)
    found, names, since = [], [], []
    for start in starts:
        x = np.clip((steps - start) / max(last - start, 1.0), 0.0, 1.0)
        for kind in kinds:
            found.append(np.where(steps >= start, _form(kind, x, np.maximum(steps - start, 0.0) / span), 0.0))
            names.append(kind)
            since.append(start)
    columns = np.array(found).reshape(len(found), len(steps))
    return Disturbances(columns, np.array(names, np.str_), np.array(since, np.float64))


def between(steps: Array, jumps: Array) -> Disturbances:
    """A level from each of the steps `jumps` to each later one."""
    pairs = [(begin, end) for begin, end in combinations(np.unique(jumps).tolist(), 2) if end > begin]
    columns = np.array([(steps >= begin) & (steps < end) for begin, end in pairs], np.float64)
    names = np.array(["between jumps"] * len(pairs), np.str_)
    return Disturbances(columns.reshape(len(pairs), len(steps)), names, np.array([a for a, _ in pairs], np.float64))


def _form(kind: str, x: Array, passed: Array) -> Array:
    """x: share of what remains after the start; passed: share of the whole curve since the start."""
    match kind:
        case "level":
            return np.ones_like(x)
        case "linear":
            return x
        case "easing":  # the loss itself grows evenly, to a few times what it was
            return np.asarray(np.log1p(1.5 * x) / np.log(2.5))
        case "slowing":
            return np.asarray(np.log1p(4.0 * x) / np.log(5.0))
        case "speeding":
            return x**2
        case "exploding":
            return np.asarray(np.expm1(6.0 * x) / np.expm1(6.0))
        case "stopping early":
            return np.minimum(1.0, x / 0.15)
        case "stopping late":
            return np.minimum(1.0, x / 0.4)
        case _ if kind in EXPLOSIONS:
            rate, far = EXPLOSIONS[kind]
            return np.asarray(np.log1p(far * np.expm1(rate * x) / np.expm1(rate)) / np.log1p(far))
        case _ if kind in DECAYS:
            return np.asarray(np.exp(-passed / DECAYS[kind]))
        case "short stretch":
            return (passed <= 0.06).astype(np.float64)
    return (passed <= 0.15).astype(np.float64)
