"""How long a sweep takes at most."""

from __future__ import annotations

import pytest

from sedd.sweeps.tasks import Task
from sedd.sweeps.workload import Workload
from tests.sweeps.simulated import plan


class Clock:
    """Seconds that a test sets."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_what_is_left_is_the_rest_of_the_search_and_the_seeds_of_the_finalists() -> None:
    clock = Clock()
    workload = Workload(plan(trials=12, finalists=3, seeds=2), clock)  # compared at a quarter, half and all of the run
    assert workload.left == 0.0
    assert "21 runs of 800 steps" in workload.announcement
    first = [Task(number, {}, 0, 0) for number in range(11)]
    workload.begin(first, done=0)
    assert workload.left == workload.most == 11 + 2 + 4 * 2
    clock.now = 10.0
    assert workload.finished(first[0]) is None  # nothing is said within half a minute
    clock.now = 40.0
    said = workload.finished(first[1])  # half a run in 40 s
    assert workload.left == 21 - 0.5
    assert said is not None
    assert "20.5 more runs" in said
    assert f"{round(80 * 20.5 / 60)} min" in said
    workload.begin([Task(number, {}, 0, 1) for number in (0, 3, 4)], done=1)  # the others were stopped
    assert workload.left == 2 * 0.75 + 0.5 + (12 - 4) + 8


def test_at_the_end_the_runs_of_the_finalists_are_left() -> None:
    workload = Workload(plan(trials=12, finalists=1, seeds=2))
    fresh = [Task(number, {}, seed, 2) for seed in (1, 2) for number in (0, 5)]
    workload.begin(fresh, done=1)
    assert workload.left == 3
    for task in fresh[1:]:
        workload.finished(task)
    assert workload.left == 0


@pytest.mark.parametrize("seed", [0, 1])
def test_a_sweep_of_single_changes_counts_whole_runs(seed: int) -> None:
    workload = Workload(plan("optim.lr=1e-3,4e-3", single_changes=True, seeds=2, seed=0))
    assert workload.most == 3 * 2
    workload.begin([Task(number, {}, seed, 2) for number in range(3)], done=0)
    workload.finished(Task(0, {}, seed, 2))
    assert workload.left == 2
