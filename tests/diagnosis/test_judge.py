"""The judge of runs: each hypothesis on a simulated log that has its evidence, and none of the others."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

import sedd
from sedd.diagnosis.bayes import Measured
from sedd.diagnosis.evidence.base import Evidence
from sedd.diagnosis.judge import judge_run, unseen
from sedd.diagnosis.symptoms import EXPLANATIONS, PAST, SYMPTOMS, log_likelihoods
from sedd.diffusion.loss_profile import BINS
from tests.diagnosis.test_monitor import EVERY, FREQUENCIES, H1, learning, run, watch

SEQUENCES = 64
STEPS = 1000


@pytest.fixture
def config(tiny):
    return tiny(
        f"training.n_iters={STEPS}",
        f"training.log_every={EVERY}",
        "curriculum.preschool_time=100",
        "curriculum.min_difficulty=0.2",
        "optim.warmup=20",
        "monitoring.max_rise=30",
        "ema.decay=0.9",
    )


def log(
    config: sedd.Config, level=learning, *, held=None, seen=None, raw=None, seed: int = 0, kind: float = 0.0,
    sequences: int = 100_000, **changes: Any,
) -> list[dict[str, Any]]:  # fmt: skip
    """A run of 1,000 steps with lines, and evaluations every 100 steps.

    `held`, `seen` and `raw` give the held-out bound, and the bounds on training sequences with averaged and raw
    weights, at each step, nats per residue; by default all follow `level`. `kind` is how many nats the unigram model
    has more on held-out sequences than on training sequences.
    """
    random = np.random.default_rng([3, seed])
    own = {name: 0.05 * random.normal(size=SEQUENCES) for name in ("held", "seen")}
    records: list[dict[str, Any]] = [
        {"kind": "data", "step": 0, "letter_counts": (FREQUENCIES * 1e6).tolist(), "mean_length": 64.0,
         "sequences": sequences},
        {"kind": "evaluated", "step": 0, "held_out": described(H1 + kind + own["held"]),
         "probe": described(H1 + own["seen"])},
    ]  # fmt: skip
    evaluations = []
    for step in range(100, STEPS + 1, 100):
        record: dict[str, Any] = {"kind": "bound", "step": step, "residues": 1, "seconds": 1.0}
        for prefix, value, name in (("bound_", held, "held"), ("probe_", seen, "seen"), ("probe_raw_", raw, "seen")):
            nats = (value or level)(step) + own[name] + 0.003 * random.normal(size=SEQUENCES)
            record |= {
                f"{prefix}nats": float(nats.mean()),
                f"{prefix}stderr": float(nats.std() / math.sqrt(SEQUENCES)),
                f"{prefix}by_sequence": nats.tolist(),
                f"{prefix}profile": [float(nats.mean())] * BINS,
                f"{prefix}profile_stderr": [0.01] * BINS,
            }
        record |= {"bound_up_to": [1.0] * BINS, "bound_up_to_stderr": [0.01] * BINS}
        evaluations.append(record)
    lines = run(config, level, steps=STEPS, seed=seed, **changes)
    return records + sorted(lines + evaluations, key=lambda record: record["step"])


def described(unigram: np.ndarray) -> dict[str, Any]:
    return {"sequences": SEQUENCES, "token_counts": [1] * 20, "residues": [64] * SEQUENCES,
            "unigram": unigram.tolist(), "composition": (unigram + 0.1).tolist()}  # fmt: skip


def late(step: int, *, since: int, per_1000: float) -> float:
    return per_1000 * max(0, step - since) / 1000


@pytest.mark.parametrize("seed", range(5))
def test_a_run_in_which_all_three_numbers_agree_is_healthy(config, seed):
    verdict = watch(config, log(config, seed=seed)).verdict()
    assert (verdict.kind, verdict.hypothesis) == ("healthy", "healthy")
    assert verdict.probability > 0.9
    assert not verdict.went_wrong
    assert sum(verdict.probabilities.values()) == pytest.approx(1.0)


def test_held_out_data_that_get_worse_while_training_data_get_better_are_overfitting(config):
    for seed in range(5):
        records = log(config, held=lambda s: learning(s) + late(s, since=400, per_1000=0.4), seed=seed, sequences=500)
        verdict = watch(config, records).verdict()
        assert verdict.kind == "overfitting"
        assert verdict.since[0] <= 500
        assert verdict.since[1] >= 400
        best = int(verdict.numbers["best_step"])
        assert 300 <= best <= 600
        assert any(f"step {best:,}" in str(remedy) for remedy in verdict.remedies)


def test_a_training_loss_below_what_the_same_weights_reach_in_evaluation_is_a_leak(config):
    def honest(step: int) -> float:
        return learning(step) + 0.4

    verdict = watch(config, log(config, held=honest, seen=honest, raw=honest)).verdict()
    assert verdict.kind == "leak"
    assert verdict.numbers["effect"] == pytest.approx(0.4, abs=0.05)
    assert verdict.went_wrong


def test_averages_that_stay_behind_the_raw_weights_are_named(config):
    def behind(step: int) -> float:
        return math.log(20)

    verdict = watch(config, log(config, held=behind, seen=behind)).verdict()
    assert verdict.kind == "averages"
    assert any("ema.decay" in str(remedy) for remedy in verdict.remedies)


def test_held_out_sequences_that_are_worse_from_the_start_are_of_another_kind(config):
    verdict = watch(config, log(config, held=lambda step: learning(step) + 0.5)).verdict()
    assert verdict.kind == "held_out"
    assert verdict.numbers["low"] > 0.4
    by_frequencies = watch(config, log(config, held=lambda step: learning(step) + 0.5, kind=0.5, sequences=10))
    assert by_frequencies.verdict().kind == "held_out"


def test_a_gap_that_grows_before_anything_came_twice_is_no_overfitting(config):
    records = log(config, held=lambda step: learning(step) + late(step, since=400, per_1000=0.8))
    assert watch(config, records).verdict().kind == "held_out"


def test_a_gap_after_many_epochs_is_not_taken_for_another_kind(config):
    records = log(config, held=lambda step: learning(step) + late(step, since=0, per_1000=0.5), sequences=20)
    assert watch(config, records).verdict().kind == "overfitting"


def test_a_model_that_stays_at_the_uniform_predictor_is_a_plateau_and_a_dead_gradient_is_named(config):
    records = [
        record | ({"grad_norm": 0.0, "grad_norm_max": 0.0} if record["kind"] == "train" else {})
        for record in log(config, lambda _: math.log(20))
    ]
    verdict = watch(config, records).verdict()
    assert verdict.hypothesis == "uniform plateau"
    assert not verdict.went_wrong
    assert "gradient" in verdict.remedies[0].text


def test_a_model_a_little_below_the_unigram_model_and_falling_is_no_plateau(config):
    verdict = watch(config, log(config, lambda step: H1 - 0.05 * step / STEPS)).verdict()
    assert verdict.kind == "healthy"


def test_all_three_numbers_that_get_worse_are_a_divergence(config):
    for seed in range(3):
        level = lambda step: learning(step) + 0.3 * (step > 600)  # noqa: E731
        verdict = watch(config, log(config, level, seed=seed)).verdict()
        assert verdict.kind == "learning"
        assert verdict.since[0] <= 600 <= verdict.since[1]
        checkpoints = [str(remedy) for remedy in verdict.remedies if "checkpoint" in str(remedy)]
        assert any("500" in text or "600" in text for text in checkpoints)


def test_a_bound_that_was_worse_for_a_while_is_named_afterwards_and_nothing_acts_on_it(config):
    for seed in range(3):
        held = lambda step: learning(step) + 0.4 * (400 <= step <= 500)  # noqa: E731
        monitor = watch(config, log(config, held=held, seed=seed))
        verdict = monitor.verdict()
        assert verdict.kind == "instability"
        assert verdict.since in ((300, 400), (300, 500))
        assert judge_run(monitor.facts()).decision.kind not in ("instability", "learning", "overfitting")
        assert not any(alarm.diverging for alarm in monitor.alarms if alarm.step > 600)


def test_a_finished_run_whose_best_bound_is_early_may_be_a_plateau(config):
    for seed in range(3):
        held = lambda step: learning(min(step, 300)) + 0.002 * (step > 300)  # noqa: E731
        monitor = watch(config, log(config, lambda step: learning(min(step, 300)), held=held, seed=seed))
        verdict = monitor.verdict()
        assert (verdict.kind, verdict.runner_up) == ("healthy", "plateau")
        assert 0.2 < verdict.probabilities["plateau"] < 0.5
        assert "300" in verdict.reason  # since when it has not improved
        assert judge_run(monitor.facts()).decision.runner_up != "plateau"


def test_every_hypothesis_on_runs_explains_known_symptoms():
    for explains in EXPLANATIONS.values():
        named = {symptom for group in explains.needs for symptom in group} | set(explains.allows)
        assert named <= set(SYMPTOMS) | set(PAST)


def test_what_a_hypothesis_allows_is_no_reason_to_believe_in_it(config):
    def with_factor(value: float) -> Evidence:
        return Evidence(value, Measured(0.0, 1.0))

    scores = log_likelihoods({"worse on held-out": with_factor(10.0), "oscillation": with_factor(-3.0)})
    assert scores["instability"] == -3.0
    assert scores["healthy"] == 0.0


def test_a_log_says_what_it_cannot_show(config):
    assert len(unseen(watch(config, run(config, learning)).facts())) == 2
    assert unseen(watch(config, log(config)).facts()) == ()
