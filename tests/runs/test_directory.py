"""A run directory belongs to one configuration and is never overwritten."""

from __future__ import annotations

import contextlib
import json
import os
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import pytest

import sedd
from sedd import files
from sedd.runs.directory import RunDirectory
from tests.training.test_trainer import Brittle


def test_a_run_is_not_overwritten_without_resume(tiny, tmp_path):
    sedd.Trainer(tiny(), run=tmp_path / "run").fit(progress=False)
    with pytest.raises(sedd.CheckpointError) as caught:
        sedd.Trainer(tiny(), run=tmp_path / "run")
    assert caught.value.file == tmp_path / "run"


def test_a_run_that_never_trained_is_begun_anew(tiny, tmp_path):
    RunDirectory(tmp_path / "run").begin(tiny(), resume=False)
    sedd.Trainer(tiny("optim.lr=1e-4"), run=tmp_path / "run").fit(progress=False)


def test_a_file_in_the_way_and_a_damaged_configuration_are_clear_errors(tiny, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(sedd.CheckpointError) as caught:
        sedd.Trainer(tiny(), run=tmp_path / "file")
    assert caught.value.file == tmp_path / "file"
    sedd.Trainer(tiny(), run=tmp_path / "run").fit(progress=False)
    (tmp_path / "run" / "config.yaml").write_text("{[")
    with pytest.raises(sedd.CheckpointError) as caught:
        sedd.Trainer(tiny(), run=tmp_path / "run", resume=True)
    assert caught.value.file == tmp_path / "run" / "config.yaml"


def test_two_processes_cannot_train_one_run(tiny, tmp_path):
    trainer = sedd.Trainer(tiny(), run=tmp_path / "run")
    trainer.run.begin(trainer.config, resume=False)
    busy = pytest.raises(sedd.CheckpointError)
    with trainer.run.lock(), busy:
        trainer.fit(progress=False)
    trainer.fit(progress=False)
    with trainer.run.lock(), busy:
        sedd.Trainer(tiny(), run=tmp_path / "run", resume=True)


def test_an_interruption_while_the_lock_is_taken_leaves_it_free(tmp_path, monkeypatch):
    flock = files.fcntl.flock

    def interrupted(file, operation):
        flock(file, operation)
        raise KeyboardInterrupt

    run = RunDirectory(tmp_path)
    with monkeypatch.context() as patched:
        patched.setattr(files.fcntl, "flock", interrupted)
        with contextlib.suppress(KeyboardInterrupt):
            run.lock().__enter__()
    with run.lock():
        pass


def test_a_damaged_line_of_the_metrics_is_named_and_nothing_is_dropped(tiny, tmp_path):
    run = RunDirectory(tmp_path)
    run.metrics_file.write_text('{"step": 1}\n{"st\n{"step": 3}\n')
    with pytest.raises(sedd.CheckpointError) as caught:
        run.rewind(5, 0)
    assert (caught.value.file, caught.value.line) == (run.metrics_file, 2)
    assert run.metrics_file.read_text().count("\n") == 3


@pytest.mark.parametrize("line", ['{"stop": 1}', '{"step": "1"}', "5", "null", '{"step": 1, "kind": "train"}'])
def test_a_line_of_the_metrics_that_is_no_record_is_named_when_a_run_goes_on(tiny, tmp_path, line):
    trainer = sedd.Trainer(tiny(), run=tmp_path / "run")
    trainer.fit(until=4, progress=False)
    first, *rest = trainer.run.metrics_file.read_text().splitlines()
    trainer.run.metrics_file.write_text("\n".join([first, line, *rest]) + "\n")
    with pytest.raises(sedd.CheckpointError) as caught:
        trainer.fit(progress=False)
    assert (caught.value.file, caught.value.line) == (trainer.run.metrics_file, 2)


def test_runs_begun_in_the_same_second_have_different_directories(tmp_path):
    names = [RunDirectory.fresh(tmp_path) for _ in range(4)]  # all before the first one is made
    with ThreadPoolExecutor(4) as threads:
        claimed = [run.path for run in threads.map(RunDirectory.claim, names)]
    assert len(set(claimed)) == 4
    assert all(path.is_dir() for path in claimed)
    assert RunDirectory.fresh(tmp_path).path not in claimed


def test_trainers_made_in_the_same_second_train_in_directories_of_their_own(tiny, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    trainers = [sedd.Trainer(tiny(f"optim.lr={lr}")) for lr in (1e-3, 1e-4)]
    assert not (tmp_path / "runs").exists()  # nothing is written before `fit`
    for trainer in trainers:
        trainer.fit(progress=False)
    assert trainers[0].run.path != trainers[1].run.path
    for trainer in trainers:
        assert RunDirectory(trainer.run.path).config()["optim"]["lr"] == trainer.config.optim.lr


def test_a_directory_that_the_user_named_is_not_renamed(tmp_path):
    (tmp_path / "mine").mkdir()
    assert RunDirectory(tmp_path / "mine").claim().path == tmp_path / "mine"


@pytest.mark.parametrize("left", [(".lock",), ("config.yaml.new",), (".lock", "config.yaml.new")])
def test_what_a_begin_that_died_leaves_does_not_refuse_the_next(tiny, tmp_path, left):
    (tmp_path / "run").mkdir()
    for name in left:
        (tmp_path / "run" / name).write_bytes(b"torn")
    sedd.Trainer(tiny(), run=tmp_path / "run").fit(progress=False)
    assert not list((tmp_path / "run").glob("*.new"))


def test_the_lock_comes_before_the_first_write(tiny, tmp_path):
    mine = sedd.Trainer(tiny(), run=tmp_path / "run")
    other = RunDirectory(tmp_path / "run")
    with other.lock(), pytest.raises(sedd.CheckpointError):
        mine.fit(progress=False)
    assert [path.name for path in (tmp_path / "run").iterdir()] == []


def test_a_run_that_another_process_has_trained_meanwhile_is_not_overwritten(tiny, tmp_path):
    late, resumed = (sedd.Trainer(tiny(), run=tmp_path / "run", resume=resume) for resume in (False, True))
    sedd.Trainer(tiny(), run=tmp_path / "run").fit(progress=False)
    before = (tmp_path / "run" / "metrics.jsonl").read_bytes()
    for trainer in (late, resumed):
        with pytest.raises(sedd.CheckpointError) as caught:
            trainer.fit(progress=False)
        assert caught.value.file == tmp_path / "run"
    assert (tmp_path / "run" / "metrics.jsonl").read_bytes() == before


@pytest.mark.skipif(not hasattr(os, "symlink"), reason="no symbolic links")
@pytest.mark.parametrize("name", ["metrics.jsonl", ".lock", "config.yaml.new", "environment.json.new"])
def test_a_link_in_a_run_directory_redirects_no_write(tiny, tmp_path, name):
    precious = tmp_path / "precious"
    precious.write_text("precious")
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / name).symlink_to(precious)
    with suppress(sedd.SeddError, OSError):
        sedd.Trainer(tiny(), run=tmp_path / "run").fit(progress=False)
    assert precious.read_text() == "precious"


def test_another_network_is_refused_when_resuming(tiny, tmp_path):
    sedd.Trainer(tiny(), run=tmp_path / "run").fit(progress=False)
    with pytest.raises(sedd.CheckpointError):
        sedd.Trainer(tiny(), run=tmp_path / "run", resume=True, model=Brittle(set()))


def test_a_directory_with_something_else_in_it_is_left_alone(tiny, tmp_path):
    (tmp_path / "thesis.tex").write_text("important")
    with pytest.raises(sedd.CheckpointError):
        RunDirectory(tmp_path).begin(tiny(), resume=False)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_another_configuration_is_refused_with_every_difference(tiny, tmp_path):
    sedd.Trainer(tiny(), run=tmp_path / "run").fit(progress=False)
    with pytest.raises(sedd.CheckpointError) as caught:
        sedd.Trainer(tiny("optim.lr=1e-4", "noise.type=cosine"), run=tmp_path / "run", resume=True)
    _, *differences, _ = str(caught.value).splitlines()
    assert "0.002 in the run, 0.0001 now" in differences[-1]
    keys = {line.partition(":")[0].strip() for line in differences}
    assert keys == {"optim.lr", "noise.type", "noise.sigma_min"}  # the last is a default of the other noise


def test_keys_without_effect_on_training_may_change_when_resuming(tiny, tmp_path):
    sedd.Trainer(tiny(), run=tmp_path / "run").fit(progress=False)
    changed = tiny("training.log_every=1", "checkpoint.keep=5", "sampling.steps=9", "trackers=[csv]")
    assert sedd.Trainer(changed, run=tmp_path / "run", resume=True).state.step == 8


def test_other_data_is_refused_when_resuming(tiny, tmp_path):
    items = [[1, 2, 3], [4, 5], [6, 7, 8], [9]]
    sedd.Trainer(tiny(), run=tmp_path / "run", data=items).fit(progress=False)
    shuffled = [item[::-1] for item in items]  # the same token counts, in another order
    for other in ([*items, [3, 3]], shuffled):
        with pytest.raises(sedd.CheckpointError):
            sedd.Trainer(tiny(), run=tmp_path / "run", data=other, resume=True)


def test_a_finished_run_that_is_resumed_stays_as_it_is(tiny, tmp_path):
    first = sedd.Trainer(tiny(), run=tmp_path / "run").fit(progress=False)
    before = (tmp_path / "run" / "metrics.jsonl").read_text()
    again = sedd.Trainer(tiny(), run=tmp_path / "run", resume=True).fit(progress=False)
    assert again == first
    assert (tmp_path / "run" / "metrics.jsonl").read_text() == before


def test_a_run_is_read_without_its_plugins_from_its_directory(tiny, tmp_path):
    trainer = sedd.Trainer(tiny(), run=tmp_path / "run")
    trainer.fit(progress=False)
    run = RunDirectory(tmp_path / "run")
    config = json.loads(json.dumps(run.config()))
    assert config == trainer.config.to_dict()
    run.config_file.write_text(json.dumps(config | {"noise": {"type": "alien"}}))  # JSON is YAML
    assert run.config()["noise"] == {"type": "alien"}
    assert run.environment()["compiled"] == "no"
    assert run.fingerprint() == trainer.data.fingerprint
    assert run.history().steps[-1] == 8
    record = run.data_record()
    assert record is not None
    assert list(record.token_counts) == trainer.data.token_counts.tolist()
    assert record.sequences == len(trainer.data.train)


def test_a_directory_without_files_has_no_metrics_no_environment_and_no_fingerprint(tmp_path):
    run = RunDirectory(tmp_path)
    assert (run.read_metrics(), run.environment(), run.fingerprint(), run.data_record()) == ([], {}, {}, None)
    for read in (run.config, run.history):
        with pytest.raises(sedd.CheckpointError):
            read()
    run.config_file.write_text("- a list")
    with pytest.raises(sedd.CheckpointError) as caught:
        run.config()
    assert caught.value.file == run.config_file


def test_fit_goes_on_where_an_interrupted_fit_of_the_same_trainer_stopped(tiny, tmp_path, monkeypatch):
    trainer = sedd.Trainer(tiny(), run=tmp_path / "run")
    step = trainer.train_step.update

    def interrupted(*arguments, **options):
        if trainer.state.step == 5:
            monkeypatch.setattr(trainer.train_step, "update", step)
            raise KeyboardInterrupt
        return step(*arguments, **options)

    monkeypatch.setattr(trainer.train_step, "update", interrupted)
    with pytest.raises(KeyboardInterrupt):
        trainer.fit(progress=False)
    trainer.fit(progress=False)
    assert trainer.state.step == 8


def test_resume_without_a_run_starts_one(tiny, tmp_path):
    trainer = sedd.Trainer(tiny(), run=tmp_path / "new", resume=True)
    trainer.fit(progress=False)
    assert trainer.state.step == 8


def test_a_damaged_newest_checkpoint_costs_only_the_steps_since_the_one_before(tiny, tmp_path):
    straight = sedd.Trainer(tiny(), run=tmp_path / "straight")
    straight.fit(progress=False)
    sedd.Trainer(tiny(), run=tmp_path / "run").fit(progress=False)
    (tmp_path / "run" / "checkpoints" / "step-00000008" / "optimizer.safetensors").write_bytes(b"torn")
    with pytest.warns(sedd.SeddWarning):
        again = sedd.Trainer(tiny(), run=tmp_path / "run", resume=True)
    assert again.state.step == 4
    assert again.fit(progress=False) == straight.evaluate()


def test_the_csv_tracker_receives_what_is_logged(tiny, tmp_path):
    sedd.Trainer(tiny("trackers=[csv]"), run=tmp_path / "run").fit(progress=False)
    rows = (tmp_path / "run" / "metrics.csv").read_text().splitlines()
    assert rows[0] == "step,name,value"
    assert any(row.startswith("3,loss,") for row in rows)
    assert any(row.startswith("4,bound_nats,") for row in rows)


def test_the_tensorboard_tracker_writes_events(tiny, tmp_path):
    pytest.importorskip("tensorboard", reason="the extra `tensorboard` is not installed")
    sedd.Trainer(tiny("trackers=[tensorboard]"), run=tmp_path / "run").fit(progress=False)
    assert list((tmp_path / "run" / "tensorboard").glob("events*"))


def test_a_tracker_that_fails_is_closed_once_and_training_goes_on(tiny, tmp_path):
    closed = []

    class Recorder(sedd.Tracker):
        """Fails to log."""

        type: str = "recorder"

        def open(self, run, config):
            return "session"

        def log(self, session, step, metrics):
            raise RuntimeError("the tracker is down")

        def close(self, session):
            closed.append(session)

    config = tiny().replace(trackers=[Recorder()])
    trainer = sedd.Trainer(config, run=tmp_path / "run")
    with pytest.warns(sedd.SeddWarning):
        trainer.fit(progress=False)
    assert trainer.state.step == 8
    assert closed == ["session"]
