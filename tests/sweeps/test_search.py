"""The search: what it finds, what it does not claim, and that it is a function of the seed and the measurements."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from sedd.sweeps.answer import seeds_needed
from sedd.sweeps.contrasts import Contrast
from sedd.sweeps.halving import stopped
from sedd.sweeps.points import generations, propose
from sedd.sweeps.search import search
from sedd.sweeps.space import Changes, space_of
from sedd.sweeps.tasks import Measurement
from tests.sweeps.simulated import Simulated, plan

SAMPLERS = ["quasi-random", "tpe"]


def planted(best: float) -> Simulated:
    """The learning rate `best` is the best, one factor of e away costs 0.05 nats per residue."""

    def truth(changes: Changes) -> float:
        return 0.05 * math.log(changes.get("optim.lr", 1e-4) / best) ** 2

    return Simulated(truth, seed_noise=0.0005, bias=0.001, masks=0.004)


@pytest.mark.parametrize("shared", [True, False])
def test_of_100_sweeps_of_equal_settings_at_most_5_name_a_winner(shared: bool) -> None:
    winners = 0
    for world in range(100):
        found = search(plan(trials=12, seed=world, shared_held_out=shared), Simulated(world=world, bias=0.02 * shared))
        winners += found.winner is not None
    assert winners <= 5


@pytest.mark.parametrize("sampler", SAMPLERS)
@pytest.mark.parametrize("best", [3e-4, 2e-3])
def test_a_planted_learning_rate_is_found_within_the_resolution_of_the_trials(sampler: str, best: float) -> None:
    if sampler == "tpe":
        pytest.importorskip("optuna", reason="needs the extra tune")
    found = search(plan("optim.lr=1e-4..1e-2:log", trials=30, sampler=sampler), planted(best))
    spacing = math.log(100.0) / 30
    assert found.winner is not None
    assert abs(math.log(found.winner.changes["optim.lr"] / best)) < spacing
    assert "is better than the run file" in found.sentence


def test_the_interval_of_the_winner_holds_the_true_difference() -> None:
    held = 0
    for world in range(20):
        simulated = planted(2e-3)
        simulated.world = world
        found = search(plan("optim.lr=1e-4..1e-2:log", trials=12, seed=world), simulated)
        contrast = found.to_baseline[found.leader.number]
        true = simulated.truth(found.leader.changes) - simulated.truth({})
        held += contrast.interval[0] <= true <= contrast.interval[1]
    assert held >= 18


def test_halving_stops_trials_and_never_one_that_is_within_the_error() -> None:
    simulated = planted(1e-3)
    found = search(plan("optim.lr=1e-4..1e-2:log", trials=12), simulated)
    states = {trial.number: trial.state for trial in found.trials}
    assert set(states.values()) == {"complete", "stopped"}
    assert states[0] == "complete"  # the run file, although it is the worst
    equal = search(plan(trials=12), Simulated(seed_noise=0.0, bias=0.0))
    assert sum(trial.state == "stopped" for trial in equal.trials) <= 1


def measured(nats: float, *, full_range: bool = True, stderr: float = 0.01) -> Measurement:
    return Measurement(nats, stderr, 1, 1, full_range)


def test_a_trial_is_not_stopped_before_its_ramp_has_ended_but_if_it_diverged() -> None:
    at_rung = {0: measured(1.0), 1: measured(1.1), 2: measured(3.0, full_range=False), 3: measured(math.inf)}
    at_rung |= {4: measured(3.0), 5: measured(1.12)}
    assert stopped(at_rung, frozenset(at_rung)) == {3, 4}  # 5 is within the error of the border


def test_a_sweep_of_single_changes_has_a_row_for_each_with_all_seeds() -> None:
    simulated = Simulated(lambda changes: -0.5 if "optim.warmup" in changes else 0.0)
    vary = ("optim.warmup=10", "optim.lr=1e-3,2e-3,4e-3", "optim.grad_clip=0.5..1.5")
    found = search(plan(*vary, single_changes=True, seeds=2), simulated)
    assert [trial.changes for trial in sorted(found.trials, key=lambda trial: trial.number)] == [
        {}, {"optim.warmup": 10}, {"optim.lr": 1e-3}, {"optim.lr": 4e-3}, {"optim.grad_clip": 0.5},
        {"optim.grad_clip": 1.5},
    ]  # fmt: skip
    assert len(simulated.tasks) == 12
    assert [number for number, one in found.to_baseline.items() if one.better] == [1]
    assert found.to_baseline[1].nats == pytest.approx(-0.5, abs=0.1)


def test_where_all_runs_fail_the_answer_says_so() -> None:
    found = search(plan(trials=3), lambda tasks: [Measurement(math.inf, math.inf, 0, 0, False) for _ in tasks])
    assert found.winner is None
    assert {trial.state for trial in found.trials} == {"failed"}
    assert found.sentence.startswith("No run has a bound")


def test_where_the_run_file_is_surely_the_best_the_answer_says_so() -> None:
    found = search(plan("optim.lr=4e-3,8e-3", single_changes=True), Simulated(lambda changes: 0.5 * len(changes)))
    assert found.winner is None
    assert found.indistinguishable == ()
    assert "All 2 others" in found.sentence


def test_a_best_value_at_the_edge_of_its_range_asks_for_a_wider_range() -> None:
    found = search(plan("optim.lr=1e-4..1e-2:log", trials=30), planted(1.0))
    assert any("optim.lr is at the high end" in step for step in found.next_steps)


def test_the_seeds_that_a_difference_needs_are_those_of_its_error_and_more_do_not_help_against_few_sequences() -> None:
    found = Contrast(1, 0, nats=-0.1, half_width=0.4, seed_error=0.05, sequence_error=0.0)
    assert seeds_needed(found, 4, 1) == pytest.approx(4 * (1.96 * 0.05 / 0.1) ** 2, rel=1e-3)
    assert seeds_needed(found, 4, 20) > 8
    assert seeds_needed(replace(found, sequence_error=0.06), 4, 1) == math.inf


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_what_is_tried_depends_on_the_seed_and_earlier_generations_alone(sampler: str) -> None:
    if sampler == "tpe":
        pytest.importorskip("optuna", reason="needs the extra tune")
    first, second, other = (search(plan(trials=14, sampler=sampler, seed=s), Simulated()) for s in (0, 0, 1))
    assert first.to_dict() == second.to_dict()
    assert first.to_dict()["trials"] != other.to_dict()["trials"]
    longer = search(plan(trials=20, sampler=sampler), Simulated())
    assert all(longer.trial(trial.number).changes == trial.changes for trial in first.trials)


def test_generations_cover_all_trials() -> None:
    assert [list(numbers) for numbers in generations(13)] == [list(range(1, 11)), [11, 12, 13]]


def test_a_small_space_of_choices_is_tried_once() -> None:
    space = space_of(["curriculum.mode=truncate,bias", "curriculum.difficulty_ramp=linear,cosine,constant"])
    found = propose(space, seed=0, numbers=range(1, 11), before=[], sampler="quasi-random")
    assert len(found) == 6
    assert len({str(changes) for changes in found.values()}) == 6
