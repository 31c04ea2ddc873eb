"""What is known before training: every claim against a direct computation."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import numpy as np
import pytest

import sedd
from sedd.config.averaging import initial_share
from sedd.data.statistics import DataStatistics
from sedd.diagnosis.foresight import DataFacts, Foresight, bits_per_parameter, foresee, network_parameters
from sedd.diagnosis.predictors import both_predictors
from sedd.diagnosis.rule_chances import RuleChance, rises, rule_chances, scatters, starts
from sedd.diagnosis.step_scatter import losses_of_steps
from sedd.diffusion.graphs import make_graph
from sedd.evaluation.evaluated import EvaluatedSequences

pytestmark = pytest.mark.filterwarnings("ignore::sedd.errors.SeddWarning")

FREQUENCIES = np.array([0.4, 0.25, 0.15, 0.1, 0.06, 0.04])
STATISTICS = DataStatistics(FREQUENCIES, 64.0, "made up")
BASIC = (
    "curriculum.preschool_time=1000", "training.n_iters=2000", "model.length=64", "noise.sigma_max=3",
    "monitoring.patience=100", "training.eval_every=100",
)  # fmt: skip


def configured(*overrides: str) -> sedd.Config:
    return sedd.load_config({}, *BASIC, *overrides)


def evaluated(count: int, *, spread: float = 0.1) -> EvaluatedSequences:
    random = np.random.default_rng(0)
    unigram = 2.0 + random.normal(0.0, spread, count)
    composition = unigram - 0.1 + random.normal(0.0, spread / 2, count)
    return EvaluatedSequences(count, np.full(6, 10), np.full(count, 50.0), unigram, composition)


def facts(*, residues: float = 1e9, parameters: int = 1_000_000, held_out: int = 4000) -> DataFacts:
    return DataFacts(residues, parameters, evaluated(held_out))


def about(found: tuple[Foresight, ...], name: str) -> list[Foresight]:
    return [known for known in found if known.about == name]


def test_an_average_that_cannot_follow_is_known_with_the_decay_that_can():
    (known,) = about(foresee(configured("ema.warmup=false"), STATISTICS), "ema")
    assert known.act
    assert known.numbers["initial_share"] == pytest.approx(0.9999**2000)
    follows = configured("ema.warmup=false", f"ema.decay={known.numbers['decay']}")
    assert 0.001 < initial_share(follows.ema, 2000) <= 0.01
    assert not about(foresee(follows, STATISTICS), "ema")
    assert not about(foresee(configured(), STATISTICS), "ema")  # with warm-up


@pytest.mark.parametrize(("patience", "fires"), [(1900, True), (1901, False)])
def test_a_patience_that_cannot_fire_is_known(patience, fires):
    found = about(foresee(configured(f"monitoring.patience={patience}"), STATISTICS), "monitoring.patience")
    assert bool(found) != fires
    assert all(known.numbers["longest"] == 1900 for known in found)


def test_a_run_that_ends_inside_the_ramp_is_known_with_the_difficulty_that_it_reaches():
    config = configured("curriculum.preschool_time=4000")
    (known,) = about(foresee(config, STATISTICS), "curriculum")
    assert known.numbers["difficulty"] == pytest.approx(config.curriculum.difficulty(1999))
    assert known.numbers["mask_rate_max"] == pytest.approx(1 - math.exp(-3), abs=0.5)
    assert not about(foresee(configured(), STATISTICS), "curriculum")


@pytest.mark.parametrize(("epochs", "bits"), [(0.5, 0.0), (10, 0.0), (100, 1.0), (1000, 2.0), (10**6, 2.0)])
def test_the_rule_of_thumb_has_the_measured_capacities(epochs, bits):
    assert bits_per_parameter(epochs) == pytest.approx(bits)


@pytest.mark.parametrize(("parameters", "act"), [(10_000, False), (1_000_000, True)])
def test_data_that_can_be_memorised_in_the_planned_epochs_are_known(parameters, act):
    residues = 2000 * 32 * 64 / 100  # a hundred epochs
    found = foresee(configured(), STATISTICS, facts(residues=residues, parameters=parameters))
    (known,) = about(found, "memory")
    assert known.act == act
    assert known.numbers["epochs"] == pytest.approx(100)
    assert known.numbers["memory"] == pytest.approx(parameters)
    entropy = -float(FREQUENCIES @ np.log2(FREQUENCIES))
    assert known.numbers["bits"] == pytest.approx(residues * entropy)


def test_one_epoch_is_never_too_many():
    (known,) = about(foresee(configured(), STATISTICS, facts(residues=2000 * 32 * 64, parameters=10**9)), "memory")
    assert not known.act
    assert known.numbers["epochs"] == pytest.approx(1.0)


def test_the_parameters_are_those_of_the_network(tiny):
    trainer = sedd.Trainer(tiny())
    parameters = sum(parameter.numel() for parameter in trainer.network.parameters())
    assert network_parameters(tiny(), 20) == parameters
    found = DataFacts.of(tiny(), trainer.data)
    assert found.parameters == parameters
    assert found.residues == pytest.approx(trainer.data.token_counts.sum())
    assert DataFacts.of(tiny(), trainer.data, parameters=5).parameters == 5


def test_a_held_out_set_that_cannot_show_a_small_difference_is_known_with_the_size_that_can():
    (known,) = about(
        foresee(configured(), STATISTICS, replace(facts(), held_out=evaluated(30, spread=0.2))), "held_out"
    )
    assert known.act
    sequences = evaluated(30, spread=0.2)
    difference = sequences.unigram - sequences.composition
    assert known.numbers["paired_half_width"] == pytest.approx(2.045 * difference.std(ddof=1) / 30**0.5, rel=0.01)
    assert known.numbers["half_width"] == pytest.approx(2.045 * sequences.unigram.std(ddof=1) / 30**0.5, rel=0.01)
    needed = int(known.numbers["needed"])
    enough = replace(facts(), held_out=evaluated(needed, spread=0.2))
    (enough,) = about(foresee(configured(), STATISTICS, enough), "held_out")
    assert not enough.act
    assert enough.numbers["paired_half_width"] == pytest.approx(0.01, rel=0.3)
    alike = replace(facts(), held_out=evaluated(19, spread=0.0))
    assert about(foresee(configured(), STATISTICS, alike), "held_out")[0].act
    (single,) = about(foresee(configured(), STATISTICS, facts(held_out=1)), "held_out")
    assert single.act
    assert "half_width" not in single.to_dict()["numbers"]
    nothing_listed = replace(evaluated(3), unigram=np.zeros(0), sequences=5000)
    assert not about(foresee(configured(), STATISTICS, replace(facts(), held_out=nothing_listed)), "held_out")


def naive_times(config: sedd.Config, chance: RuleChance, runs: int) -> list[int]:
    """How often the rule starts to fire, each line the mean of steps that are drawn one by one, in plain loops."""
    graph, every = make_graph("absorb", 6), config.training.log_every
    steps = config.training.n_iters
    losses = losses_of_steps(config, graph, STATISTICS, 1.0, steps=steps * runs)
    full = both_predictors(graph, config.model, FREQUENCIES)["unigram"].loss(0.0, 1.0 - math.exp(-3))
    lines = (losses / losses.mean() * full).reshape(runs, -1, every).mean(2).tolist()
    times = []
    for run in lines:
        fires = []
        for last in range(len(run)):
            if chance.rule == "max_oscillation":
                past = np.array(run[max(0, last - 19) : last + 1])
                around = past[1:-1] - (past[2:] + past[:-2]) / 2 if len(past) >= 10 else np.zeros(1)
                fires.append(around.std() / 1.5**0.5 / past.mean() > chance.limit)
            else:
                window = min(1000, steps // 4) // every
                first = last - window
                known = first >= 0 and last + 1 - first > 6
                climb = np.mean(run[last - 2 : last + 1]) - np.mean(run[first : first + 3]) if known else -1.0
                fires.append(climb * 1000 / (window * every) > chance.limit)
        times.append(sum(now and not before for before, now in zip([False, *fires], fires, strict=False)))
    return times


@pytest.mark.parametrize("rule", ["max_rise=0.08", "max_oscillation=0.035"])
def test_a_rule_fires_by_chance_as_often_as_in_single_steps_drawn_one_by_one(rule):
    config = configured(
        "curriculum.difficulty_ramp=constant", "training.log_every=10", "training.batch_size=16", f"monitoring.{rule}"
    )
    predictors = both_predictors(make_graph("absorb", 6), config.model, FREQUENCIES)
    chances = {c.rule: c for c in rule_chances(config, make_graph("absorb", 6), STATISTICS, predictors)}
    chance = chances[rule.split("=")[0]]
    times = naive_times(config, chance, runs=30)
    assert chance.times > 1.0
    assert chance.fewest <= chance.times <= chance.most
    assert np.mean(times) == pytest.approx(chance.times, abs=4.0 * np.std(times) / 30**0.5 + 0.1 * chance.times)
    inside = [chance.fewest <= count <= chance.most for count in times]
    assert np.mean(inside) > 0.8


def test_rises_and_oscillations_are_those_of_a_known_curve():
    steps = np.arange(50, 5001, 50)
    climbs = rises(steps, steps * 0.002, 1000)
    assert np.isneginf(climbs[:20]).all()
    # Both ends are means of three lines: over the distance between the first line and the last, two lines less.
    assert climbs[20:] == pytest.approx(2.0 * (1000 - 100) / 1000)
    assert np.isneginf(rises(steps[:2], steps[:2] * 1.0, 1000)).all()
    assert scatters(1.0 + 0.1 * (np.arange(40) % 2))[9:] == pytest.approx(0.1 / 1.5**0.5 / 1.05, rel=0.01)
    assert (scatters(np.linspace(1, 2, 40)) < 1e-12).all()
    assert scatters(np.ones(5)).tolist() == [0.0] * 5


def test_a_rule_that_starts_twice_is_counted_twice_and_what_is_expected_is_not():
    fires = np.array([True, True, False, True, False, True])
    assert starts(fires, np.zeros(6, bool)) == 3
    assert starts(fires, np.array([False] * 5 + [True])) == 2


def test_a_run_without_noise_in_its_curve_has_no_false_alarm():
    config = configured("curriculum.difficulty_ramp=constant", "training.batch_size=512")
    predictors = both_predictors(make_graph("absorb", 6), config.model, FREQUENCIES)
    found = foresee(config, STATISTICS, predictors=predictors)
    assert [known.about for known in found] == ["monitoring"]


def test_a_forecast_holds_what_is_known(tiny):
    found = json.loads(json.dumps(sedd.forecast(tiny("monitoring.max_oscillation=0.001")).to_dict(), allow_nan=False))
    known = {item["about"]: item for item in found["before_training"]}
    assert {"monitoring.patience", "memory", "held_out", "max_rise"} <= known.keys()
    assert known["max_rise"]["sentence"] in found["false_alarms"]
    assert known["memory"]["numbers"]["epochs"] == pytest.approx(8 * 8 / 200)
    without = sedd.forecast("uniref50")  # the data are not there
    assert {item.about for item in without.before_training}.isdisjoint({"memory", "held_out"})
