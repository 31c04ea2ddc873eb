"""The search: generations of trials, successive halving, and fresh seeds for the finalists.

It does no training itself: it names tasks, and `Measure` carries them out. Everything it decides is a function of the
measurements and of the seed. So an interrupted sweep whose measurements are kept ends as if nothing had happened.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

from sedd.config.config import Config
from sedd.sweeps.contrasts import Contrast, contrasts
from sedd.sweeps.halving import stopped
from sedd.sweeps.points import Sampler, generations, propose, single_changes
from sedd.sweeps.space import Changes, Space, value_of
from sedd.sweeps.tasks import Measure, Measurement, Task
from sedd.sweeps.trials import State, Sweep, Trial, ranked

Say = Callable[[str], object]


@dataclass(frozen=True)
class Plan:
    """What a sweep does."""

    base: Config
    """The configuration of the run file."""
    space: Space
    trials: int
    """Settings to try besides the run file itself."""
    rungs: tuple[int, ...]
    """Optimizer steps of the run file at which trials are compared; the last one is the end."""
    residues: float
    """Training residues of a complete trial."""
    mask_rates: tuple[float, float]
    seeds: int = 3
    """Fresh seeds of each finalist and of the run file."""
    finalists: int = 3
    single_changes: bool = False
    sampler: Sampler = "tpe"
    shared_held_out: bool = True
    """Whether runs with different seeds are evaluated on the same sequences."""

    @property
    def fresh_seeds(self) -> tuple[int, ...]:
        """Seeds that the screening does not use."""
        return tuple(self.base.seed + 1 + index for index in range(self.seeds))


def search(plan: Plan, measure: Measure, *, say: Say = lambda _: None) -> Sweep:
    """Carry out a plan.

    Args:
        plan: what to do.
        measure: carries out tasks.
        say: called with a line of text before each part.
    """
    if plan.single_changes:
        settings = dict(enumerate([{}, *single_changes(plan.base, plan.space)]))
        screening: dict[int, list[Measurement]] = {number: [] for number in settings}
        finalists = list(settings)
    else:
        settings, screening = _screen(plan, measure, say)
        finalists = _best(plan, screening)
    say(f"{len(finalists)} settings with {plan.seeds} seeds each")
    table = _with_seeds(plan, measure, {number: settings[number] for number in finalists})
    trials = [
        Trial(
            number, settings[number], _state(plan, screening[number], table.get(number, ())),
            tuple(screening[number]), tuple(table.get(number, ())),
        )
        for number in settings
    ]  # fmt: skip
    order = ranked(trials)
    to_baseline, to_leader = _compared(plan, table, order[0].number, looked_at=len(settings) - 1)
    defaults = {axis.key: value_of(plan.base, axis.key) for axis in plan.space}
    return Sweep(
        plan.space, defaults, order, plan.single_changes, to_baseline, to_leader, plan.mask_rates, plan.rungs,
        plan.residues, plan.fresh_seeds,
    )  # fmt: skip


def _screen(plan: Plan, measure: Measure, say: Say) -> tuple[dict[int, Changes], dict[int, list[Measurement]]]:
    """Every setting with the seed of the run file, as far as it is worth it."""
    settings: dict[int, Changes] = {0: {}}
    found: dict[int, list[Measurement]] = {0: []}
    for numbers in generations(plan.trials):
        before = [(settings[number], found[number][-1].nats) for number in settings if found[number]]
        new = propose(plan.space, seed=plan.base.seed, numbers=numbers, before=before, sampler=plan.sampler)
        settings |= new
        found |= {number: [] for number in new}
        running = [number for number in (0, *new) if len(found[number]) == 0]
        for rung, step in enumerate(plan.rungs):
            if not running:
                break
            say(f"trials {numbers.start} to {numbers[-1]} of {plan.trials}: {len(running)} runs to step {step:,}")
            tasks = [Task(number, settings[number], plan.base.seed, rung) for number in running]
            for number, one in zip(running, measure(tasks), strict=True):
                found[number].append(one)
            at_rung = {number: every[rung] for number, every in found.items() if len(every) > rung}
            ended = {number for number in running if not found[number][-1].finite}
            if rung + 1 < len(plan.rungs):
                ended |= stopped(at_rung, frozenset(number for number in running if number))
            running = [number for number in running if number not in ended]
    return settings, found


def _best(plan: Plan, screening: Mapping[int, list[Measurement]]) -> list[int]:
    """The run file, and the best of the trials that reached the end."""
    complete = [
        number for number, found in screening.items()
        if number and len(found) == len(plan.rungs) and found[-1].finite
    ]  # fmt: skip
    return [0, *sorted(complete, key=lambda number: (screening[number][-1].nats, number))[: plan.finalists]]


def _with_seeds(plan: Plan, measure: Measure, settings: Mapping[int, Changes]) -> dict[int, list[Measurement]]:
    last = len(plan.rungs) - 1
    tasks = [Task(number, changes, seed, last) for seed in plan.fresh_seeds for number, changes in settings.items()]
    table: dict[int, list[Measurement]] = {number: [] for number in settings}
    for task, one in zip(tasks, measure(tasks), strict=True):
        table[task.number].append(one)
    return table


def _state(plan: Plan, screening: list[Measurement], seeds: list[Measurement] | tuple[()]) -> State:
    if any(not one.finite for one in (*screening, *seeds)):
        return "failed"
    return "complete" if seeds or len(screening) == len(plan.rungs) else "stopped"


def _compared(
    plan: Plan, table: Mapping[int, list[Measurement]], leader: int, *, looked_at: int
) -> tuple[dict[int, Contrast], dict[int, Contrast]]:
    """Differences to the run file and to the leader, among the settings of which no run failed."""
    sound = {number: found for number, found in table.items() if all(one.finite for one in found)}
    if len(sound) < 2:
        return {}, {}
    to = partial(contrasts, sound, looked_at=looked_at, shared_held_out=plan.shared_held_out)
    # The leader was chosen by these measurements; the run file was not.
    to_baseline = to(against=0, all_pairs=False) if 0 in sound else {}
    to_leader = to(against=leader, all_pairs=True) if leader in sound else {}
    return to_baseline, to_leader
