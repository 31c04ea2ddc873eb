"""What a sweep has found, in sentences: the winner or that there is none, and what to try next."""

from __future__ import annotations

import math
from collections.abc import Iterator
from statistics import NormalDist
from typing import TYPE_CHECKING

from sedd.evaluation.intervals import plus_minus
from sedd.sweeps.contrasts import LEVEL, Contrast
from sedd.sweeps.space import RangeAxis

if TYPE_CHECKING:
    from sedd.sweeps.trials import Sweep, Trial

EDGE = 0.08
"""Share of a range at either end that counts as its edge."""
MOST_SEEDS = 64
"""More seeds than this are not recommended: the difference is too small to matter."""


def answer(sweep: Sweep) -> str:
    """The winner with its difference to the run file, or that nothing is distinguishable from it."""
    leader, contrast = sweep.leader, sweep.to_baseline.get(sweep.leader.number)
    if not math.isfinite(leader.nats):
        return f"No run has a bound: all {len(sweep.trials)} settings failed. {leader.judged.verdict}"
    if not math.isfinite(sweep.baseline.nats):
        return f"The run file itself failed ({sweep.baseline.judged.verdict}); the best setting is {leader.name}."
    if leader.number == 0:
        others = [one for one in sweep.indistinguishable if one.number]
        best = f"No setting is better than the run file: it has the lowest bound, {leader.nats:.4f} nats per residue."
        worse = [one for one in sweep.to_leader.values() if one.worse]
        if worse and not others:
            return f"{best} All {len(worse)} others with several seeds are worse by more than their intervals."
        return best + _also(others)
    if contrast is None:
        return f"{leader.name} has the lowest bound, {leader.nats:.4f} nats per residue; no difference could be tested."
    others = [one for one in sweep.indistinguishable if one.number]
    if sweep.winner is None:
        return (
            f"No setting is distinguishable from the run file. The lowest bound has {leader.name}: its difference is "
            f"{_difference(contrast)} nats per residue, and the 95 % interval includes 0.{_also(others)}"
        )
    return (
        f"{leader.name} is better than the run file by {-contrast.nats:.4f} nats per residue; the 95 % interval, "
        f"{-contrast.interval[1]:.4f} to {-contrast.interval[0]:.4f}, corrected for {len(sweep.trials) - 1} settings, "
        f"excludes 0.{_also(others)}"
    )


def next_steps(sweep: Sweep) -> tuple[str, ...]:
    """What to try next, the most useful first."""
    if not math.isfinite(sweep.leader.nats):
        return ("Begin with a run that works: sedd diagnose says of each run why it failed.",)
    return (*_edges(sweep), *_failed(sweep), *_seeds(sweep), *_sequences(sweep), *_use(sweep))


def _also(others: list[Trial]) -> str:
    return f" Not distinguishable from it: {'; '.join(one.name for one in others)}." if others else ""


def _difference(contrast: Contrast) -> str:
    return plus_minus(contrast.nats, contrast.half_width)


def _edges(sweep: Sweep) -> Iterator[str]:
    """Ranges at whose edge the best setting lies."""
    for axis in sweep.space:
        if isinstance(axis, RangeAxis) and axis.key in sweep.leader.changes:
            place = axis.place(sweep.leader.changes[axis.key])
            if place < EDGE:
                yield f"The best {axis.key} is at the low end of its range, {axis.low:g}: try lower values."
            elif place > 1.0 - EDGE:
                yield f"The best {axis.key} is at the high end of its range, {axis.high:g}: try higher values."


def _failed(sweep: Sweep) -> Iterator[str]:
    failed = sweep.failures
    if failed:
        yield (
            f"{len(failed)} of {len(sweep.trials)} settings went wrong, such as {failed[0].name}: "
            f"{failed[0].judged.verdict or failed[0].judged.kind}"
        )


def _seeds(sweep: Sweep) -> Iterator[str]:
    """How many seeds would tell the leader from the run file, or else from the next one."""
    undecided = [one for one in (sweep.to_baseline.get(sweep.leader.number),) if one is not None and not one.better]
    undecided += [one for one in sweep.to_leader.values() if not one.worse][: 0 if undecided else 1]
    for contrast in undecided:
        if not contrast.nats or not math.isfinite(contrast.half_width):
            continue
        needed = seeds_needed(contrast, len(sweep.seeds), len(sweep.to_baseline))
        names = [sweep.trial(number).name for number in (contrast.number, contrast.other)]
        if needed > MOST_SEEDS:
            yield (
                f"{names[0]} and {names[1]} differ by {_difference(contrast)}: more than {MOST_SEEDS} seeds would be "
                "needed to tell them apart. Choose the simpler or cheaper one."
            )
        else:
            needed = max(math.ceil(needed), len(sweep.seeds) + 1)
            yield f"To tell {names[0]} from {names[1]}, use about {needed} seeds (--seeds)."


def seeds_needed(contrast: Contrast, seeds: int, settings: int) -> float:
    """Seeds with which an interval around the same difference would exclude 0; infinite if no number would do.

    With n seeds the error is sqrt(e^2 seeds / n + error over sequences^2), e the one with `seeds` seeds.
    """
    z = NormalDist().inv_cdf(1.0 - LEVEL / (2.0 * settings))
    rest = (contrast.nats / z) ** 2 - contrast.sequence_error**2
    return seeds * contrast.seed_error**2 / rest if rest > 0.0 else math.inf


def _sequences(sweep: Sweep) -> Iterator[str]:
    wide = [one for one in sweep.to_baseline.values() if one.sequence_error > one.seed_error]
    if wide and not any(one.better for one in wide):
        yield "The error over held-out sequences is larger than that over seeds: raise evaluation.sequences."


def _use(sweep: Sweep) -> Iterator[str]:
    if sweep.winner is not None:
        yield "Train with best.yaml; for longer runs, check the learning rate again, since its best value moves."
