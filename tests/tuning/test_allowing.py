"""Changing the configuration of a run on purpose when it goes on."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

import sedd
from sedd.data import Batches, Cursor
from sedd.errors import CheckpointError, ConfigError
from sedd.runs.directory import RunDirectory
from tests.cli.commands import failed, sedd_
from tests.conftest import TINY


@pytest.fixture(scope="module")
def half(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("half") / "run"
    sedd.Trainer(sedd.load_config("quickstart", *TINY), run=path).fit(until=4, progress=False)
    return path


@pytest.fixture
def run(half: Path, tmp_path: Path) -> Path:
    shutil.copytree(half, tmp_path / "run")
    return tmp_path / "run"


def test_a_longer_run_with_another_learning_rate_goes_on_and_says_so(run):
    overrides = ("training.n_iters=12", "optim.lr=0.0005")
    sedd_("train", "--resume", "--run", run, *overrides, "--allow", "training.n_iters,optim.lr", "--samples", "0")
    history = RunDirectory(run).history()
    (change,) = history.changes
    assert change.step == 4
    assert change.changes == {"training.n_iters": [8, 12], "optim.lr": [0.002, 0.0005]}
    assert history.lines[-1].step == 12
    assert sedd.load_config(run / "config.yaml").training.n_iters == 12
    # The first part was trained with the old values, and a run that goes on needs no permission any more.
    assert sedd.Trainer(sedd.load_config(run / "config.yaml"), run=run, resume=True).state.step == 12
    report = run / "report.html"
    sedd_("report", run, "--out", report)
    assert "optim.lr from 0.002 to 0.0005" in report.read_text()


def test_an_interruption_before_the_next_checkpoint_needs_no_second_permission(run):
    config = sedd.load_config(run / "config.yaml", "optim.lr=0.0005")
    with pytest.raises(KeyboardInterrupt):
        _interrupted(sedd.Trainer(config, run=run, resume=True, allow=["optim.lr"]))
    resumed = sedd.Trainer(config, run=run, resume=True)
    assert resumed.state.step == 4
    resumed.fit(progress=False)
    assert len(resumed.run.history().changes) == 1


def _interrupted(trainer: sedd.Trainer) -> None:
    def interrupt(*arguments: object, **options: object) -> None:
        raise KeyboardInterrupt

    trainer.train_step.gradient = interrupt
    trainer.fit(progress=False)


def test_without_permission_nothing_changes(run, monkeypatch, capsys):
    before = (run / "config.yaml").read_text()
    said = failed(monkeypatch, capsys, "train", "--resume", "--run", run, "optim.lr=0.1")
    assert "--allow optim.lr" in " ".join(said.split())
    said = failed(
        monkeypatch, capsys, "train", "--resume", "--run", run, "optim.lr=0.1", "seed=3", "--allow", "optim.lr"
    )
    assert "seed" in said
    assert "--allow" not in said
    assert (run / "config.yaml").read_text() == before


@pytest.mark.parametrize("key", ["model.n_blocks", "seed", "optim.leraning_rate", "data.train", "training.init_from"])
def test_what_cannot_change_is_refused(run, key):
    with pytest.raises(ConfigError) as caught:
        sedd.Trainer(sedd.load_config(run / "config.yaml"), run=run, resume=True, allow=[key])
    assert caught.value.keys == (key,)


def test_a_section_is_allowed_as_a_whole(run):
    config = sedd.load_config(run / "config.yaml", "curriculum.preschool_time=6")
    with pytest.raises(CheckpointError):
        sedd.Trainer(config, run=run, resume=True, allow=["optim"])
    assert sedd.Trainer(config, run=run, resume=True, allow=["curriculum"]).state.step == 4


@pytest.mark.parametrize(("before", "after"), [(8, 12), (12, 8), (5, 32), (32, 5)])
def test_no_sample_is_used_twice_after_another_batch_size(before, after):
    source = [np.zeros(length % 13 + 2, np.int64) for length in range(500)]
    plans = [Batches(source, seed=3, batch_size=size, max_length=20, window=4) for size in (before, after)]
    cursor, used = Cursor(), set()
    for _ in range(7):
        batch, cursor = plans[0].at(cursor)
        used |= set(batch.samples.tolist())
    cursor = plans[1].after(cursor, plans[0])
    batch, _ = plans[1].at(cursor)
    first = min(plans[1].at(Cursor(cursor.window, at))[0].samples.min() for at in range(4))
    assert first > max(used)
    assert first - max(used) <= plans[1].window_samples
    assert not used & set(batch.samples.tolist())


def test_a_run_goes_on_with_another_batch_size(run):
    config = sedd.load_config(run / "config.yaml", "training.batch_size=4", "training.accum=3")
    trainer = sedd.Trainer(config, run=run, resume=True, allow=["training.batch_size", "training.accum"])
    assert trainer.state.cursor.batch == 0
    trainer.fit(progress=False)
    assert trainer.state.step == 8
