"""What may be true of the curve of another trainer, one made curve for each, and the cases that once went wrong."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

import sedd
from sedd.diagnosis.curve import Curve
from sedd.diagnosis.curve_fit.dependence import dependence
from sedd.diagnosis.curve_fit.filters import Filter, recognised
from sedd.diagnosis.curve_fit.result import ExternalCurveFit
from sedd.diagnosis.curve_fit.settings import as_configured
from sedd.diagnosis.curve_fit.verdicts import judge_curve
from sedd.diagnosis.forecast import Forecast
from sedd.diagnosis.logs.reading import read_log
from sedd.diagnosis.verdict import Verdict

pytestmark = pytest.mark.filterwarnings("ignore::sedd.errors.SeddWarning")  # the presets stop the noise early
SHARED = Path(__file__).parents[2].parent / "shared" / "cases" / "curves"
STEPS = np.arange(0, 50_001, 250)
FREQUENCIES = 0.0364
"""log(ln 20 / H1) of proteins."""


@pytest.fixture(scope="module")
def stable() -> Forecast:
    return sedd.forecast("uniref50_stable")


def healthy(
    forecast: Forecast, *, seed: int, learnt: float = 0.06, time: float = 2000.0, noise: float = 0.03,
    steps: np.ndarray = STEPS,
) -> np.ndarray:  # fmt: skip
    """Losses of a model that learns under the configuration of a forecast."""
    expected = np.exp(as_configured(forecast).log_loss(steps.astype(float)))
    scatter = np.exp(noise * np.random.default_rng(seed).normal(size=len(steps)) - noise**2 / 2)
    return expected * np.exp(-learnt * -np.expm1(-steps / time)) * scatter


def judged(losses: np.ndarray, forecast: Forecast, steps: np.ndarray = STEPS, **more: object) -> Verdict:
    return diagnosed(losses, forecast, steps, **more)[1]


def diagnosed(
    losses: np.ndarray, forecast: Forecast, steps: np.ndarray = STEPS, **more: object
) -> tuple[ExternalCurveFit, Verdict]:
    return judge_curve(Curve(steps, losses, **more), forecast)


def has(since: tuple[int, int] | None, step: int, spacing: int = 250) -> bool:
    """Whether an interval has a step, or the line before it."""
    return since is not None and since[0] <= step and since[1] >= step - spacing


# The model ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(2000, 2006))
def test_a_healthy_run_is_a_curriculum_and_what_it_learnt_is_in_the_interval(stable, seed):
    fit, verdict = diagnosed(healthy(stable, seed=seed, learnt=0.10), stable)
    assert verdict.kind == "curriculum"
    assert verdict.probability >= 0.9
    assert not verdict.went_wrong
    low, high = fit.learnt_interval
    assert low - 0.01 < 0.10 < high + 0.01
    assert verdict.alarms == () or {alarm.severity for alarm in verdict.alarms} == {"info"}


@pytest.mark.parametrize("seed", [2010, 2011])
def test_a_network_that_stays_the_uniform_predictor_is_a_plateau(stable, seed):
    verdict = judged(healthy(stable, seed=seed, learnt=0.0), stable)
    assert (verdict.kind, verdict.hypothesis) == ("plateau", "uniform plateau")
    assert verdict.remedies


def test_a_model_that_learns_nothing_beyond_the_token_frequencies_is_a_plateau_only_after_patience_steps(stable):
    long = np.arange(0, 120_001, 500)
    losses = healthy(stable, seed=2015, learnt=FREQUENCIES, time=1500.0, noise=0.01, steps=long)
    verdict = judged(losses, stable, long)
    assert (verdict.kind, verdict.hypothesis) == ("plateau", "unigram plateau")
    early = long <= 50_000
    assert judged(losses[early], stable, long[early]).kind == "curriculum"
    better = healthy(stable, seed=2016, learnt=0.15, time=30_000.0, noise=0.01, steps=long)
    assert judged(better, stable, long).kind == "curriculum"


@pytest.mark.parametrize("begin", [8000, 30_000])
@pytest.mark.parametrize("shape", ["level", "linear"])
def test_a_divergence_is_found_with_the_step_at_which_it_began(stable, begin, shape):
    size = 0.4 * (np.clip((STEPS - begin) / (STEPS[-1] - begin), 0, 1) if shape == "linear" else begin <= STEPS)
    verdict = judged(healthy(stable, seed=begin + 7) * (1 + size), stable)
    assert verdict.kind == "learning"
    assert has(verdict.since, begin)
    assert verdict.runner_up is not None
    assert abs(sum(verdict.probabilities.values()) - 1) < 1e-6


def test_a_model_that_falls_back_to_the_uniform_predictor_diverges(stable):
    losses = healthy(stable, seed=2020, learnt=0.12)
    back = np.where(STEPS >= 25_000, healthy(stable, seed=2021, learnt=0.0), losses)
    verdict = judged(back, stable)
    assert verdict.kind == "learning"
    assert has(verdict.since, 25_000)


def test_an_oscillation_and_a_growing_scatter_are_instability(stable):
    signs = np.where(np.arange(len(STEPS)) % 2, 1.35, 0.65)
    losses = healthy(stable, seed=2030)
    verdict = judged(losses * np.where(STEPS >= 20_000, signs, 1.0), stable)
    assert verdict.kind == "instability"
    assert has(verdict.since, 20_000)
    wild = np.exp(0.4 * np.random.default_rng(2031).normal(size=len(STEPS)))
    verdict = judged(losses * np.where(STEPS >= 30_000, wild, 1.0), stable)
    assert verdict.kind == "instability"
    assert has(verdict.since, 30_000)


def test_many_spikes_are_instability_and_one_is_not(stable):
    losses = healthy(stable, seed=2040)
    many = losses.copy()
    many[60::9] *= 3.0
    assert judged(many, stable).kind == "instability"
    one = losses.copy()
    one[120] *= 3.0
    fit, verdict = diagnosed(one, stable)
    assert verdict.kind == "curriculum"
    assert any("30,000" in note for note in fit.notes)


@pytest.mark.parametrize("lines", [9, 21, 33])
def test_a_stretch_of_other_data_of_any_length_is_named(stable, lines):
    losses = healthy(stable, seed=2045)
    losses[120 : 120 + lines] *= 1.5
    assert judged(losses, stable).kind == "data"


def test_a_large_rise_that_decays_by_itself_is_an_instability_with_its_step_and_size(stable):
    passed = np.maximum(STEPS - 30_000, 0)
    form = np.where(STEPS >= 30_000, np.exp(-passed / 6000.0), 0.0)
    losses = healthy(stable, seed=2046)
    verdict = judged(losses * np.exp(0.4 * form), stable)
    assert verdict.kind == "instability"
    assert has(verdict.since, 30_000)
    low, high = (float(number) for number in re.findall(r"(\d+) to (\d+) %", verdict.reason)[0])
    assert low - 15 < 100 * np.expm1(0.4) < high + 15  # the form of the fit is not quite that of the rise


def test_a_small_rise_that_decays_by_itself_is_noted_and_nothing_is_noted_without_one(stable):
    passed = np.maximum(STEPS - 30_000, 0)
    form = np.where(STEPS >= 30_000, np.exp(-passed / 6000.0), 0.0)
    losses = healthy(stable, seed=2047)
    fit, verdict = diagnosed(losses * np.exp(0.1 * form), stable)
    calm, _ = diagnosed(losses, stable)
    assert verdict.kind == "curriculum"
    assert len(fit.notes) == len(calm.notes) + 1


def test_rows_that_are_not_finite_are_named_and_only_many_or_the_last_are_a_fault(stable):
    losses = healthy(stable, seed=2050)
    few = losses.copy()
    few[[40, 41, 100]] = np.nan
    fit, verdict = diagnosed(few, stable)
    assert verdict.kind == "curriculum"
    assert any("10,000" in note for note in fit.notes)
    for broken, since in ((np.where(STEPS >= 30_000, np.nan, losses), 30_000), (losses.copy(), 12_500)):
        if since == 12_500:
            broken[50::3] = np.inf
        verdict = judged(broken, stable)
        assert verdict.kind == "instability"
        assert verdict.since == (since - 250, since)


def test_a_loss_below_what_any_model_reaches_is_suspicious(stable):
    slowly = healthy(stable, seed=2060) * np.exp(-1.4 * np.clip((STEPS - 15_000) / 30_000, 0, 1))
    verdict = judged(slowly, stable)
    assert verdict.kind in ("overfitting", "leak")
    assert verdict.probabilities["overfitting"] + verdict.probabilities["leak"] > 0.9


# The unit and the trainer ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("factor", "unit"),
    [(1 / np.log(2), "bits"), (330.0, "sequence"), (0.55, "positions")],
)
def test_another_unit_is_named_and_the_model_is_judged_in_it(stable, factor, unit):
    fit, verdict = diagnosed(factor * healthy(stable, seed=int(100 * factor)), stable)
    assert verdict.kind == "unit"
    assert fit.unit == unit
    assert fit.factor == pytest.approx(factor, rel=0.04)
    assert fit.factor_interval[0] < 1.01 * factor
    assert fit.factor_interval[1] > 0.99 * factor
    assert verdict.conditional is not None
    assert verdict.conditional.kind == "curriculum"


def test_a_divergence_in_another_unit_is_still_said(stable):
    growth = 1 + 0.5 * np.clip((STEPS - 30_000) / 20_000, 0, 1)
    verdict = judged(300 * healthy(stable, seed=2070) * growth, stable)
    assert verdict.kind == "unit"
    assert verdict.conditional is not None
    assert verdict.conditional.kind == "learning"
    assert has(verdict.conditional.since, 30_000, 3000)


def test_a_unit_that_the_user_names_is_not_doubted(stable):
    fit, verdict = diagnosed(healthy(stable, seed=2080) / np.log(2), stable, unit="bits")
    assert verdict.kind == "curriculum"
    assert fit.unit == "bits"


def test_a_plain_cross_entropy_is_no_weighted_loss_and_does_not_rise(stable):
    flat = np.log(20) * np.exp(-0.05 * -np.expm1(-STEPS / 2000))
    losses = flat * np.exp(0.03 * np.random.default_rng(2090).normal(size=len(STEPS)))
    fit, verdict = diagnosed(losses, stable)
    assert verdict.kind == "unit"
    assert fit.trainer == "unweighted"
    assert verdict.conditional is not None
    assert verdict.conditional.kind == "healthy"
    fit, verdict = diagnosed(losses, stable, unit="masked")
    assert verdict.kind == "healthy"


# The configuration ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("time", [9000, 45_000])
def test_another_preschool_time_is_found(stable, time):
    theirs = sedd.forecast(sedd.load_config("uniref50_stable", f"curriculum.preschool_time={time}"))
    fit, verdict = diagnosed(healthy(theirs, seed=time), stable)
    assert verdict.kind == "config"
    assert float(fit.changes["curriculum.preschool_time"]) == pytest.approx(time, rel=0.1)
    assert verdict.conditional is not None
    assert not verdict.conditional.went_wrong


def test_a_clock_that_began_again_is_found(stable):
    clock = np.where(STEPS >= 26_000, STEPS - 26_000, STEPS)
    expected = np.exp(as_configured(stable).log_loss(clock.astype(float)))
    plain = np.exp(as_configured(stable).log_loss(STEPS.astype(float)))
    fit, verdict = diagnosed(healthy(stable, seed=2100) / plain * expected, stable)
    assert verdict.kind == "config"
    assert fit.restart == pytest.approx(26_000, abs=500)


# The log --------------------------------------------------------------------------------------------------------------


def smoothed(values: np.ndarray, name: str) -> np.ndarray:
    if name == "cumulative mean":
        return np.cumsum(values) / np.arange(1, len(values) + 1)
    if name == "running mean":
        sums = np.concatenate([[0.0], np.cumsum(values)])
        first = np.maximum(np.arange(len(values)) - 11, 0)
        return (sums[1:] - sums[first]) / (np.arange(1, len(values) + 1) - first)
    total, mass, found = 0.0, 0.0, []
    for value in values:
        total, mass = 0.9 * total + 0.1 * value, 0.9 * mass + 0.1
        found.append(total / mass)
    return np.array(found)


@pytest.mark.parametrize("name", ["exponential", "running mean", "cumulative mean"])
def test_smoothing_is_recognised_and_undone(stable, name):
    losses = healthy(stable, seed=2110)
    expected = as_configured(stable).log_loss(STEPS.astype(float))
    found = recognised(smoothed(losses, name), expected)
    if name == "cumulative mean":  # with so few lines it may be an exponential average over most of them
        assert name in {found.filter.name, *(other.name for other in found.others)} or found.filter.amount >= 0.95
    else:
        assert found.filter.name == name
        assert np.abs(found.losses / losses - 1).max() < 1e-6
    assert recognised(losses, expected).filter == Filter("none")


@pytest.mark.parametrize(
    "name",
    ["exponential", *(pytest.param(name, marks=pytest.mark.long) for name in ("running mean", "cumulative mean"))],
)
def test_a_divergence_does_not_hide_in_a_smoothed_log_and_a_healthy_one_stays_healthy(stable, name):
    losses = healthy(stable, seed=2120)
    fit, verdict = diagnosed(smoothed(losses, name), stable)
    assert verdict.kind == "curriculum"
    assert fit.smoothed
    growth = 1 + 0.5 * np.clip((STEPS - 30_000) / 20_000, 0, 1)
    verdict = judged(smoothed(losses * growth, name), stable)
    assert verdict.kind == "learning"


@pytest.mark.parametrize("seeds", [range(3), pytest.param(range(3, 12), marks=pytest.mark.long)])
def test_healthy_smoothed_logs_of_few_lines_are_not_called_wrong(stable, seeds):
    wrong = []
    for seed in seeds:
        random = np.random.default_rng([2115, seed])
        steps = np.arange(0, 40_000, int(random.integers(200, 500)))
        losses = healthy(stable, seed=seed, steps=steps, noise=0.1)
        decay, total, mass, saved = random.choice([0.8, 0.9, 0.95, 0.97]), 0.0, 0.0, []
        for loss in losses:
            total, mass = decay * total + (1 - decay) * loss, decay * mass + 1 - decay
            saved.append(total / mass)
        wrong.append(judge_curve(Curve(steps, np.array(saved)), stable)[1].went_wrong)
    assert sum(wrong) == 0


def test_rounding_that_undoing_a_filter_amplifies_is_no_instability(stable):
    """A mean over all lines so far, with two decimals: undone, the rounding of late lines is larger than their loss."""
    for seed in (2118, 2119):
        losses = smoothed(healthy(stable, seed=seed), "cumulative mean")
        assert judged(np.round(losses, 3), stable).kind != "instability"


@pytest.mark.parametrize(
    "filter_", [Filter("exponential", 0.9), Filter("cumulative mean"), Filter("running mean", 7.0)]
)
def test_how_much_undoing_a_filter_amplifies_errors(filter_):
    errors = np.random.default_rng(2120).normal(size=(2000, 60))
    undone = np.array([filter_.undo(row) for row in errors])
    found = undone.std(0)[20:] / filter_.amplifies(60)[20:]
    if filter_.name == "running mean":  # an upper limit
        assert (found < 1.1).all()
    else:
        assert found == pytest.approx(np.ones(40), rel=0.15)


def test_dependence_is_seen_in_a_smoothed_log_and_not_in_independent_losses_or_after_a_jump():
    random = np.random.default_rng(2116)
    found = {"plain": 0, "jump": 0, "smoothed": 0}
    for _ in range(60):
        losses = 0.1 * random.standard_normal(200)
        kernel = np.ones(8) / 8
        series = {
            "plain": losses,
            "jump": losses + 0.5 * (np.arange(200) > random.integers(20, 180)),
            "smoothed": np.convolve(losses, kernel)[:200],
        }
        for name, values in series.items():
            found[name] += dependence(values).found
    assert found["smoothed"] == 60
    assert found["plain"] + found["jump"] <= 3


def test_the_factors_of_dependence_are_those_of_a_known_process():
    one, mean = [], []
    for seed in range(40):
        noise = np.random.default_rng([2117, seed]).standard_normal(1003)
        found = dependence(np.convolve(noise, np.ones(4) / 4, "valid"))  # correlations 3/4, 1/2, 1/4
        one.append(found.one)
        mean.append(found.mean)
    assert np.median(one) == pytest.approx(1 / (1 - 1 + 1 / 6), rel=0.2)
    assert np.median(mean) == pytest.approx(1 + 2 * 1.5, rel=0.2)


# Held-out losses ------------------------------------------------------------------------------------------------------


def with_held_out(train: np.ndarray, held: np.ndarray, forecast: Forecast, seed: int) -> Verdict:
    at = np.arange(0, len(STEPS), 6)
    scatter = np.exp(0.006 * np.random.default_rng(seed).normal(size=len(at)))
    return judged(train, forecast, held_out_steps=STEPS[at], held_out=held[at] * scatter)


def test_held_out_losses_tell_overfitting_a_leak_other_data_and_averages_apart(stable):
    expected = np.exp(as_configured(stable).log_loss(STEPS.astype(float)))
    train, clean = healthy(stable, seed=2130, learnt=0.2), healthy(stable, seed=0, learnt=0.2, noise=0.0)
    late = np.clip((STEPS - 20_000) / 30_000, 0, 1)
    assert with_held_out(train, clean, stable, 1).kind == "curriculum"
    assert with_held_out(train * np.exp(-0.4 * late), clean * (1 + 0.25 * late), stable, 2).kind == "overfitting"
    leaking = healthy(stable, seed=2131, learnt=1.5, time=800.0)
    assert with_held_out(leaking, clean, stable, 3).kind == "leak"
    assert with_held_out(train, clean * (1 + 0.25 * -np.expm1(-STEPS / 1000)), stable, 4).kind == "held_out"
    assert with_held_out(train, expected, stable, 5).kind == "averages"
    # No better than the best models, and on held-out data the token frequencies alone: a leak, or averages that lag.
    partly, frequencies = (healthy(stable, seed=2132, learnt=x, noise=y) for x, y in ((0.4, 0.03), (FREQUENCIES, 0.0)))
    assert with_held_out(partly, frequencies, stable, 6).kind in ("leak", "overfitting", "inconclusive")


@pytest.mark.parametrize("seed", [2150, *(pytest.param(s, marks=pytest.mark.long) for s in range(2151, 2154))])
def test_a_leak_opens_a_gap_from_the_first_step_on_and_memorising_one_from_a_later_step_on(stable, seed):
    clean = healthy(stable, seed=0, learnt=0.2, noise=0.0)
    train = healthy(stable, seed=seed, learnt=0.2)
    leaking = train * (1 - 0.95 * -np.expm1(-STEPS / 4000))  # the model learns beside the leak
    assert with_held_out(leaking, clean, stable, seed).kind == "leak"
    begun = np.clip((STEPS - 15_000) / 35_000, 0, 1)
    memorising = train * np.exp(-3.0 * -np.expm1(-3 * begun))
    assert with_held_out(memorising, clean * (1 + 0.05 * begun), stable, seed).kind == "overfitting"


@pytest.mark.parametrize("seed", range(2160, 2163))
def test_held_out_losses_under_a_guessed_ramp_say_nothing_of_the_configured_one(stable, seed):
    # A leak bends the training loss as a steeper ramp would, under which held-out losses would rise.
    clean = healthy(stable, seed=0, learnt=0.1, noise=0.0)
    bent = healthy(stable, seed=seed, learnt=0.1) * (1 - 0.9 * -np.expm1(-STEPS / 15_000))
    assert with_held_out(bent, clean, stable, seed).kind == "leak"


@pytest.mark.long
def test_held_out_losses_tell_other_training_data_from_a_model_that_got_worse(stable):
    clean = healthy(stable, seed=0, noise=0.0)
    jump = np.where(STEPS >= 25_000, 1.25, 1.0)
    train = healthy(stable, seed=2140) * jump
    assert with_held_out(train, clean, stable, 6).kind == "data"
    assert with_held_out(train, clean * jump, stable, 7).kind == "learning"
    learnt, gone = healthy(stable, seed=2141, learnt=0.35), healthy(stable, seed=0, learnt=0.35, noise=0.0)
    late = np.where(STEPS >= 35_000, 2.2, 1.0)  # above the uniform predictor's, of a model that had learnt much
    assert with_held_out(learnt * late, gone, stable, 8).kind == "data"


# Cases that once went wrong -------------------------------------------------------------------------------------------

RIGHT: dict[str, tuple[tuple[str, ...], int | None]] = {
    "01_linear_healthy": (("curriculum",), None),
    "02_expo_healthy": (("curriculum",), None),
    "03_cosine_healthy": (("curriculum",), None),
    "06_diverge_after_ramp": (("learning",), 40_000),
    "07_diverge_in_ramp_1.4x": (("learning",), 8_000),
    "08_lr_too_high_plateau": (("plateau",), None),
    "10_oscillation_after_20000": (("instability",), 20_000),
    "11b_three_nan_rows_recovers": (("curriculum",), None),
    "14_bits": (("unit",), None),
    "16_unweighted_ce": (("unit",), None),
    "17b_config_preschool_2x_too_short": (("config",), None),
    "19_sum_over_512": (("unit",), None),
    "21_memorising": (("overfitting", "leak"), None),
    "24_three_points": (("inconclusive",), None),
    "27_dead_head_exactly_untrained": (("plateau",), None),
    "user_collapse": (("learning",), 12_000),
    "user_diverged": (("learning",), 12_000),
    "user_masked": (("unit",), None),
}
"""Kinds that are right, and the step at which it began."""


@pytest.mark.skipif(not SHARED.exists(), reason="the cases are not part of the repository")
@pytest.mark.parametrize("name", RIGHT)
def test_a_case_that_went_wrong_is_right(name):
    preset = SHARED / "user_stable.yaml" if name.startswith("user") else "uniref50_stable"
    if name.startswith("02"):
        preset = "uniref50_aggressive"
    overrides = ["curriculum.difficulty_ramp=cosine"] if name.startswith("03") else []
    kinds, began = RIGHT[name]
    verdict = judged_file(SHARED / f"{name}.csv", sedd.forecast(sedd.load_config(preset, *overrides)))
    assert verdict.kind in kinds
    if began is not None:
        assert has(verdict.since, began)


def judged_file(file: Path, forecast: Forecast) -> Verdict:
    return judge_curve(read_log(file), forecast)[1]
