"""The cases that verdicts are measured on: their truth follows from how they are made, and the tables count well."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "benchmarks"))

from judging.cases import make_case
from judging.draft import healthy_draft
from judging.evidence import distance, distance_of_scatter, never_rising
from judging.expected import expected
from judging.faults import FAULTS
from judging.measured import Measured, truth_of
from judging.run_bases import draw_base
from judging.run_data import Clock, Rows, by_composition, changing, held_out, only
from judging.setting import draw_setting
from judging.statistics import wilson
from judging.tables import calibration_rows, change_points, confusion, report
from judging.truth import DECIDES, Answer, Truth, seeds

from sedd.data.statistics import DataStatistics
from sedd.diagnosis.api import load_without_advice
from sedd.diagnosis.curve_fit.trainers import mismatched_loss
from sedd.diagnosis.predictors import untrained
from sedd.diffusion.graphs import make_graph
from sedd.diffusion.loss_profile import mask_range

STABLE = load_without_advice("uniref50_stable")
PROTEINS = DataStatistics.usual(STABLE).frequencies


def an_answer(kind="learning", *, probability=0.9, since=None, under=None, **truth):
    known = {"accepted": ("learning",), "forbidden": (), "severity": 0.5, "z": 20.0} | truth
    case = Truth(1, "a fault", **known)
    return Answer(case, kind, probability, kind, since, under, "", 0.1)


def test_the_streams_have_no_seed_in_common():
    assert not {*seeds("tune", 5000)} & {*seeds("judge", 5000)}
    with pytest.raises(ValueError, match="a stream has"):
        seeds("tune", 10, 9_000_000)


def test_a_seed_gives_the_same_case_again():
    assert make_case(77) == make_case(77)
    assert make_case(77).csv != make_case(78).csv


def test_a_healthy_training_is_a_healthy_curve_to_the_oracle():
    for seed in range(40):
        random = np.random.default_rng([3, seed])
        assert healthy_draft(random, draw_setting(random)).distance() < 3.0, seed


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_marks_what_is_right_and_never_what_it_forbids(name):
    for seed in range(3):
        random = np.random.default_rng([8, seed])
        setting = draw_setting(random, trainer="consistent")
        while "graph.type=uniform" in setting.true or "curriculum.difficulty_ramp=constant" in setting.true:
            setting = draw_setting(random, trainer="consistent")
        draft = healthy_draft(random, setting, validated=None)
        FAULTS[name][0](draft)
        truth = draft.truth(seed)
        assert truth.accepted
        assert not {*truth.accepted} & {*truth.forbidden}
        assert np.isfinite(draft.mean).all()
        assert (draft.mean > 0).all()
        if not truth.faultless and not truth.decides:
            assert {"healthy", "inconclusive"} <= {*truth.accepted}


def test_the_oracle_sees_a_rise_that_learning_cannot_explain_and_no_other():
    effective, sd = np.linspace(1000, 5000, 100), np.full(100, 0.05)
    falling = np.linspace(-0.1, -0.3, 100)
    assert distance(falling, sd, effective) == pytest.approx(0.0, abs=1e-9)
    jump = falling + 0.2 * (np.arange(100) >= 50)
    assert distance(jump, sd, effective) > DECIDES
    assert distance(jump, 10 * sd, effective) == pytest.approx(distance(jump, sd, effective) / 10)
    assert distance(np.full(100, 0.36), sd, effective) == pytest.approx(0.36 / 0.05 * 10)  # bits: above uniform


def test_a_fit_that_never_rises_is_the_weighted_mean_where_the_data_rise():
    assert never_rising(np.array([3.0, 1.0, 2.0]), np.ones(3)) == pytest.approx([3.0, 1.5, 1.5])
    assert never_rising(np.array([1.0, 4.0]), np.array([3.0, 1.0])) == pytest.approx([1.75, 1.75])


def test_a_change_of_scatter_is_as_visible_as_its_likelihood_ratio():
    random = np.random.default_rng(0)
    draws = 2.0 * random.standard_normal(400_000)
    ratio = (draws**2 / 2 - draws**2 / 8 - np.log(2.0)).mean()
    assert distance_of_scatter(np.full(9, 2.0)) == pytest.approx(np.sqrt(2 * 9 * ratio), rel=0.01)


def test_expected_losses_are_those_of_the_closed_forms():
    d = np.array([0.1, 0.4, 1.0])
    consistent = expected(STABLE, d, "consistent", PROTEINS)
    ends = np.array([mask_range(STABLE.noise, x, "scale") for x in d])
    assert consistent.uniform == pytest.approx(np.log(20) * (ends[:, 1] - ends[:, 0]), rel=1e-6)
    mismatched = expected(STABLE, d, "mismatched", PROTEINS)
    predictor = untrained(make_graph("absorb", 20), STABLE.model)
    assert mismatched.uniform == pytest.approx([mismatched_loss(predictor, x, *ends[-1]) for x in d], rel=1e-3)
    assert expected(STABLE, d, "unweighted", PROTEINS).uniform == pytest.approx(np.full(3, np.log(20)))
    assert expected(STABLE, d, "unweighted", PROTEINS).loss(np.ones(3), np.zeros(3)) == pytest.approx(
        np.full(3, -(PROTEINS * np.log(PROTEINS)).sum())
    )


def test_the_interval_of_a_share_is_that_of_wilson():
    assert wilson(10, 10) == pytest.approx((0.7225, 1.0), abs=1e-4)
    assert wilson(0, 10) == pytest.approx((0.0, 0.2775), abs=1e-4)
    assert wilson(50, 100) == pytest.approx((0.4038, 0.5962), abs=1e-4)


def test_an_answer_is_right_by_the_truth_alone():
    assert an_answer("learning").named_right
    assert not an_answer("curriculum").right
    assert an_answer("curriculum").missed_gross
    assert not an_answer("curriculum", severity=0.01).missed_gross
    healthy = {"accepted": ("healthy", "inconclusive"), "faultless": True, "severity": 0.0, "z": 0.0}
    assert an_answer("learning", **healthy).false_alarm
    assert an_answer("inconclusive", **healthy).right
    assert not an_answer("inconclusive", **healthy).named_right


def test_a_conditional_verdict_counts_as_well():
    bits = {"accepted": ("unit",), "conditional": ("healthy", "curriculum")}
    assert an_answer("unit", under="curriculum", **bits).right
    assert not an_answer("unit", under="learning", **bits).right
    assert an_answer("unit", **bits).right


def test_the_tables_count_what_is_there():
    answers = [
        an_answer("learning", probability=0.95, since=(10, 30), onset=(20, 25)),
        an_answer("learning", probability=0.95, since=(40, 60), onset=(20, 25)),
        an_answer("healthy", probability=0.6),
    ]
    assert calibration_rows(answers) == [(0.6, 0.5, 0, 1), (0.95, 0.95, 2, 2)]
    assert "50.0% (9.5% to 90.5%; 1 of 2)" in change_points(answers)
    assert "| learning | 1 | 2 |" in confusion(answers)
    assert report(answers, unit="fraction of the loss").count("## ") == 7


def test_a_truth_that_is_written_is_read_back():
    truth = make_case(5).truth
    assert Truth.from_dict(truth.to_dict()) == truth


# Runs -----------------------------------------------------------------------------------------------------------------


def a_run(bounds, *, losses=None, accepted=(), fault="none", onset=None, finished=True):
    facts = {"accepted": list(accepted), "fault": fault, "onset": onset, "finished": finished, "steps": 80}
    losses = np.full(10, 2.5) if losses is None else np.asarray(losses)
    facts |= {"symbols": 20, "h1": 2.89}
    return Measured(facts, np.arange(8, 88, 8.0), losses, np.asarray(bounds), 0)


def test_a_planted_fault_without_a_measurable_effect_is_healthy():
    runs = {0: a_run([2.9, 2.7, 2.5]), 1: a_run([2.9, 2.7, 2.501], accepted=("learning",), fault="spike", onset=40)}
    truth = truth_of(1, runs)
    assert truth is not None
    assert truth.faultless
    assert truth.wanted == "healthy"
    assert "learning" in truth.forbidden
    assert truth.onset is None


def test_harm_against_the_twin_makes_a_fault_and_its_size():
    runs = {0: a_run([2.9, 2.7, 2.5]), 2: a_run([2.9, 2.7, 2.9], accepted=("learning",), fault="spike", onset=40)}
    truth = truth_of(2, runs)
    assert truth is not None
    assert truth.wanted == "learning"
    assert truth.severity == pytest.approx(0.4)
    assert truth.gross
    assert {"healthy", "curriculum"} <= {*truth.forbidden}


def test_a_run_that_diverged_by_itself_is_no_healthy_one():
    truth = truth_of(0, {0: a_run([2.9, 2.5, 2.9])})
    assert truth is not None
    assert not truth.faultless
    assert truth.wanted == "learning"


def test_a_faulty_run_without_its_twin_is_not_judged():
    assert truth_of(1, {1: a_run([2.9, 2.7])}) is None


def test_a_run_and_its_faulty_twins_share_base_and_seed():
    first = draw_base(30, proteins=None, text=None)
    assert first == draw_base(30, proteins=None, text=None)
    assert first != draw_base(33, proteins=None, text=None)
    assert load_without_advice(*first.overrides).training.n_iters == first.steps


def test_data_change_from_a_step_on_and_stay_as_long(tmp_path):
    from sedd.data import open_data

    config = load_without_advice("quickstart", "data.synthetic.sequences=60", "data.synthetic.max_length=44")
    data, clock = open_data(config.data, seed=0), Clock()
    changed = changing(data, clock, lambda ids, index, step: (ids + 1) % 20 if step >= 10 else ids)
    assert (changed.train[3] == data.train[3]).all()
    clock.step = 10
    assert (changed.train[3] == (np.asarray(data.train[3]) + 1) % 20).all()
    assert len(only(data, 7, times=3).train) == 21
    assert only(data, 7, times=3).token_counts.sum() == 3 * sum(len(data.train[i]) for i in range(7))
    backwards = held_out(data, lambda ids: ids[::-1].copy())
    assert isinstance(backwards.valid, Rows)
    assert (backwards.valid[0] == np.asarray(data.valid[0])[::-1]).all()
    drifting = by_composition(data, 100, clock)
    for step, index in ((0, 5), (99, 5)):
        clock.step = step
        assert len(drifting.train[index]) == len(data.train[index])


def test_noise_and_logger_keep_the_steps_in_order():
    for seed in range(12):
        case = make_case(seed)
        rows = [line.split(",") for line in case.csv.splitlines()[1:]]
        steps = [int(row[0]) for row in rows]
        assert steps == sorted(set(steps))
        assert all(row[1] == "nan" or float(row[1]) > 0 for row in rows)
