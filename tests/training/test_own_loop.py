"""A loop of one's own within `recording` records, saves and resumes as `fit` does."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import sedd
from sedd.runs import checkpoint
from sedd.runs.metrics_record import MetricsRecord
from tests.training.test_trainer import contents, lines

QUICK = ("evaluation.sequences=8", "evaluation.train_sequences=4", "sampling.at_steps=[5]", "sampling.count=2")


def own_loop(trainer: sedd.Trainer, *, last: int = 99, error: BaseException | None = None) -> list[int]:
    seen = []
    with trainer.recording():
        for report in trainer.steps():
            seen.append(report.step)
            if report.step == last and error is not None:
                raise error
            if report.step == last:
                break
    return seen


def test_a_loop_of_ones_own_leaves_what_fit_leaves(tiny, tmp_path):
    config = tiny("model.dropout=0.1", *QUICK)
    fitted, own = (sedd.Trainer(config, run=tmp_path / name) for name in ("fitted", "own"))
    fitted.fit(progress=False)
    assert own_loop(own) == list(range(1, 9))
    assert contents(tmp_path / "fitted") == contents(tmp_path / "own")
    assert lines(tmp_path / "fitted") == lines(tmp_path / "own")
    assert own.verdict == fitted.verdict
    assert own.live is None


@pytest.mark.parametrize("how", ["left", "failed"])
def test_an_interrupted_loop_is_saved_and_equals_an_undisturbed_one_when_it_goes_on(tiny, tmp_path, how):
    config = tiny("model.dropout=0.1", "checkpoint.every=1000", *QUICK)
    own_loop(sedd.Trainer(config, run=tmp_path / "straight"))
    trainer = sedd.Trainer(config, run=tmp_path / "stopped")
    if how == "left":
        own_loop(trainer, last=5)
    else:
        with pytest.raises(KeyboardInterrupt):
            own_loop(trainer, last=5, error=KeyboardInterrupt())
    assert checkpoint.step_of(checkpoint.listing(trainer.run.checkpoints)[-1]) == 5
    own_loop(sedd.Trainer(config, run=tmp_path / "stopped", resume=True))
    assert contents(tmp_path / "straight") == contents(tmp_path / "stopped")
    assert lines(tmp_path / "straight") == lines(tmp_path / "stopped")


def test_numbers_of_ones_own_are_recorded_once_each_and_tracked(tiny, tmp_path):
    config = tiny("trackers=[csv]", "training.eval_every=1000", "checkpoint.every=3")
    trainer = sedd.Trainer(config, run=tmp_path / "run")

    def note(report: sedd.StepReport) -> None:
        trainer.log({"own": report.step, "other": torch.tensor(0.5), "third": np.float32(2.0), "fourth": float("nan")})

    trainer.fit(progress=False, until=4, on_step=note)
    (newest := checkpoint.listing(trainer.run.checkpoints)[-1]).rename(newest.with_name(".gone"))  # as if killed
    trainer = sedd.Trainer(config, run=tmp_path / "run", resume=True)
    assert trainer.state.step == 3
    with trainer.recording():
        for report in trainer.steps():
            note(report)
    found = [MetricsRecord.from_dict(line) for line in lines(tmp_path / "run") if line["kind"] == "metrics"]
    assert [(record.step, record.numbers["own"]) for record in found] == [(step, step) for step in range(1, 9)]
    assert found[0].numbers["other"] == 0.5
    assert np.isnan(found[0].numbers["fourth"])
    rows = (tmp_path / "run" / "metrics.csv").read_text().splitlines()
    assert [row for row in rows if ",own," in row] == [f"{step},own,{float(step)}" for step in range(1, 9)]


def test_what_is_no_number_or_comes_at_the_wrong_time_is_refused(tiny, tmp_path):
    trainer = sedd.Trainer(tiny(), run=tmp_path / "run")
    with pytest.raises(sedd.TrainingError):
        trainer.log({"own": 1.0})
    with trainer.recording():
        for wrong in ({"own": "1"}, {"step": 1}, {"": 1}, {"own": True}, {"own": torch.zeros(2)}, 5, {3: 1}):
            with pytest.raises(sedd.ConfigError):
                trainer.log(wrong)
        with pytest.raises(sedd.TrainingError):
            trainer.fit()
        next(trainer.steps())
    assert [line["kind"] for line in lines(tmp_path / "run")].count("metrics") == 0
    assert checkpoint.step_of(checkpoint.listing(trainer.run.checkpoints)[-1]) == 1


def test_a_second_process_cannot_record_the_same_run(tiny, tmp_path):
    first, second = (sedd.Trainer(tiny(), run=tmp_path / "run") for _ in range(2))
    with first.recording(), pytest.raises(sedd.CheckpointError), second.recording():
        pass
