"""How much of a sweep is done, and how long the rest takes at most."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from sedd.sweeps.points import single_changes
from sedd.sweeps.search import Plan
from sedd.sweeps.tasks import Task
from sedd.terminal.activity import LINE_SECONDS, time_left


class Workload:
    """Counts work in complete runs: a task up to a quarter of the run file's steps counts 0.25.

    What is to come is an upper bound, as if no further trial were stopped early. Time is wall time, so that it allows
    for the number of processes.

    Args:
        plan: what the sweep does.
        clock: seconds, from any origin.
    """

    def __init__(self, plan: Plan, clock: Callable[[], float] = time.monotonic) -> None:
        self._plan, self._clock = plan, clock
        self._began = self._said = clock()
        self._tasks: Sequence[Task] = ()
        self._done = 0
        self._trained = 0.0  # runs, in this process and those that it has started

    @property
    def most(self) -> int:
        """Complete runs of the whole sweep, at most."""
        plan = self._plan
        if plan.single_changes:
            return (1 + len(single_changes(plan.base, plan.space))) * plan.seeds
        return 1 + plan.trials + (1 + min(plan.finalists, plan.trials)) * plan.seeds

    @property
    def announcement(self) -> str:
        """How much work it is, before anything is measured."""
        return (
            f"at most {self.most} runs of {self._plan.rungs[-1]:,} steps; a smaller training.n_iters or "
            "--budget-residues shortens all of them"
        )

    def begin(self, tasks: Sequence[Task], done: int) -> None:
        """A part of the sweep begins, of whose tasks so many were measured before."""
        self._tasks, self._done = tasks, done

    def finished(self, task: Task) -> str | None:
        """A task was measured: how long the rest takes, if that was not said within the last half minute."""
        self._done += 1
        self._trained += self._share(task.rung) - (0.0 if self._fresh(task) else self._share(task.rung - 1))
        left, now = self.left, self._clock()
        if not left or now - self._said < LINE_SECONDS:
            return None
        self._said = now
        seconds = (now - self._began) / self._trained * left
        return f"at most {left:.3g} more {'run' if left == 1.0 else 'runs'}, {time_left(seconds)}"

    @property
    def left(self) -> float:
        """Complete runs that are still to be trained, at most."""
        if not self._tasks:
            return 0.0
        missing, last = len(self._tasks) - self._done, self._tasks[-1]
        if self._fresh(last):
            return float(missing)
        running = missing * (1.0 - self._share(last.rung - 1)) + self._done * (1.0 - self._share(last.rung))
        plan = self._plan
        return running + plan.trials - last.number + (min(plan.finalists, plan.trials) + 1) * plan.seeds

    def _fresh(self, task: Task) -> bool:
        """Whether a task is a whole run of a finalist, not the next part of a run of the search."""
        return self._plan.single_changes or task.seed != self._plan.base.seed

    def _share(self, rung: int) -> float:
        """The part of a run that is done at a rung."""
        return self._plan.rungs[rung] / self._plan.rungs[-1] if rung >= 0 else 0.0
