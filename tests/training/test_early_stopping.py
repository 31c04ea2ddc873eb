"""A run whose held-out bound no longer improves ends, also if it was interrupted in between."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

import sedd
from sedd.report.contents import gather
from sedd.report.key_numbers import key_numbers
from sedd.runs.history import History
from sedd.runs.metrics import BoundRecord
from sedd.runs.stopped_record import StoppedRecord
from sedd.training.early_stopping import early_stop
from tests.training.test_trainer import contents, lines

RISES = (
    "training.n_iters=12", "training.eval_every=2", "curriculum.preschool_time=2", "evaluation.sequences=16",
    "evaluation.train_sequences=0", "checkpoint.every=1000", "optim.lr=1e-3", "lr_schedule.type=constant",
    "training.early_stopping.patience=2", "training.early_stopping.min_delta=0.5",
)  # fmt: skip
"""A run that learns less than it has to, and is evaluated at every second step."""


def history_of(bounds: list[float], every: int = 100) -> History:
    none = np.zeros(0)
    records = [
        BoundRecord(every * number, nats, 0.1, 0, 0.0, none, none, none) for number, nats in enumerate(bounds, 1)
    ]
    return History(bounds=records)


CASES = {
    "improves": ([3.0, 2.9, 2.8, 2.7], None),
    "stands": ([3.0, 2.9, 2.9, 2.95], (400, 2, 200)),
    "improves by too little": ([3.0, 2.96, 2.92, 2.89], None),
    "never by enough": ([3.0, 2.96, 2.955], (300, 2, 100)),
    "not finite": ([3.0, np.inf, np.nan], (300, 2, 100)),
    "never finite": ([np.inf, np.inf], (200, 2, None)),
    "improves again": ([3.0, 3.1, 2.9, 3.1, 2.8], None),
}


@pytest.mark.parametrize(("bounds", "expected"), CASES.values(), ids=CASES)
def test_the_rule_counts_evaluations_in_a_row_without_an_improvement(bounds, expected):
    config = sedd.Config(training={"early_stopping": {"patience": 2, "min_delta": 0.05}})
    stop = early_stop(config, history_of(bounds))
    assert (stop and (stop.step, stop.evaluations, stop.best_step)) == expected


def test_evaluations_before_full_difficulty_do_not_count():
    config = sedd.Config(
        training={"n_iters": 1000, "early_stopping": {"patience": 2}}, curriculum={"preschool_time": 300},
        optim={"warmup": 10},
    )  # fmt: skip
    assert early_stop(config, history_of([3.0, 3.1, 3.1])) is None
    assert early_stop(config, history_of([3.0, 3.1, 3.1, 3.2])).step == 400


def test_it_is_off_by_default():
    assert early_stop(sedd.Config(), history_of([3.0] * 50)) is None


def test_a_run_that_no_longer_improves_ends_and_says_so(tiny, tmp_path):
    trainer = sedd.Trainer(tiny(*RISES), run=tmp_path / "run")
    bound = trainer.fit(progress=False)
    assert trainer.state.step == 6
    ended = trainer.run.history().ended
    assert (ended.step, ended.reason, ended.evaluations, ended.best_step) == (6, "early_stopping", 2, 2)
    first, last = trainer.run.history().bounds[0], trainer.run.history().bounds[-1]
    assert ended.best_nats == first.nats
    assert ended.above_best_nats == pytest.approx(last.nats - first.nats, abs=1e-5)
    assert 0.0 < ended.above_best_half_width < 0.1
    assert bound.nats == pytest.approx(last.nats)
    assert ended.sentence in str(sedd.diagnose(tmp_path / "run"))
    assert ended.sentence in key_numbers(gather(tmp_path / "run"))[0].note
    before = (tmp_path / "run" / "metrics.jsonl").read_bytes()
    again = sedd.Trainer(tiny(*RISES), run=tmp_path / "run", resume=True)
    again.fit(progress=False)  # it is finished: nothing more happens
    assert again.state.step == 6
    assert (tmp_path / "run" / "metrics.jsonl").read_bytes() == before
    longer = sedd.Trainer(tiny(*RISES, "training.early_stopping.patience=3"), run=tmp_path / "run", resume=True)
    longer.fit(progress=False)
    assert longer.state.step == 8


def test_the_last_step_is_no_early_stop(tiny, tmp_path):
    trainer = sedd.Trainer(tiny(*RISES, "training.n_iters=6"), run=tmp_path / "run")
    trainer.fit(progress=False)
    assert trainer.state.step == 6
    assert trainer.run.history().ended is None


def test_a_resumed_run_goes_on_counting(tiny, tmp_path):
    for name in ("straight", "stopped"):
        sedd.Trainer(tiny(*RISES), run=tmp_path / name).fit(progress=False, until=None if name == "straight" else 5)
    sedd.Trainer(tiny(*RISES), run=tmp_path / "stopped", resume=True).fit(progress=False)
    assert contents(tmp_path / "straight") == contents(tmp_path / "stopped")
    assert lines(tmp_path / "straight") == lines(tmp_path / "stopped")


def test_the_record_reads_itself_back():
    record = StoppedRecord(6, "early_stopping", 2, 4, 2.5, 0.01, 0.25, 0.125)
    assert StoppedRecord.from_dict(record.to_dict()) == record
    assert StoppedRecord.from_dict(replace(record, best_nats=None).to_dict()).best_nats is None
