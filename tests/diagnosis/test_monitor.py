"""The monitor: the right rule and cause at the right time, and no alarm where Monte Carlo error explains a change."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import sedd
from sedd.diagnosis.alarms import Alarm
from sedd.diagnosis.monitor import Monitor
from sedd.diagnosis.predictors import both_predictors
from sedd.diffusion.graphs import make_graph
from sedd.diffusion.loss_profile import BINS, mask_range, rounded, widths
from sedd.runs import checkpoint
from sedd.runs.history import History

EVEN = np.full(20, 0.05)
FREQUENCIES = np.array([0.1] * 8 + [0.2 / 12] * 12)
H1 = float(-(FREQUENCIES * np.log(FREQUENCIES)).sum())
EVERY = 10
RESIDUES = 20_000

Level = Callable[[int], float]


@pytest.fixture
def config(tiny):
    return tiny(
        "training.n_iters=1000",
        f"training.log_every={EVERY}",
        "curriculum.preschool_time=100",
        "curriculum.min_difficulty=0.2",
        "optim.warmup=20",
        "monitoring.max_rise=30",
    )


def train(config: sedd.Config, step: int, level: float, *, draw: float = 0.0, **changes: Any) -> dict[str, Any]:
    """A train line of a model whose loss is `level` nats at every mask rate."""
    low, high = mask_range(config.noise, config.curriculum.difficulty(step - 1), config.curriculum.mode)
    expected = widths(low, high)
    drawn = expected * (1.0 + draw)
    lists = {"loss": drawn * level, "drawn": drawn, "expected": expected, "corrupted": expected}
    return {
        "kind": "train",
        "step": step,
        "loss": float(drawn.sum() * level),
        "difficulty": config.curriculum.difficulty(step - 1),
        "mask_rate_max": high,
        "lr": config.optim.lr,
        "grad_norm": 1.0,
        "grad_norm_max": 1.5,
        "residues": RESIDUES * step // EVERY,
        "seconds": float(step),
        "skipped": 0,
        "letters_shift": 0.001,
        **{f"by_mask_rate_{name}": rounded(values) for name, values in lists.items()},
        "profile": rounded(np.where(expected > 0, level, np.nan)),
    } | changes


def bound(step: int, nats: float) -> dict[str, Any]:
    lists = dict.fromkeys(("bound_profile", "bound_up_to", "bound_up_to_stderr"), [nats] * BINS)
    return {
        "kind": "bound",
        "step": step,
        "bound_nats": nats,
        "bound_stderr": 0.01,
        "residues": 1,
        "seconds": 1.0,
        **lists,
    }


def watch(config: sedd.Config, records: list[dict[str, Any]]) -> Monitor:
    monitor = Monitor(config, both_predictors(make_graph("absorb", 20), config.model, FREQUENCIES))
    for record in records:
        monitor.observe(record)
    return monitor


def run(config: sedd.Config, level: Level, *, steps: int = 600, noise: float = 0.01, seed: int = 0, **changes: Any):
    """Lines of a run whose loss per unit of mask rate is `level(step)` and a little noise."""
    random = np.random.default_rng(seed)
    return [
        train(config, step, level(step) + noise * random.normal(), draw=0.05 * random.normal(), **changes)
        for step in range(EVERY, steps + 1, EVERY)
    ]


def learning(step: int) -> float:
    return 2.4 + 0.6 * 0.99**step


def rules(monitor: Monitor) -> set[tuple[str, str]]:
    return {(alarm.rule, alarm.cause) for alarm in monitor.alarms}


def test_a_run_that_learns_under_a_ramp_is_healthy(config):
    monitor = watch(config, run(config, learning))
    assert rules(monitor) == set()
    assert monitor.verdict().kind == "healthy"


def test_a_rise_that_the_curriculum_explains_is_called_so_and_nothing_worse(config):
    strict = config.replace(monitoring={"max_rise": 0.1}, curriculum={"preschool_time": 400})
    monitor = watch(strict, run(strict, learning))
    first = monitor.alarms[0]
    assert (first.rule, first.cause, first.severity) == ("max_rise", "curriculum", "info")
    assert rules(monitor) == {("max_rise", "curriculum")}
    assert monitor.verdict().kind == "curriculum"
    assert not monitor.verdict().went_wrong
    long_ago = config.replace(monitoring={"max_rise": 0.1})
    assert watch(long_ago, run(long_ago, learning)).verdict().kind == "healthy"


def test_the_remedy_for_a_rise_keeps_it_under_the_limit(config):
    strict = config.replace(monitoring={"max_rise": 5.0})
    alarm = next(a for a in watch(strict, run(strict, lambda _: H1)).alarms if a.rule == "max_rise")
    remedy = next(text for text in alarm.remedies if "preschool_time=" in text)
    needed = int(remedy.partition("preschool_time=")[2].split()[0])
    gentle = strict.replace(curriculum={"preschool_time": needed})
    assert "max_rise" not in {a.rule for a in watch(gentle, run(gentle, lambda _: H1, noise=0.0)).alarms}
    assert needed < 1.1 * (0.8 * H1 / 5.0 * 1000)


@pytest.mark.parametrize("jump", [0.2, 1.0])
def test_a_model_that_gets_worse_at_the_same_mask_rates_is_found_whatever_the_curriculum_does(config, jump):
    config = config.replace(curriculum={"preschool_time": 300})
    for onset in (150, 300, 450):  # in the middle of the ramp, at its end, after it
        level = lambda step, onset=onset: learning(step) + jump * (step > onset)  # noqa: E731
        monitor = watch(config, run(config, level, steps=onset + 150))
        first = next(alarm for alarm in monitor.alarms if alarm.rule == "divergence")
        assert first.cause == "learning"
        assert onset < first.step <= onset + 120
        verdict = monitor.verdict()
        assert verdict.kind == "learning"
        assert verdict.since[0] <= onset
        assert onset <= verdict.since[1]
        assert any(alarm.diverging for alarm in monitor.alarms)


def test_a_slow_decline_is_found_too(config):
    monitor = watch(config, run(config, lambda step: learning(step) + 0.0008 * max(0, step - 300), steps=900))
    assert ("divergence", "learning") in rules(monitor)


@pytest.mark.parametrize("seed", range(20))
def test_noise_alone_is_no_alarm(config, seed):
    monitor = watch(config, run(config, learning, steps=1000, noise=0.05, seed=seed))
    assert not monitor.verdict().went_wrong


def test_other_token_frequencies_are_the_data_and_neither_model_nor_curriculum(config):
    records = run(config, lambda step: learning(step) + 0.5 * (300 < step <= 360))
    records = [r | {"letters_shift": 0.3} if 300 < r["step"] <= 360 else r for r in records]
    monitor = watch(config, records)
    assert rules(monitor) == {("data change", "data")}
    verdict = monitor.verdict()
    assert verdict.kind == "data"
    assert verdict.since[0] <= 300 <= verdict.since[1]
    assert not any(alarm.diverging for alarm in monitor.alarms if alarm.step <= 360)


def test_a_model_worse_than_an_untrained_one_is_found_within_a_few_lines(config):
    monitor = watch(config, run(config, lambda step: 3.0 + 0.05 * step, steps=60))
    assert monitor.alarms[0].rule == "divergence"
    assert monitor.alarms[0].severity == "critical"
    assert monitor.alarms[0].step <= 40


def test_too_few_lines_are_inconclusive(config):
    monitor = watch(config, run(config, learning, steps=50))
    assert monitor.verdict().kind == "inconclusive"
    assert watch(config, []).verdict().kind == "inconclusive"


def test_what_monte_carlo_error_explains_raises_no_alarm(config):
    strict = config.replace(monitoring={"max_loss": 3.6, "max_oscillation": 0.01, "max_rise": 1e-6})
    strict = strict.replace(curriculum={"difficulty_ramp": "constant"})
    random = np.random.default_rng(0)
    scattered = [train(strict, s, learning(s), draw=0.6 * random.uniform(-1, 1)) for s in range(EVERY, 601, EVERY)]
    assert max(record["loss"] for record in scattered) > 3.6
    monitor = watch(strict, scattered)
    assert rules(monitor) == set()
    assert not monitor.verdict().went_wrong
    assert set(monitor.by_chance) == {"max_loss", "max_oscillation", "max_rise"}


def test_a_loss_that_scatters_at_the_same_mask_rates_is_instability(config):
    monitor = watch(config, run(config, lambda step: 2.4 + 1.0 * ((step // EVERY) % 2)))
    assert ("instability", "instability") in rules(monitor)
    late = watch(config, run(config, lambda step: learning(step) + 0.6 * ((step // EVERY) % 2) * (step > 300)))
    verdict = late.verdict()
    assert verdict.kind == "instability"
    assert verdict.since[0] <= 300 <= verdict.since[1]


def test_a_spike_that_decays_is_no_fault_at_the_end(config):
    monitor = watch(config, run(config, lambda step: learning(step) + (300 < step <= 340), steps=900))
    assert ("divergence", "learning") in rules(monitor)  # it looked like one while it lasted
    assert not monitor.verdict().went_wrong


def test_a_loss_over_the_limit_that_the_curriculum_explains_is_called_so(config):
    low = config.replace(monitoring={"max_loss": 2.0})
    assert ("max_loss", "curriculum") in rules(watch(low, run(low, lambda _: 2.9)))
    assert ("divergence", "learning") in rules(watch(config, run(config, lambda step: 3.0 + 0.02 * step)))


def test_a_bound_that_does_not_improve_for_so_many_steps_is_a_plateau(config):
    patient = config.replace(monitoring={"patience": 300})
    lines = run(patient, learning)
    improving = watch(patient, lines + [bound(step, 2.5 - step / 10_000) for step in range(100, 601, 100)])
    assert improving.verdict().kind == "healthy"
    stalled = watch(patient, lines + [bound(step, 2.5) for step in range(100, 601, 100)])
    assert stalled.verdict().hypothesis == "late plateau"
    assert stalled.verdict().kind == "plateau"
    assert not stalled.verdict().went_wrong


def test_a_bound_that_improves_again_ends_the_plateau(config):
    patient = config.replace(monitoring={"patience": 300})
    bounds = [bound(step, 2.5) for step in range(100, 501, 100)] + [bound(600, 2.4)]
    monitor = watch(patient, run(patient, learning) + bounds)
    assert monitor.verdict().kind == "healthy"


def test_bounds_before_the_first_logged_line_do_not_decide(config):
    patient = config.replace(monitoring={"patience": 100})
    monitor = watch(patient, [bound(100, 2.4), bound(200, 2.5)])
    assert monitor.alarms == []
    assert monitor.verdict().kind == "inconclusive"


def test_every_divergence_has_the_step_where_it_began_for_a_rollback(config):
    skips = [{"kind": "skipped", "step": 300, "skipped": count} for count in range(1, 60)]
    monitors = (
        watch(config, run(config, learning, steps=300) + skips),
        watch(config, run(config, lambda step: 3.0 + 0.1 * step, steps=60)),
        watch(config, run(config, lambda step: learning(step) + (step > 300))),
    )
    for monitor in monitors:
        diverging = [alarm for alarm in monitor.alarms if alarm.diverging]
        assert diverging
        assert all("since" in alarm.numbers for alarm in diverging)


def test_remedies_are_computed_once_while_a_rule_keeps_firing(config, monkeypatch):
    calls = []
    monkeypatch.setattr("sedd.diagnosis.remedies.of_divergence", lambda *_: calls.append(1) or ())
    watch(config, run(config, lambda step: 20.0 if step > 300 else learning(step), steps=900))
    assert 0 < len(calls) < 40


def test_a_model_that_stays_at_the_unigram_loss_is_a_plateau(config):
    frequencies = FREQUENCIES.tolist()
    data = {"kind": "data", "step": 0, "letter_counts": [f * 1e6 for f in frequencies], "mean_length": 64.0}
    lines = run(config, lambda _: H1, steps=900, noise=0.003)
    random = np.random.default_rng(0)
    own = H1 + 0.05 * random.normal(size=64)
    evaluated = {
        "kind": "evaluated",
        "step": 0,
        "held_out": {"sequences": 64, "token_counts": [1] * 20, "residues": [64] * 64, "unigram": own.tolist(),
                     "composition": (own + 0.1).tolist()},
    }  # fmt: skip
    bounds = []
    for step in range(100, 901, 100):
        values = own + 0.01 * random.normal(size=64)
        bounds.append(bound(step, float(values.mean())) | {"bound_by_sequence": values.tolist()})
    records = [data | {"sequences": 10_000}, evaluated, *sorted(lines + bounds, key=lambda record: record["step"])]
    verdict = watch(config, records).verdict()
    assert verdict.hypothesis == "unigram plateau"
    assert verdict.kind == "plateau"
    assert not verdict.went_wrong


def test_a_model_that_memorises_is_found_by_its_held_out_bound_and_its_training_loss(config):
    lines = run(config, learning, steps=1000)
    bounds = [bound(step, 2.5 + 0.2 * max(0, step - 300) / 1000) for step in range(100, 1001, 100)]
    records = sorted(lines + bounds, key=lambda record: record["step"])
    verdict = watch(config, records).verdict()
    assert verdict.kind == "overfitting"
    assert verdict.went_wrong
    assert verdict.since[0] <= 300 <= verdict.since[1]
    assert any("step 100" in str(remedy) for remedy in verdict.remedies)


def test_bounds_that_rise_with_the_training_loss_are_a_divergence_and_no_overfitting(config):
    lines = run(config, lambda step: learning(step) + 0.4 * (step > 500), steps=1000)
    bounds = [bound(step, 2.5 + 0.4 * (step > 500)) for step in range(100, 1001, 100)]
    assert watch(config, sorted(lines + bounds, key=lambda record: record["step"])).verdict().kind == "learning"


def test_skipped_steps_are_instability_once_there_are_several(config):
    lines = run(config, learning, steps=300)
    assert rules(watch(config, [*lines, {"kind": "skipped", "step": 300, "skipped": 1}])) == set()
    several = [{"kind": "skipped", "step": 300, "skipped": count} for count in range(1, 7)]
    assert rules(watch(config, lines + several)) == {("instability", "instability")}
    assert watch(config, [{"kind": "skipped", "step": 0, "skipped": n} for n in range(1, 9)]).verdict().went_wrong


def test_an_alarm_is_raised_once_while_it_lasts(config):
    monitor = watch(config, run(config, lambda step: learning(step) + (step > 300)))
    assert sum(alarm.rule == "divergence" and alarm.severity == "critical" for alarm in monitor.alarms) == 1


def test_the_remedy_for_a_diverging_warm_up_is_the_learning_rate_that_still_went_well(config):
    slow = config.replace(optim={"warmup": 400, "lr": 4e-3})
    records = run(slow, lambda step: learning(step) + 0.5 * (step > 200))
    records = [record | {"lr": 1e-5 * record["step"]} for record in records]
    alarm = next(a for a in watch(slow, records).alarms if a.rule == "divergence")
    lr = float(next(r for r in alarm.remedies if "optim.lr=" in r).partition("optim.lr=")[2].split()[0])
    assert 5e-4 <= lr <= 2.2e-3
    assert any("optim.warmup=600" in remedy for remedy in alarm.remedies)


def test_every_alarm_survives_the_metrics_file(config):
    for alarm in watch(config, run(config, lambda step: learning(step) + (step > 300))).alarms:
        assert Alarm.from_dict(json.loads(json.dumps(alarm.to_dict()))) == alarm


def test_a_run_without_predictors_is_watched_too(config):
    monitor = Monitor(config, {})
    for record in run(config, lambda step: learning(step) + 0.5 * (step > 300)):
        monitor.observe(record)
    assert monitor.verdict().kind == "learning"


# In a run ------------------------------------------------------------------------------------------------------------


def breaking(trainer: sedd.Trainer, *, since: int, until: int = 10**9, lr: float = 0.0) -> sedd.Trainer:
    """Change the sign of the gradient between two steps, as long as the learning rate is above `lr`."""

    def turn(slope):
        broken = since <= trainer.state.step < until and trainer.optimizer.param_groups[0]["lr"] > lr
        return -slope if broken else slope

    for parameter in trainer.network.parameters():
        parameter.register_hook(turn)
    return trainer


@pytest.fixture
def short(tiny):
    return lambda *overrides: tiny(
        "training.n_iters=200", "training.log_every=4", "training.eval_every=100", "checkpoint.every=20",
        "optim.lr=1e-2", "optim.warmup=1", "lr_schedule.type=constant", "evaluation.sequences=16", *overrides,
    )  # fmt: skip


def test_a_run_that_diverges_shows_an_alarm_and_goes_on_by_default(short, tmp_path, capfd):
    breaking(sedd.Trainer(short(), run=tmp_path / "run"), since=100).fit()
    history = History.read(tmp_path / "run")
    assert history.steps[-1] == 200
    critical = [event for event in history.events if event.get("severity") == "critical"]
    assert 100 < critical[0]["step"] <= 160
    assert f"critical: step {critical[0]['step']}" in capfd.readouterr().err


def test_stop_ends_a_diverging_run_with_its_reason_and_a_checkpoint(short, tmp_path):
    trainer = breaking(sedd.Trainer(short("monitoring.on_divergence=stop"), run=tmp_path / "run"), since=100)
    with pytest.raises(sedd.TrainingError) as caught:
        trainer.fit(progress=False)
    assert "monitoring.on_divergence" in str(caught.value)
    assert 100 < checkpoint.step_of(checkpoint.listing(tmp_path / "run" / "checkpoints")[-1]) < 200


def test_rollback_goes_back_with_a_lower_learning_rate_and_ends_well(short, tmp_path):
    run = tmp_path / "run"
    trainer = breaking(sedd.Trainer(short("monitoring.on_divergence=rollback"), run=run), since=100, lr=0.006)
    trainer.fit(progress=False)
    history = History.read(run)
    (event,) = [event for event in history.events if event["kind"] == "rollback"]
    assert event["step"] <= 100 < event["from_step"]
    assert event["step"] % 20 == 0
    assert trainer.state.lr_scale == 0.5
    assert trainer.state.step == 200
    assert history.steps == sorted(set(history.steps))
    dropped = (run / "rolled-back-1.jsonl").read_text().splitlines()
    assert all(json.loads(line)["step"] > event["step"] for line in dropped)
    lrs = {line.step: line.lr for line in history.lines}
    assert lrs[200] == pytest.approx(0.005)
    assert lrs[event["step"]] == pytest.approx(0.01)


@pytest.mark.long
def test_a_run_that_went_back_resumes_like_one_that_never_stopped(short, tmp_path):
    config = short("monitoring.on_divergence=rollback")
    ends = []
    for name, stops in (("straight", ()), ("stopped", (141, 171))):
        run = tmp_path / name
        for stop in (*stops, None):
            trainer = breaking(sedd.Trainer(config, run=run, resume=True), since=100, lr=0.006)
            step = trainer._step

            def interrupted(trainer=trainer, step=step, stop=stop):
                report = step()
                if trainer.state.rollbacks and report.step == stop:
                    trainer.save()
                    raise KeyboardInterrupt
                return report

            trainer._step = interrupted
            if stop is None:
                trainer.fit(progress=False)
            else:
                with pytest.raises(KeyboardInterrupt):
                    trainer.fit(progress=False)
        ends.append((run, trainer))
    (first, one), (second, two) = ends
    assert one.state.rollbacks == two.state.rollbacks == 1
    for name, tensor in one.network.state_dict().items():
        assert (tensor == two.network.state_dict()[name]).all(), name
    kept = [[line.loss for line in History.read(run).lines] for run in (first, second)]
    assert kept[0] == kept[1]


def test_rollbacks_are_limited(short, tmp_path):
    config = short("monitoring.on_divergence=rollback", "monitoring.max_rollbacks=1")
    trainer = breaking(sedd.Trainer(config, run=tmp_path / "run"), since=100)
    with pytest.raises(sedd.TrainingError):
        trainer.fit(progress=False)
    assert trainer.state.rollbacks == 1


def test_a_finished_run_has_the_alarms_that_it_had_while_it_ran(short, tmp_path):
    trainer = breaking(sedd.Trainer(short(), run=tmp_path / "run"), since=100)
    trainer.fit(progress=False)
    records = [json.loads(line) for line in Path(tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    counts = np.array(records[0]["letter_counts"], float)
    monitor = Monitor(
        trainer.config, both_predictors(trainer.process.graph, trainer.config.model, counts / counts.sum())
    )
    for record in records:
        monitor.observe(record)
    assert [a.to_dict() for a in monitor.alarms] == [record for record in records if record["kind"] == "alarm"]
