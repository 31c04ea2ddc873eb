"""A callback receives every step, may end the run as if it were finished, and its errors save the run."""

from __future__ import annotations

import pytest

import sedd
from sedd.runs import checkpoint
from sedd.runs.stopped_record import StoppedRecord
from tests.training.test_trainer import Brittle, contents, lines


def test_the_callback_receives_each_report_after_it_is_recorded(tiny, tmp_path):
    trainer = sedd.Trainer(tiny("training.log_every=1"), model=Brittle({3}), run=tmp_path / "run")
    seen = []

    def look(report: sedd.StepReport) -> None:
        recorded = {line["step"] for line in trainer.run.read_metrics() if line["kind"] in ("train", "skipped")}
        seen.append((report.step, report.skipped, report.step in recorded, trainer.state.pending))

    trainer.fit(progress=False, on_step=look)
    assert seen == [(step, step == 3, True, None) for step in range(1, 9)]


def test_stop_ends_the_run_with_a_checkpoint_and_a_verdict_and_it_resumes_exactly(tiny, tmp_path):
    config = tiny("checkpoint.every=1000", "training.eval_every=1000")
    straight = sedd.Trainer(config, run=tmp_path / "straight")
    straight.fit(progress=False)
    trainer = sedd.Trainer(config, run=tmp_path / "stopped")
    bound = trainer.fit(progress=False, on_step=lambda report: "stop" if report.step == 5 else None)
    assert trainer.state.step == 5
    assert bound == trainer.evaluate()
    assert trainer.verdict is not None
    assert [path.name for path in checkpoint.listing(trainer.run.checkpoints)] == ["step-00000005"]
    assert trainer.run.history().ended == StoppedRecord(5, "on_step")
    sedd.Trainer(config, run=tmp_path / "stopped", resume=True).fit(progress=False)
    assert trainer.run.history().ended is None
    assert contents(tmp_path / "straight") == contents(tmp_path / "stopped")
    others = [line for line in lines(tmp_path / "stopped") if line["kind"] != "stopped"]
    assert others == lines(tmp_path / "straight")
    assert len(others) == len(lines(tmp_path / "stopped")) - 1


def test_a_stop_at_the_last_step_is_no_stop(tiny, tmp_path):
    trainer = sedd.Trainer(tiny(), run=tmp_path / "run")
    trainer.fit(progress=False, on_step=lambda report: "stop" if report.step == 8 else None)
    assert trainer.run.history().ended is None
    assert trainer.state.step == 8


@pytest.mark.parametrize(("answer", "error"), [(ZeroDivisionError(), ZeroDivisionError), (True, sedd.ConfigError)])
def test_an_error_in_the_callback_saves_the_run_and_is_raised(tiny, tmp_path, answer, error):
    trainer = sedd.Trainer(tiny("checkpoint.every=1000", "training.eval_every=1000"), run=tmp_path / "run")

    def fails(report: sedd.StepReport) -> bool:
        if isinstance(answer, Exception):
            raise answer
        return answer

    with pytest.raises(error) as caught:
        trainer.fit(progress=False, on_step=lambda report: fails(report) if report.step == 5 else None)
    (path,) = checkpoint.listing(trainer.run.checkpoints)
    assert checkpoint.step_of(path) == 5
    assert str(path) in "".join(caught.value.__notes__)
    trainer.fit(progress=False)
    assert trainer.state.step == 8
