"""The training loop keeps its promises: one clock, one normalisation, exact resume, nothing lost."""

from __future__ import annotations

import dataclasses
import json
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import sedd
from sedd.data import Cursor
from sedd.diffusion.schedule import Schedule
from sedd.distributed.parallel import optimizer_state
from sedd.plugins.contracts import Backend
from sedd.runs import checkpoint
from sedd.training.recording import Recorder, ends_window, pending_records
from sedd.training.tracking import TrackerSessions
from tests.conftest import TINY
from tests.processes import environment

TIMING = ("seconds", "residues_per_second")


def records_of(trainer: sedd.Trainer, report: sedd.StepReport) -> list[dict[str, object]]:
    """The records of a step, which counts as recorded from now on, as in `fit`."""
    records = pending_records(trainer, report)
    trainer.state = trainer.state.recorded(ends_window=ends_window(trainer, report))
    return records


def losses(trainer: sedd.Trainer) -> list[float]:
    return [report.loss for report in trainer.steps()]


def lines(run: Path) -> list[dict[str, object]]:
    records = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [{key: value for key, value in record.items() if key not in TIMING} for record in records]


def contents(run: Path) -> dict[str, bytes]:
    """Everything in the last checkpoint that should be reproducible: tensors, and the state without the clock."""
    last = checkpoint.listing(run / "checkpoints")[-1]
    found = {path.name: path.read_bytes() for path in last.glob("*.safetensors")}
    state = json.loads((last / "state.json").read_text())
    state["train"].pop("seconds")
    state["train"]["window"].pop("seconds")
    return found | {"state": json.dumps(state).encode()}


@pytest.mark.parametrize("graph", ["absorb", "uniform"])
@pytest.mark.parametrize("budget", [[], ["training.batch_residues=120"]], ids=["sequences", "residues"])
def test_accumulation_does_not_change_the_curve(tiny, graph, budget):
    curves = []
    for size, accum in ((8, 1), (4, 2), (2, 4)):
        config = tiny(f"graph.type={graph}", f"training.batch_size={size}", f"training.accum={accum}", *budget)
        curves.append(losses(sedd.Trainer(config)))
    assert np.allclose(curves[0], curves[1], rtol=2e-5)
    assert np.allclose(curves[0], curves[2], rtol=2e-5)


def test_fit_ends_with_a_verdict(tiny, tmp_path):
    trainer = sedd.Trainer(tiny(), run=tmp_path / "run")
    assert trainer.verdict is None
    trainer.fit(progress=False)
    assert trainer.verdict == sedd.diagnose(tmp_path / "run").verdict


def test_the_same_seed_gives_the_same_curve_and_another_seed_another(tiny):
    first, again, other = (losses(sedd.Trainer(tiny(f"seed={seed}"))) for seed in (0, 0, 1))
    assert first == again
    assert first != other


def test_evaluating_and_sampling_do_not_disturb_training(tiny):
    quiet = sedd.Trainer(tiny("training.eval_every=1000", "model.dropout=0.2"))
    busy = sedd.Trainer(tiny("training.eval_every=1", "model.dropout=0.2"))
    noisy = []
    for report in busy.steps():
        busy.sample(2, length=5)
        torch.rand(3)
        noisy.append(report.loss)
    assert losses(quiet) == noisy


VARIANTS = {
    "plain": ["device.precision=float32"],
    "bfloat16": ["device.precision=bfloat16"],
    "uniform": ["graph.type=uniform", "model.head=score"],
    "accumulated": ["training.batch_size=4", "training.accum=2"],
    "several lengths": ["training.batch_size=32"],
    "by residues": ["training.batch_residues=100", "training.accum=3"],
    "several epochs": ["data.synthetic.sequences=12", "training.batch_size=5"],
}


@pytest.mark.parametrize("variant", VARIANTS.values(), ids=VARIANTS)
def test_a_run_that_stops_and_resumes_equals_one_that_does_not_bit_for_bit(tiny, tmp_path, variant):
    config = tiny("model.dropout=0.1", *variant)
    straight, stopped = tmp_path / "straight", tmp_path / "stopped"
    sedd.Trainer(config, run=straight).fit(progress=False)

    first = sedd.Trainer(config, run=stopped)
    first.run.begin(config, resume=False)
    recorder = Recorder(first.run, config, first.data, TrackerSessions((), stopped, {}), print)
    for report in first.steps():
        for record in records_of(first, report):
            recorder.write(record)
        if report.step == 5:
            break
    first.save()
    second = sedd.Trainer(config, run=stopped, resume=True)
    assert second.state.step == 5
    second.fit(progress=False)

    assert contents(straight) == contents(stopped)
    assert lines(straight) == lines(stopped)


def test_metrics_written_after_the_last_checkpoint_are_not_kept_twice(tiny, tmp_path):
    config = tiny("training.log_every=1", "checkpoint.every=4", "training.eval_every=1000")
    trainer = sedd.Trainer(config, run=tmp_path / "run")
    trainer.run.begin(config, resume=False)
    for report in trainer.steps():
        for record in records_of(trainer, report):
            trainer.run.append(record)
        if report.step == 4:
            trainer.save()
        if report.step == 6:  # killed here: steps 5 and 6 are in the metrics but in no checkpoint
            break
    with trainer.run.metrics_file.open("a") as file:
        file.write('{"kind": "train", "st')  # and a line was torn
    sedd.Trainer(config, run=tmp_path / "run", resume=True).fit(progress=False)
    assert [line["step"] for line in lines(tmp_path / "run") if line["kind"] == "train"] == list(range(1, 9))


SLOW = (*TINY, "training.n_iters=2000", "checkpoint.every=5", "training.eval_every=2000", "lr_schedule.type=constant")


def start(run: Path, *options: str) -> subprocess.Popen[bytes]:
    command = [
        sys.executable,
        "-m",
        "sedd",
        "train",
        "quickstart",
        *SLOW,
        "--run",
        str(run),
        "--samples",
        "0",
        *options,
    ]
    # As many threads as here: sums of many rows are cut by threads, so their number decides last digits.
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, env=environment())


def wait_for_step(run: Path, step: int, process: subprocess.Popen[bytes]) -> None:
    while not any(int(path.name[5:]) >= step for path in checkpoint.listing(run / "checkpoints")):
        assert process.poll() is None, process.communicate()[1].decode()
        time.sleep(0.01)


def test_a_killed_run_resumes_exactly(tmp_path):
    run = tmp_path / "run"
    for target in (5, 20):
        process = start(run, "--resume")
        wait_for_step(run, target, process)
        process.kill()
        process.communicate()
    config = sedd.load_config("quickstart", *SLOW)
    resumed = sedd.Trainer(config, run=run, resume=True)
    straight = sedd.Trainer(config)
    while straight.state.step < resumed.state.step + 1:
        expected = next(straight.steps())
    assert next(resumed.steps()).loss == expected.loss
    for mine, theirs in zip(resumed.network.parameters(), straight.network.parameters(), strict=True):
        assert torch.equal(mine, theirs)


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGTERM, 143), pytest.param(signal.SIGINT, 130, marks=pytest.mark.long)]
)
def test_a_signal_saves_and_ends_cleanly(tmp_path, number, code):
    process = start(tmp_path / "run")
    wait_for_step(tmp_path / "run", 5, process)
    process.send_signal(number)
    message = process.communicate()[1].decode()
    assert process.returncode == code
    assert "Traceback" not in message
    saved = checkpoint.latest(tmp_path / "run" / "checkpoints")
    assert saved is not None
    assert f"saved at step {saved[1].state['train']['step']:,}" in message


class Brittle(nn.Module):
    """A network whose output is not a number on chosen calls."""

    def __init__(self, bad: set[int]) -> None:
        super().__init__()
        self.table = nn.Embedding(21, 20)
        self.bad, self.calls = bad, 0

    def forward(self, tokens: Tensor, sigma: Tensor, mask: Tensor | None = None) -> Tensor:
        output: Tensor = self.table(tokens)
        if self.training:
            self.calls += 1
            if self.calls in self.bad:
                return output * torch.nan
        return output


@pytest.mark.parametrize("late", [False, True], ids=["host", "device"])
def test_a_non_finite_step_changes_nothing_but_the_clocks(tiny, late):
    trainer = sedd.Trainer(tiny(), model=Brittle({3}))
    trainer.train_step.skips_on_device = late
    reports = trainer.steps()
    next(reports), next(reports)
    weights = trainer.network.table.weight.clone()
    average = trainer.ema.network.table.weight.clone()
    before_moments = optimizer_state(trainer.optimizer, trainer.network)
    before_moments = {name: value.clone() for name, value in before_moments.items()}
    before = trainer.state
    report = next(reports)
    assert report.skipped
    assert report.step == before.step + 1 == trainer.state.step == 3
    assert torch.equal(weights, trainer.network.table.weight)
    assert torch.equal(average, trainer.ema.network.table.weight)
    after_moments = optimizer_state(trainer.optimizer, trainer.network)
    assert all(torch.equal(value, after_moments[name]) for name, value in before_moments.items())
    assert trainer.ema.updates == 3
    assert trainer.state.cursor != before.cursor
    assert trainer.state.residues == before.residues
    after = next(reports)
    assert (after.step, after.skipped_total) == (4, 1)
    assert after.lr == Schedule(trainer.config).learning_rate(3)
    assert after.difficulty == trainer.config.curriculum.difficulty(3)
    assert not torch.equal(weights, trainer.network.table.weight)


def test_skipped_steps_stand_in_the_metrics(tiny, tmp_path):
    sedd.Trainer(tiny(), model=Brittle({3}), run=tmp_path / "run").fit(progress=False)
    records = lines(tmp_path / "run")
    assert {"kind": "skipped", "step": 3, "skipped": 1} in records
    assert [record["step"] for record in records if record["kind"] == "train"] == [3, 6, 8]


def test_a_skipped_step_after_the_last_checkpoint_is_recorded_once(tiny, tmp_path):
    """Killed after step 4 was saved and step 5 skipped: the resumed run skips it again."""
    config = tiny("training.log_every=1")
    first = sedd.Trainer(config, model=Brittle({5}), run=tmp_path / "run")
    first.run.begin(config, resume=False)
    for report in first.steps():
        for record in records_of(first, report):
            first.run.append(record)
        if report.step == 4 and not report.skipped:
            first.save()
        if report.skipped:
            break
    sedd.Trainer(config, model=Brittle({1}), run=tmp_path / "run", resume=True).fit(progress=False)
    assert [line["skipped"] for line in lines(tmp_path / "run") if line["kind"] == "skipped"] == [1]


def test_a_run_that_cannot_go_on_is_saved_first(tiny, tmp_path):
    trainer = sedd.Trainer(tiny("training.max_skipped=2"), model=Brittle({7, 8}), run=tmp_path / "run")
    with pytest.raises(sedd.TrainingError):
        trainer.fit(progress=False)
    assert checkpoint.listing(tmp_path / "run" / "checkpoints")[-1].name == "step-00000008"


class Wild(sedd.Curriculum):
    """Breaks its promise in a chosen way."""

    difficulty_ramp: str = "wild"
    value: float = 3.0

    def difficulty(self, step: int) -> float:
        if step and self.value < 0:
            raise ZeroDivisionError("oh")
        return self.value if step else 1.0


@pytest.mark.parametrize("value", [3.0, -1.0])
def test_a_curriculum_that_breaks_its_promise_is_named(tiny, value):
    with pytest.raises(sedd.PluginError, match="curriculum Wild: "):
        list(sedd.Trainer(tiny(), curriculum=Wild(value=value)).steps())


def test_a_network_with_the_wrong_number_of_outputs_is_refused_with_both_shapes(tiny):
    class Wide(Brittle):
        """One output too many, for the mask: what the raw head would need."""

        def __init__(self) -> None:
            super().__init__(set())
            self.table = nn.Embedding(21, 21)

    with pytest.raises(sedd.ConfigError, match=r"21\).*20\)"):
        list(sedd.Trainer(tiny(), model=Wide()).steps())


def test_endless_non_finite_steps_are_an_error_that_says_what_to_do(tiny):
    trainer = sedd.Trainer(tiny("training.max_skipped=3"), model=Brittle(set(range(100))))
    with pytest.raises(sedd.TrainingError):
        list(trainer.steps())
    assert trainer.state.skipped_in_a_row == 3
    assert trainer.state.step == 3


def test_every_clock_counts_optimizer_steps(tiny):
    one, four = (sedd.Trainer(tiny("training.batch_size=2", f"training.accum={accum}")) for accum in (1, 4))
    for a, b in zip(one.steps(), four.steps(), strict=True):
        assert (a.step, a.difficulty, a.lr) == (b.step, b.difficulty, b.lr)
    assert four.ema.updates == four.config.training.n_iters


def test_a_step_of_several_lengths_is_that_of_its_sequences_together(tiny):
    parts = sedd.Trainer(tiny("training.batch_size=32", "training.n_iters=5"))
    whole = sedd.Trainer(parts.config)
    plan = whole.batches.window(0)[0]
    assert plan.cuts
    whole.batches._planned = (0, [dataclasses.replace(each, cuts=()) for each in whole.batches.window(0)])
    assert [len(trainer.loader(0, Cursor()).micro_steps) for trainer in (parts, whole)] == [len(plan.cuts) + 1, 1]
    assert losses(parts) == pytest.approx(losses(whole), rel=1e-6)
    for one, other in zip(parts.network.parameters(), whole.network.parameters(), strict=True):
        assert torch.allclose(one, other, atol=1e-6)


def test_steps_write_nothing(tiny, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    list(sedd.Trainer(tiny()).steps())
    assert list(tmp_path.iterdir()) == []


def test_training_learns_the_synthetic_source(tiny):
    trainer = sedd.Trainer(
        tiny(
            "training.n_iters=150", "training.eval_every=150", "optim.lr=1e-2", "model.hidden_size=32", "ema.decay=0.9"
        )
    )
    untrained = trainer.evaluate()
    *_, last = trainer.steps()
    assert untrained.nats == pytest.approx(np.log(20), abs=1e-3)
    assert last.bound.nats < 2.93  # knowing the letters alone gives 2.89
    assert last.bound.nats > trainer.data.exact_nll - 3 * last.bound.stderr


def test_a_users_own_data_and_curriculum_are_taken(tiny):
    class Sudden(sedd.Curriculum):
        """Nothing, then everything: not registered anywhere."""

        difficulty_ramp: str = "sudden"

        def difficulty(self, step: int) -> float:
            return 1.0 if step >= self.preschool_time else self.min_difficulty

    random = np.random.default_rng(0)
    own = [random.integers(0, 20, size=length) for length in range(5, 45)]
    trainer = sedd.Trainer(tiny(), data=own, curriculum=Sudden(preschool_time=3))
    reports = list(trainer.steps())
    assert [report.difficulty for report in reports] == [0.1] * 3 + [1.0] * 5
    assert len(trainer.data.train) + len(trainer.data.valid) == 40


@pytest.mark.parametrize(
    ("data", "record"),
    [
        ([np.array([1, 2])], None),
        ([np.array([1, 2]), np.array([3, 20])], "item 1 of your data"),
        ([np.array([1, 2]), np.array([0.5, 1])], "item 1 of your data"),
        ([np.array([1, 2]), np.array([], dtype=int)], "item 1 of your data"),
    ],
)
def test_unusable_data_of_a_user_is_refused(tiny, data, record):
    with pytest.raises(sedd.DataError) as caught:
        sedd.Trainer(tiny(), data=data)
    assert caught.value.record == record


def test_a_model_without_parameters_is_refused(tiny):
    with pytest.raises(sedd.ConfigError):
        sedd.Trainer(tiny(), model=nn.Identity())


class Fake(Backend):
    """A device of its own name that is the CPU underneath."""

    type: str = "fake"

    def available(self) -> bool:
        return True

    def device(self, local_rank: int = 0) -> torch.device:
        return torch.device("cpu")

    def memory(self) -> dict[str, int]:
        return {"allocated": 7}


def test_a_fake_backend_takes_the_same_path_as_the_cpu(tiny, tmp_path):
    config = tiny()
    faked = sedd.Trainer(config.replace(device=Fake(precision="float32")), run=tmp_path / "fake")
    faked.fit(progress=False)
    plain = sedd.Trainer(config, run=tmp_path / "cpu")
    plain.fit(progress=False)
    for mine, theirs in zip(faked.network.parameters(), plain.network.parameters(), strict=True):
        assert torch.equal(mine, theirs)
    assert all(line["memory_allocated"] == 7 for line in lines(tmp_path / "fake") if line["kind"] == "train")


@pytest.mark.parametrize("name", ["cuda", "mps", "xpu"])
def test_every_device_trains_like_the_cpu(tiny, name):
    config = tiny(f"device.type={name}")
    if not config.device.available():
        pytest.skip(f"no {name} device on this machine")
    there = losses(sedd.Trainer(config))
    here = losses(sedd.Trainer(tiny()))
    assert np.allclose(there, here, rtol=1e-2)


@pytest.mark.parametrize("head", ["normalised", "score"])
@pytest.mark.parametrize("graph", ["absorb", "uniform"])
@pytest.mark.parametrize("mode", ["scale", "truncate", "bias"])
def test_every_combination_trains_and_evaluates(tiny, graph, head, mode):
    trainer = sedd.Trainer(
        tiny(f"graph.type={graph}", f"model.head={head}", f"curriculum.mode={mode}", "training.n_iters=5")
    )
    reports = list(trainer.steps())
    assert all(np.isfinite(report.loss) for report in reports)
    assert reports[-1].bound is not None
    assert len(trainer.sample(3, length=6)) == 3


def test_fit_until_a_step_saves_there_and_goes_on_as_if_it_had_not_stopped(tiny, tmp_path):
    config = tiny("checkpoint.every=1000", "training.eval_every=1000")
    straight, paused = (sedd.Trainer(config, run=tmp_path / name) for name in ("straight", "paused"))
    straight.fit(progress=False)
    paused.fit(until=5, progress=False)
    assert paused.state.step == 5
    assert [path.name for path in checkpoint.listing(paused.run.checkpoints)] == ["step-00000005"]
    paused.fit(until=100, progress=False)
    assert contents(tmp_path / "straight") == contents(tmp_path / "paused")
    assert lines(tmp_path / "straight") == lines(tmp_path / "paused")


def test_the_model_of_a_trainer_samples_like_it_and_does_not_follow_later_training(tiny, tmp_path):
    trainer = sedd.Trainer(tiny(), run=tmp_path / "run")
    trainer.fit(until=4, progress=False)
    model, samples = trainer.model, trainer.sample(3, seed=1)
    assert model.step == 4
    assert model.sample(3, seed=1) == samples
    trainer.fit(progress=False)
    assert model.sample(3, seed=1) == samples
    bound = trainer.model.bound(trainer.data.valid, masks=2, count=50)
    assert bound == sedd.load(trainer.run.path, which="latest").bound(trainer.data.valid, masks=2, count=50)


def test_a_checkpoint_saved_from_a_loop_of_ones_own_can_be_resumed(tiny, tmp_path):
    config = tiny()
    trainer = sedd.Trainer(config, run=tmp_path / "run")
    for report in trainer.steps():
        if report.step in (3, 5):
            trainer.save()
        if report.step == 5:
            break
    resumed = sedd.Trainer(config, run=tmp_path / "run", resume=True)
    assert resumed.state.step == 5
    losses = [report.loss for report in resumed.steps()]
    assert losses == [report.loss for report in sedd.Trainer(config).steps()][5:]
    resumed.save()
    assert sedd.load(tmp_path / "run", which="latest").step == 8
    sedd.Trainer(tiny("optim.lr=1"), run=tmp_path / "other").save()
    (tmp_path / "mine").mkdir()
    other = sedd.Trainer(config, run=tmp_path / "mine")
    shutil.copytree(tmp_path / "other", tmp_path / "mine", dirs_exist_ok=True)
    with pytest.raises(sedd.CheckpointError):
        other.save()
