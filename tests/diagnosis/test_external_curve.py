"""Curves of other programs: what is the curriculum, what is learning, what is a divergence."""

from __future__ import annotations

import math

import numpy as np
import pytest

import sedd
from sedd.config.sections import Model
from sedd.diagnosis.external_curve import Curve, compare, judge, learnt, mismatched_loss
from sedd.diagnosis.predictors import untrained
from sedd.diffusion.graphs import Absorb
from sedd.plugins.curricula import Exponential

# The presets stop the noise early, and say so.
pytestmark = pytest.mark.filterwarnings("ignore::sedd.errors.SeddWarning")

TABLE = "step,loss\n0,0.2584\n500,0.7816\n1000,1.1741\n2500,2.0618\n5000,2.3268\n"
STEPS = np.array([0, 250, 500, 1000, 1500, 2000, 3000, 4000, 5000, 7000, 9000, 12000, 16000, 20000])


def config(*overrides: str) -> sedd.Config:
    return sedd.load_config("uniref50_aggressive", "curriculum.rate=3", *overrides)


def hypothesis(trainer: str, chosen: sedd.Config, steps: np.ndarray = STEPS) -> np.ndarray:
    """The untrained loss at some steps, straight from the integral over sigma."""
    sigma = np.linspace(chosen.noise.sigma_min, chosen.noise.sigma_max, 20_001)
    found = []
    for step in steps:
        d = chosen.curriculum.difficulty(int(step))
        if trainer == "consistent":
            found.append((math.exp(-d * sigma[0]) - math.exp(-d * sigma[-1])) * math.log(20))
        else:
            found.append(np.trapezoid(-np.expm1(-d * sigma) / np.expm1(sigma), sigma) * math.log(20))
    return np.array(found)


def diagnosed(losses: np.ndarray, chosen: sedd.Config, steps: np.ndarray = STEPS):
    forecast = sedd.forecast(chosen)
    found = compare(Curve(steps, losses), forecast)
    return found, judge(found, forecast)


def wobble(count: int = len(STEPS), *, share: float = 0.01, seed: int = 0) -> np.ndarray:
    return np.exp(share * np.random.default_rng(seed).normal(size=count))


@pytest.mark.parametrize("difficulty", [0.05, 0.3, 1.0])
@pytest.mark.parametrize("sigma_max", [0.5, 6.9])
def test_the_mismatched_loss_is_its_integral_over_sigma(difficulty, sigma_max):
    sigma = np.linspace(1e-4, sigma_max, 200_001)
    exact = np.trapezoid(-np.expm1(-difficulty * sigma) / np.expm1(sigma), sigma) * math.log(36)
    low, high = -math.expm1(-1e-4), -math.expm1(-sigma_max)
    assert mismatched_loss(untrained(Absorb(36), Model()), difficulty, low, high) == pytest.approx(exact, rel=1e-4)


def test_the_table_of_the_user_is_the_curriculum_of_a_model_that_learns_nothing(tmp_path):
    (tmp_path / "table.csv").write_text(TABLE)
    found = sedd.diagnose(tmp_path / "table.csv", config="uniref50_aggressive", symbols=36)
    assert found.verdict.kind == "curriculum"
    assert not found.verdict.went_wrong
    assert found.external_curve is not None
    assert found.external_curve.trainer == "mismatched"
    assert found.external_curve.over_untrained.min() > 1.0
    assert found.external_curve.over_untrained.max() < 1.27
    assert learnt(found.external_curve) == "nothing visible"
    (alarm,) = found.alarms  # of the rules, one fires, although nothing is wrong
    assert (alarm.rule, alarm.cause, alarm.severity) == ("max_rise", "curriculum", "info")
    assert alarm.numbers["per_1000"] > 0.9


@pytest.mark.parametrize("trainer", ["consistent", "mismatched"])
@pytest.mark.parametrize("factor", [1.0, 1.15, 0.6, 300.0])
def test_the_kind_of_trainer_is_found_and_a_constant_factor_is_neither_learning_nor_divergence(trainer, factor):
    found, verdict = diagnosed(factor * hypothesis(trainer, config()) * wobble(), config())
    assert found.trainer == trainer
    assert found.rate is None
    assert found.factor == pytest.approx(factor, rel=0.02)
    assert verdict.kind == "curriculum"
    assert learnt(found) == "nothing visible"
    assert verdict.sentence.endswith(f"{found.factor:.2f} remains.") == (factor != 1.0)


@pytest.mark.parametrize("trainer", ["consistent", "mismatched"])
def test_a_curve_that_falls_below_the_unigram_model_is_learning(trainer):
    curve = hypothesis(trainer, config()) * np.linspace(1.0, 0.8, len(STEPS)) * wobble()
    found, verdict = diagnosed(curve, config())
    assert not verdict.went_wrong
    assert learnt(found) == "more"


def test_a_curve_that_falls_to_the_unigram_model_has_learnt_the_token_frequencies():
    curve = hypothesis("consistent", config(), STEPS) * np.linspace(1.0, 2.89 / math.log(20), len(STEPS))
    found, _ = diagnosed(curve, config())
    assert learnt(found) == "frequencies"


@pytest.mark.parametrize("trainer", ["consistent", "mismatched"])
@pytest.mark.parametrize("end", [1.3, 5.0])
def test_a_loss_that_grows_at_full_difficulty_is_a_divergence(trainer, end):
    growth = np.where(STEPS > 5000, np.interp(STEPS, [5000, 20000], [1.0, end]), 1.0)
    found, verdict = diagnosed(hypothesis(trainer, config()) * growth * wobble(), config())
    assert verdict.kind == "learning"
    assert verdict.went_wrong
    assert verdict.alarms[0].diverging
    assert verdict.alarms[0].remedies
    assert found.curve.steps[-1] == verdict.alarms[0].step


def test_a_loss_that_explodes_on_the_ramp_is_a_divergence():
    steps = STEPS[:8]
    curve = hypothesis("consistent", config(), steps) * np.array([1, 1, 0.98, 1, 1.4, 2.0, 3.0, 4.0])
    _, verdict = diagnosed(curve, config(), steps)
    assert verdict.went_wrong


@pytest.mark.parametrize("seed", range(20))
def test_noise_is_no_divergence(seed):
    chosen = config()
    steps = np.arange(0, 20_000, 250)
    noisy = wobble(len(steps), share=0.1, seed=seed)
    _, verdict = diagnosed(hypothesis("consistent", chosen, steps) * noisy, chosen, steps)
    assert not verdict.went_wrong


@pytest.mark.parametrize("rate", [2.5, 4.0])
def test_the_shape_of_an_exponential_ramp_is_found_where_the_configuration_leaves_it_open(rate):
    open_ = sedd.load_config("uniref50_aggressive")
    # The preset as it would be without a rate.
    left_open = open_.replace(curriculum=Exponential(preschool_time=5000))
    theirs = config(f"curriculum.rate={rate}")
    found, verdict = diagnosed(hypothesis("consistent", theirs) * wobble(), left_open)
    assert found.rate == rate
    assert verdict.kind == "curriculum"
    fixed, _ = diagnosed(hypothesis("consistent", theirs) * wobble(), config("curriculum.rate=8"))
    assert fixed.rate is None  # a rate that is set is not fitted


def test_a_loss_that_is_not_finite_is_instability(tmp_path):
    (tmp_path / "c.csv").write_text("0,0.25\n500,0.8\n1000,nan\n")
    found = sedd.diagnose(tmp_path / "c.csv", config=config())
    assert found.verdict.kind == "instability"
    assert [(alarm.rule, alarm.step) for alarm in found.alarms] == [("max_loss", 1000)]
    assert found.to_dict()["curve"]["loss"] == [0.25, 0.8, None]


def test_a_few_points_are_inconclusive():
    steps = np.array([0, 1000])
    _, verdict = diagnosed(hypothesis("consistent", config(), steps), config(), steps)
    assert verdict.kind == "inconclusive"


def test_a_loss_over_the_limit_and_one_that_scatters_raise_no_alarm_without_a_divergence():
    chosen = config("monitoring.max_loss=1.5", "monitoring.max_oscillation=0.05")
    curve = hypothesis("consistent", chosen) * wobble(share=0.15)
    _, verdict = diagnosed(curve, chosen)
    assert {(alarm.rule, alarm.cause) for alarm in verdict.alarms} == {("max_rise", "curriculum")}
    assert not verdict.went_wrong


def test_a_divergence_lists_the_rules_that_it_breaks():
    chosen = config("monitoring.max_loss=1.5")
    growth = np.where(STEPS > 5000, np.interp(STEPS, [5000, 20000], [1.0, 5.0]), 1.0)
    _, verdict = diagnosed(hypothesis("consistent", chosen) * growth, chosen)
    assert [alarm.rule for alarm in verdict.alarms] == ["profile", "max_rise", "max_loss"]
    assert {alarm.cause for alarm in verdict.alarms} == {"learning"}


@pytest.mark.parametrize("overrides", [["graph.type=uniform"], ["curriculum.mode=truncate"]])
def test_a_mismatch_is_considered_only_where_it_has_a_closed_form(overrides):
    found, _ = diagnosed(hypothesis("mismatched", config()), config(*overrides))
    assert list(found.scatter) == ["consistent"]


def test_without_a_curriculum_a_flat_curve_is_healthy():
    chosen = sedd.load_config("uniref50_aggressive", "curriculum.difficulty_ramp=constant")
    _, verdict = diagnosed(hypothesis("consistent", chosen) * wobble(), chosen)
    assert verdict.kind == "healthy"
