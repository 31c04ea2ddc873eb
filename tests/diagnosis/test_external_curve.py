"""Curves of other programs: what is the curriculum, what is learning, what is a divergence."""

from __future__ import annotations

import math

import numpy as np
import pytest

import sedd
from sedd.diagnosis.curve import Curve
from sedd.diagnosis.curve_fit.result import ExternalCurveFit, learnt
from sedd.diagnosis.curve_fit.trainers import mismatched_loss
from sedd.diagnosis.curve_fit.verdicts import judge_curve
from sedd.diagnosis.predictors import untrained
from sedd.diagnosis.verdict import Verdict
from sedd.diffusion.graphs import Absorb
from sedd.plugins.curricula import Exponential
from sedd.plugins.networks import Ddit

# The presets stop the noise early, and say so.
pytestmark = pytest.mark.filterwarnings("ignore::sedd.errors.SeddWarning")

TABLE = "step,loss\n0,0.2584\n500,0.7816\n1000,1.1741\n2500,2.0618\n5000,2.3268\n"
STEPS = np.array([0, 250, 500, 1000, 1500, 2000, 3000, 4000, 5000, 7000, 9000, 12000, 16000, 20000])
DENSE = np.arange(0, 20_001, 250)


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


def diagnosed(losses: np.ndarray, chosen: sedd.Config, steps: np.ndarray = STEPS) -> tuple[ExternalCurveFit, Verdict]:
    return judge_curve(Curve(steps, losses), sedd.forecast(chosen))


def wobble(count: int = len(STEPS), *, share: float = 0.01, seed: int = 0) -> np.ndarray:
    return np.exp(share * np.random.default_rng(seed).normal(size=count))


def learning(steps: np.ndarray, log_end: float, time: float = 1500.0) -> np.ndarray:
    """Factors on the loss of a model that learns to exp(-log_end) of it."""
    return np.exp(-log_end * -np.expm1(-steps / time))


@pytest.mark.parametrize("difficulty", [0.05, 0.3, 1.0])
@pytest.mark.parametrize("sigma_max", [0.5, 6.9])
def test_the_mismatched_loss_is_its_integral_over_sigma(difficulty, sigma_max):
    sigma = np.linspace(1e-4, sigma_max, 200_001)
    exact = np.trapezoid(-np.expm1(-difficulty * sigma) / np.expm1(sigma), sigma) * math.log(36)
    low, high = -math.expm1(-1e-4), -math.expm1(-sigma_max)
    assert mismatched_loss(untrained(Absorb(36), Ddit()), difficulty, low, high) == pytest.approx(exact, rel=1e-4)


def test_the_table_of_the_user_is_the_curriculum_of_a_trainer_that_disagrees_with_itself(tmp_path):
    (tmp_path / "table.csv").write_text(TABLE)
    found = sedd.diagnose(tmp_path / "table.csv", config="uniref50_aggressive", symbols=36)
    assert found.verdict.kind == "curriculum"
    assert found.verdict.probability > 0.9
    assert not found.verdict.went_wrong
    fit = found.external_curve
    assert fit is not None
    assert fit.trainer == "mismatched"
    assert np.abs(np.log(fit.over_untrained)).max() < 0.15
    assert learnt(fit) == "nothing visible"
    (alarm,) = found.alarms  # of the rules, one fires, although nothing is wrong
    assert (alarm.rule, alarm.cause, alarm.severity) == ("max_rise", "curriculum", "info")
    assert alarm.numbers["per_1000"] > 0.9


@pytest.mark.parametrize("trainer", ["consistent", "mismatched"])
def test_the_kind_of_trainer_is_found(trainer):
    steps = DENSE
    losses = hypothesis(trainer, config(), steps) * learning(steps, 0.05) * wobble(len(steps), share=0.03, seed=31)
    fit, verdict = diagnosed(losses, config(), steps)
    assert fit.trainer == trainer
    assert fit.factor == pytest.approx(1.0, rel=0.03)
    assert (fit.changes, fit.restart) == ({}, None)
    assert verdict.kind == "curriculum"
    assert verdict.probability > 0.9


@pytest.mark.parametrize("trainer", ["consistent", "mismatched"])
def test_a_curve_that_falls_below_the_unigram_model_is_learning(trainer):
    losses = hypothesis(trainer, config(), DENSE) * learning(DENSE, 0.25) * wobble(len(DENSE), share=0.03, seed=32)
    fit, verdict = diagnosed(losses, config(), DENSE)
    assert not verdict.went_wrong
    assert learnt(fit) == "more"
    assert fit.learnt_interval[0] < 0.25 < fit.learnt_interval[1]


def test_a_curve_that_falls_to_the_unigram_model_has_learnt_the_token_frequencies():
    gain = math.log(math.log(20) / 2.89)
    losses = hypothesis("consistent", config(), DENSE) * learning(DENSE, gain, 600.0)
    fit, _ = diagnosed(losses * wobble(len(DENSE), share=0.01, seed=33), config(), DENSE)
    assert learnt(fit) == "frequencies"


@pytest.mark.parametrize("trainer", ["consistent", "mismatched"])
@pytest.mark.parametrize("end", [1.3, 5.0])
def test_a_loss_that_grows_at_full_difficulty_is_a_divergence(trainer, end):
    growth = np.interp(DENSE, [8000, 20000], [1.0, end])
    losses = hypothesis(trainer, config(), DENSE) * learning(DENSE, 0.05) * growth
    _, verdict = diagnosed(losses * wobble(len(DENSE), share=0.02, seed=34), config(), DENSE)
    assert verdict.kind == "learning"
    assert verdict.went_wrong
    assert verdict.since is not None
    assert verdict.since[0] <= 8250
    assert verdict.since[1] >= 8000
    (alarm,) = [alarm for alarm in verdict.alarms if alarm.rule == "divergence"]
    assert (alarm.cause, alarm.severity) == ("learning", "critical")
    assert alarm.diverging


def test_a_remedy_never_names_step_0_or_a_checkpoint_after_the_trouble_began():
    for since, seed in ((500, 35), (8000, 36)):
        growth = np.interp(DENSE, [since, 20000], [1.0, 4.0])
        losses = hypothesis("consistent", config(), DENSE) * growth * wobble(len(DENSE), share=0.02, seed=seed)
        _, verdict = diagnosed(losses, config(), DENSE)
        assert verdict.kind == "learning"
        assert verdict.since is not None
        named = [
            int(word.replace(",", "").rstrip(".")) for word in verdict.remedies[0].text.split() if word[0].isdigit()
        ]
        assert all(0 < step <= verdict.since[0] and step in DENSE for step in named)
        assert bool(named) == (verdict.since[0] > 0)


@pytest.mark.parametrize(
    "seed", [*range(100, 104), *(pytest.param(s, marks=pytest.mark.long) for s in range(104, 112))]
)
def test_noise_is_no_divergence(seed):
    steps = np.arange(0, 20_000, 250)
    losses = hypothesis("consistent", config(), steps) * learning(steps, 0.06)
    _, verdict = diagnosed(losses * wobble(len(steps), share=0.1, seed=seed), config(), steps)
    assert not verdict.went_wrong


@pytest.mark.parametrize("rate", [1.5, pytest.param(5.0, marks=pytest.mark.long)])
def test_the_shape_of_an_exponential_ramp_is_found_where_the_configuration_leaves_it_open(rate):
    open_ = sedd.load_config("uniref50_aggressive")
    # The preset as it would be without a rate.
    left_open = open_.replace(curriculum=Exponential(preschool_time=5000))
    theirs = config(f"curriculum.rate={rate}")
    losses = hypothesis("consistent", theirs, DENSE) * learning(DENSE, 0.05)
    losses = losses * wobble(len(DENSE), share=0.02, seed=37)
    fit, verdict = diagnosed(losses, left_open, DENSE)
    assert fit.changes == {"curriculum.rate": f"{rate:g}"}
    assert verdict.kind == "curriculum"
    _, fixed = diagnosed(losses, config("curriculum.rate=8"), DENSE)
    assert fixed.kind == "config"


def test_a_loss_that_is_not_finite_to_the_end_is_instability(tmp_path):
    (tmp_path / "c.csv").write_text("0,0.25\n500,0.8\n1000,nan\n")
    found = sedd.diagnose(tmp_path / "c.csv", config=config())
    assert found.verdict.kind == "instability"
    assert found.verdict.since == (500, 1000)
    assert found.to_dict()["curve"]["loss"] == [0.25, 0.8, None]


def test_a_few_points_are_inconclusive():
    steps = np.array([0, 1000, 5000, 8000])
    _, verdict = diagnosed(hypothesis("consistent", config(), steps), config(), steps)
    assert verdict.kind == "inconclusive"
    assert verdict.probability == 0.0


def test_a_loss_over_the_limit_and_one_that_scatters_raise_no_alarm_without_a_divergence():
    chosen = config("monitoring.max_loss=1.5", "monitoring.max_oscillation=0.05")
    losses = hypothesis("consistent", chosen, DENSE) * learning(DENSE, 0.05)
    _, verdict = diagnosed(losses * wobble(len(DENSE), share=0.1, seed=38), chosen, DENSE)
    assert not verdict.went_wrong
    assert {(alarm.rule, alarm.cause) for alarm in verdict.alarms} <= {("max_rise", "curriculum")}


def test_a_divergence_lists_the_rules_that_it_breaks():
    chosen = config("monitoring.max_loss=1.5")
    growth = np.interp(DENSE, [6000, 20000], [1.0, 8.0])
    losses = hypothesis("consistent", chosen, DENSE) * growth * wobble(len(DENSE), share=0.02, seed=39)
    _, verdict = diagnosed(losses, chosen, DENSE)
    assert {alarm.rule for alarm in verdict.alarms} == {"divergence", "max_rise", "max_loss"}
    assert {alarm.cause for alarm in verdict.alarms} == {"learning"}


@pytest.mark.parametrize("overrides", [["graph.type=uniform"], ["curriculum.mode=truncate"]])
def test_a_mismatch_is_considered_only_where_it_has_a_closed_form(overrides):
    chosen = config(*overrides)
    forecast = sedd.forecast(chosen)
    losses = np.array([forecast.loss(int(step), "untrained") for step in DENSE])
    fit, _ = diagnosed(losses * wobble(len(DENSE), share=0.02, seed=40), chosen, DENSE)
    assert fit.trainer != "mismatched"


def test_without_a_curriculum_a_flat_curve_that_learns_is_healthy():
    chosen = sedd.load_config("uniref50_aggressive", "curriculum.difficulty_ramp=constant")
    losses = hypothesis("consistent", chosen, DENSE) * learning(DENSE, 0.08)
    _, verdict = diagnosed(losses * wobble(len(DENSE), share=0.02, seed=41), chosen, DENSE)
    assert verdict.kind == "healthy"
