"""Sweeps that train: directories, interruptions, several processes, failures, mask rates in common."""

from __future__ import annotations

import json
import random
import shutil
import signal
import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import sedd
from sedd.comparison.paired import evaluate_on
from sedd.errors import CheckpointError, ConfigError, SeddError
from sedd.runs.directory import RunDirectory
from sedd.sweeps.running import Setup, carry_out, divisor, mask_range, part_by_sequence, ramp_ended, rung_steps
from sedd.sweeps.sweep import sweep
from sedd.sweeps.tasks import Task
from tests.conftest import TINY

pytestmark = pytest.mark.filterwarnings("ignore::sedd.SeddWarning")  # runs of a few steps warn, as they should
VARY = ("optim.lr=1e-4..1e-1:log", "curriculum.mode=truncate,scale")
SMALL = ("evaluation.sequences=12", "evaluation.train_sequences=0", "data.holdout=0.1")
FEW: dict[str, Any] = {"trials": 3, "seeds": 2, "finalists": 1, "sampler": "quasi-random"}


@pytest.fixture
def base(tiny: Callable[..., sedd.Config]) -> sedd.Config:
    """Training that takes a tenth of a second."""
    return tiny(*SMALL)


def table(directory: Path) -> Any:
    return json.loads((directory / "result.json").read_text())


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, sedd.Sweep]:
    """A finished sweep and its directory, which tests that change it copy."""
    directory = tmp_path_factory.mktemp("finished") / "sweep"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", sedd.SeddWarning)
        return directory, sweep(sedd.load_config("quickstart", *TINY, *SMALL), VARY, **FEW, run=directory)


Finished = tuple[Path, sedd.Sweep]


def test_a_sweep_leaves_runs_that_can_be_diagnosed_and_a_run_file_that_loads(
    base: sedd.Config, finished: Finished
) -> None:
    directory, found = finished
    assert len(found.trials) == 4
    assert {trial.last.step for trial in found.trials if trial.state == "complete"} == {8}
    runs = sorted((directory / "runs").iterdir())
    assert len(runs) == 4 + 2 * 2
    assert sedd.diagnose(runs[0]).verdict.kind == found.baseline.screening[-1].kind
    assert {RunDirectory(run).config()["seed"] for run in runs} == {0, 1, 2}
    best = sedd.load_config(directory / "best.yaml")
    assert best.optim.lr == found.leader.changes.get("optim.lr", base.optim.lr)
    assert best.training == base.training
    assert table(directory)["leader"] == found.leader.number
    assert json.loads((directory / "sweep.json").read_text())["vary"][0]["key"] == "optim.lr"
    bound = RunDirectory(directory / "runs" / "000-seed-0").history().bounds[-1]
    assert found.baseline.screening[-1].nats == bound.nats


def test_a_sweep_that_goes_on_trains_nothing_twice_and_can_be_extended(
    base: sedd.Config, finished: Finished, tmp_path: Path
) -> None:
    directory, first = finished
    copy = shutil.copytree(directory, tmp_path / "copy")
    trained: list[Task] = []
    again = sweep(base, VARY, **FEW, run=copy, done=lambda task, _: trained.append(task))
    assert again.to_dict() == first.to_dict()
    assert trained == []
    sweep(base, VARY, **{**FEW, "trials": 4}, run=copy, done=lambda task, _: trained.append(task))
    assert {task.number for task in trained if task.seed == 0} == {4}


def test_another_sweep_and_foreign_files_are_not_touched(base: sedd.Config, finished: Finished, tmp_path: Path) -> None:
    copy = shutil.copytree(finished[0], tmp_path / "copy")
    with pytest.raises(CheckpointError):
        sweep(base, VARY[:1], **FEW, run=copy)
    (tmp_path / "thesis.txt").touch()
    with pytest.raises(CheckpointError):
        sweep(base, VARY, **FEW, run=tmp_path)
    measurement = next((copy / "measurements").iterdir())
    measurement.write_text("{")
    with pytest.raises(CheckpointError, match=measurement.name):
        sweep(base, VARY, **FEW, run=copy)


PROGRAM = """
import sys, warnings
warnings.simplefilter("ignore")
import torch, sedd
from tests.conftest import TINY
from tests.sweeps.test_sweep import FEW, SMALL, VARY
from sedd.sweeps.sweep import sweep
torch.set_num_threads(1)
base = sedd.load_config("quickstart", *TINY, *SMALL)
print("begun", flush=True)
sweep(base, VARY, **FEW, run=sys.argv[1], jobs=int(sys.argv[2]), done=lambda task, one: print(task.name, flush=True))
"""


@pytest.mark.long
@pytest.mark.parametrize(("jobs", "kills"), [(1, 1), (1, 2), (2, 1)])
def test_a_sweep_killed_at_random_moments_has_the_same_final_table(
    finished: Finished, tmp_path: Path, jobs: int, kills: int
) -> None:
    command = [sys.executable, "-c", PROGRAM, str(tmp_path / "killed"), str(jobs)]
    moments, here = random.Random(jobs), Path(__file__).parents[2]
    for _ in range(kills):
        process = subprocess.Popen(command, stdout=subprocess.PIPE, cwd=here)
        assert process.stdout is not None
        for _ in range(1 + moments.randrange(4)):
            process.stdout.readline()
        process.send_signal(signal.SIGKILL)
        process.wait()
        process.stdout.close()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, cwd=here)
    assert table(tmp_path / "killed") == table(finished[0])


@pytest.mark.long
def test_a_planted_learning_rate_is_found_by_training(tiny: Callable[..., sedd.Config], tmp_path: Path) -> None:
    # Of these rates only one trains at all in so few steps: the others do nothing, or destroy the model.
    base = tiny("optim.lr=1e-6", "training.n_iters=24", "evaluation.sequences=40", "data.holdout=0.2", "ema.decay=0.5")
    vary = {"optim.lr": [1e-6, 1e-5, 1e-2, 10.0]}
    found = sweep(base, vary, seeds=3, one_at_a_time=True, run=tmp_path)
    assert found.winner is not None
    assert found.winner.changes == {"optim.lr": 1e-2}
    assert found.trials[-1].changes == {"optim.lr": 10.0}


def test_a_trial_that_ends_with_an_error_says_why(base: sedd.Config, tmp_path: Path) -> None:
    setup = Setup(base.replace(training={"max_skipped": 1}), 1000.0, (0.0, 1.0), tmp_path, 16.0)
    found = carry_out(setup, Task(1, {"optim.lr": 1e30, "optim.grad_clip": 0.0, "optim.warmup": 0}, 0, 0))
    assert found.went_wrong
    assert found.verdict


def test_a_trial_without_an_intact_checkpoint_is_set_aside_and_begun_again(base: sedd.Config, tmp_path: Path) -> None:
    setup, task = Setup(base, 1000.0, (0.0, 1.0), tmp_path / "runs", 16.0), Task(0, {}, 0, 0)
    first = carry_out(setup, task)
    for file in (setup.runs / task.run / "checkpoints").glob("step-*/*"):
        file.write_bytes(b"")
    again = carry_out(setup, task)
    assert (again.nats, again.stderr) == (first.nats, first.stderr)
    assert sorted(path.name for path in setup.runs.iterdir()) == [task.run, f"{task.run}-damaged-1"]


def test_trials_of_other_noise_are_compared_over_the_mask_rates_that_all_have(
    base: sedd.Config, tmp_path: Path
) -> None:
    found = sweep(base, ["noise.sigma_max=1.0,6.9"], one_at_a_time=True, seeds=2, run=tmp_path)
    assert found.mask_rates == pytest.approx((1 - np.exp(-base.noise.sigma_min), 1 - np.exp(-1.0)))
    one = found.trial(1).seeds[0]
    run = tmp_path / "runs" / "001-seed-1"
    model = sedd.load(run, device="cpu")
    data = sedd.Trainer(model.config, run=tmp_path / "unused").data
    bound, contributions = evaluate_on(model, data.valid, 24, 12, 2)
    assert one.nats == pytest.approx(
        float(part_by_sequence(contributions, *found.mask_rates) @ contributions.residues / bound.residues)
    )
    assert one.nats < bound.nats
    assert mask_range(model.config) == found.mask_rates


def test_larger_batches_have_fewer_steps_of_the_same_residues(base: sedd.Config, tmp_path: Path) -> None:
    found = sweep(base, {"training.batch_size": [8, 16]}, one_at_a_time=True, seeds=2, run=tmp_path)
    small, large = (found.trial(number).seeds[0] for number in (0, 1))
    assert (small.step, large.step) == (8, 4)
    assert large.residues == pytest.approx(small.residues, rel=0.2)
    assert rung_steps(8) == (2, 4, 8)
    assert rung_steps(1) == (1,)


@pytest.mark.parametrize("options", [{"seeds": 1}, {"trials": 0}, {"jobs": 0}, {"finalists": 0}], ids=str)
def test_numbers_out_of_range_are_refused(base: sedd.Config, tmp_path: Path, options: dict[str, int]) -> None:
    with pytest.raises(ConfigError):
        sweep(base, VARY, **{**FEW, **options}, run=tmp_path / "sweep")
    assert not (tmp_path / "sweep").exists()


def test_noise_without_mask_rates_in_common_is_refused(base: sedd.Config, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no mask rate"):
        sweep(base, {"noise.sigma_max": [1.0], "noise.sigma_min": [2.0]}, **FEW, run=tmp_path)


def test_without_optuna_the_message_names_the_extra_and_what_works(
    base: sedd.Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(SeddError, match=r"tune.*quasi-random"):
        sweep(base, VARY, run=tmp_path)


@pytest.mark.parametrize("mode", ["truncate", "bias", "scale"])
def test_whether_the_ramp_has_ended_is_known_in_every_mode(base: sedd.Config, mode: str) -> None:
    # `bias` draws all mask rates from the first step on, and its ramp goes on all the same.
    config = base.replace(curriculum={"mode": mode, "preschool_time": 6})
    assert [ramp_ended(config, step) for step in (0, 5, 6, 100)] == [False, False, True, True]
    assert ramp_ended(base.replace(curriculum={"difficulty_ramp": "constant"}), 0)


def test_trials_are_evaluated_at_every_rung_and_between_them_no_more_often_than_the_run_file_says(
    base: sedd.Config, tmp_path: Path
) -> None:
    every = {}
    for given in (1, 30, 50, 1000):
        config = base.replace(training={"n_iters": 500, "eval_every": given})
        setup = Setup(config, 500 * 8 * 16.0, (0.0, 1.0), tmp_path, 16.0)
        assert rung_steps(setup.steps(config)) == (125, 250, 500)
        every[given] = setup.config(Task(0, {}, 0, 0)).training.eval_every
    assert every == {1: 1, 30: 125, 50: 125, 1000: 125}
    assert divisor(625, 100) == 125
