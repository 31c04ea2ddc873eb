"""Records of the metrics file: what is written is read back, and reading a file takes time linear in its lines."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest

import sedd
from sedd.diffusion.loss_profile import BINS, LossProfile
from sedd.runs.bound_record import INTEGRAL
from sedd.runs.history import History, RecordError
from sedd.runs.metrics import (
    BoundRecord,
    DataRecord,
    EvaluatedRecord,
    RollbackRecord,
    SamplesRecord,
    SkippedRecord,
    TrainRecord,
    padded,
)
from sedd.runs.state import TrainState, Window
from sedd.runs.step_report import StepReport


def report(**changes) -> StepReport:
    numbers = {
        "step": 1, "loss": 1.0, "difficulty": 0.5, "mask_rate": 0.2, "mask_rate_max": 0.5, "grad_norm": 2.0, "lr": 1e-3,
        "residues": 100, "residues_per_second": 50.0, "skipped": False, "skipped_total": 3,
    } | changes  # fmt: skip
    return StepReport(**numbers)


def written(record) -> dict:
    """The record after a trip through the file."""
    return json.loads(json.dumps(record.to_dict(), allow_nan=False))


@pytest.fixture(scope="module")
def lines(tmp_path_factory) -> list[dict]:
    """The metrics of a short run with samples."""
    run = tmp_path_factory.mktemp("runs") / "run"
    config = sedd.load_config(
        "quickstart", "training.n_iters=8", "training.log_every=2", "training.eval_every=4", "optim.warmup=1",
        "curriculum.preschool_time=4", "data.synthetic.sequences=300", "model.n_blocks=1", "evaluation.sequences=8",
        "device.type=cpu", "sampling.at_steps=[4]", "sampling.count=4", "sampling.steps=2",
    )  # fmt: skip
    sedd.Trainer(config, run=run).fit(progress=False)
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


def test_every_line_of_a_run_is_read_into_a_record_that_writes_the_same_line(lines):
    previous = None
    kinds = set()
    for line in lines:
        kinds.add(line["kind"])
        match line["kind"]:
            case "train":
                record = previous = TrainRecord.from_dict(line, previous)
                expected = line | {"mask_rate": pytest.approx(line["mask_rate"], rel=1e-6)}  # from seven digits
            case "bound":
                record, expected = BoundRecord.from_dict(line), line
            case "data":
                record, expected = DataRecord.from_dict(line), line
            case "evaluated":
                record, expected = EvaluatedRecord.from_dict(line), line
            case "samples":
                record, expected = SamplesRecord.from_dict(line), line
        assert record.to_dict() == expected
        assert list(record.to_dict()) == list(line)
    assert kinds == {"data", "evaluated", "train", "bound", "samples"}


def test_skipped_steps_and_rollbacks_are_read_back():
    skip, back = SkippedRecord(4, 2), RollbackRecord(4, 8, 0.5, 1, {"kind": "alarm", "numbers": {"since": 5.0}})
    assert SkippedRecord.from_dict(written(skip)) == skip
    assert RollbackRecord.from_dict(written(back)) == back


def test_a_train_record_sums_up_the_window():
    bins = LossProfile(100.0, *(np.arange(BINS) / BINS for _ in range(4)))
    state = TrainState(step=2, residues=500, seconds=9.0, skipped=3)
    window = Window()
    for step, norm in ((1, 4.0), (2, 2.0)):
        window = window.add(report(step=step, grad_norm=norm, bins=bins, token_counts=(30, 70)))
    window = window.add(report(skipped=True, grad_norm=np.nan))
    state = TrainState(**vars(state) | {"window": window})
    record = TrainRecord.of(report(step=2), state, np.array([30, 70]), {"peak": 5})
    assert (record.grad_norm, record.grad_norm_max) == (3.0, 4.0)
    assert record.residues_per_second == pytest.approx(200 / 4.0)
    assert record.loss == pytest.approx(bins.loss.sum() / 100)
    assert record.token_divergence == pytest.approx(0.0, abs=1e-4)
    assert written(record)["memory_peak"] == 5
    assert sum(written(record)["by_mask_rate_loss"]) == pytest.approx(record.loss, rel=1e-6)
    alone = TrainRecord.from_dict(written(record) | {"residues": 200}, None)
    np.testing.assert_allclose(alone.bins.loss, 2 * bins.loss, rtol=1e-6)
    later = TrainRecord.from_dict(written(record) | {"residues": 350}, alone)
    assert later.bins.residues == 150
    np.testing.assert_allclose(later.bins.loss, 1.5 * bins.loss, rtol=1e-6)


def test_a_train_record_is_of_the_steps_since_the_one_before(tiny, tmp_path):
    trainer = sedd.Trainer(tiny("training.eval_every=1000"), run=tmp_path / "run")
    with trainer.recording():
        reports = list(trainer.steps())
    records = [line for line in trainer.run.read_metrics() if line["kind"] == "train"]
    assert [record["step"] for record in records] == [3, 6, 8]
    for record, part in zip(records, (reports[:3], reports[3:6], reports[6:]), strict=True):
        residues, norms = [of.residues for of in part], [of.grad_norm for of in part]
        assert record["loss"] == pytest.approx(np.average([of.loss for of in part], weights=residues), rel=1e-5)
        assert record["grad_norm"] == pytest.approx(np.mean(norms), rel=1e-5)
        assert record["grad_norm_max"] == pytest.approx(max(norms), rel=1e-5)


def test_a_bound_that_is_not_finite_is_left_out_of_its_line():
    bound = sedd.Bound(np.inf, np.inf, np.inf, 4, 40, 0, (1.0, None), (0.1,), (0.1,))
    line = BoundRecord.of(report(bound=bound), TrainState()).to_dict()
    assert {"bound_nats", "bound_stderr", "bound_trained", "bound_bits"}.isdisjoint(line)
    read = BoundRecord.from_dict(line)
    assert (read.nats, read.stderr, read.sequences, read.held_out_residues) == (np.inf, np.inf, 4, 40)
    with pytest.raises(ValueError):  # noqa: PT011  # raised for one reason
        BoundRecord.of(report(), TrainState())


def test_a_probe_that_is_not_finite_is_read_back():
    bound = sedd.Bound(2.0, 0.1, 1.5, 3, 40, 0, (1.0, None), (0.1,), (0.1,), (0.2, None), (1.0, np.nan, 0.0))
    record = BoundRecord.of(report(bound=bound, probe=bound, probe_raw=None), TrainState(), ema_initial_share=0.25)
    read = BoundRecord.from_dict(written(record))
    assert read.ema_initial_share == 0.25
    assert read.probe_raw is None
    for recorded in (read.held_out, read.probe):
        assert (recorded.nats, recorded.stderr, recorded.sequences, recorded.residues) == (2.0, 0.1, 3, 40)
        np.testing.assert_array_equal(recorded.by_sequence, [1.0, np.nan, 0.0])
        assert recorded.profile[0] == 1.0
        assert recorded.profile_stderr[0] == 0.2
        assert np.isnan(recorded.profile[1:]).all()
        assert np.isnan(recorded.profile_stderr[1:]).all()


def test_lines_of_an_old_version_are_read(lines):
    new = ("by_sequence", "profile_stderr")
    for line in lines:
        if line["kind"] == "bound":
            old = {key: value for key, value in line.items() if not key.startswith(("probe_", "ema_"))}
            old = {key: value for key, value in old.items() if not key.endswith(new)}
            bound = BoundRecord.from_dict(old)
            assert bound.to_dict() == old | {"bound_by_sequence": [], "bound_profile_stderr": []}
            assert (bound.probe, bound.probe_raw, bound.ema_initial_share) == (None, None, None)
            assert len(bound.by_sequence) == 0
        if line["kind"] == "data":
            old = {key: value for key, value in line.items() if not key.startswith("held_out")}
            data = DataRecord.from_dict(old)
            assert data.to_dict() == old
            assert (data.held_out_mean_length, data.held_out_sequences) == (None, None)
    history = History()
    for line in lines:
        if line["kind"] != "evaluated":
            history.append(line)
    assert history.evaluated is None


def test_lists_by_mask_rate_are_padded():
    assert padded([1.0, None]).tolist() == [1.0] + [0.0] * (BINS - 1)
    assert np.isnan(padded([1.0, None], missing=np.nan)[1:]).all()


def test_appending_to_a_history_copies_nothing(lines):
    history = History()
    for line in lines:
        history.append(line)
    held = history.lines
    history.append(lines[-2] | {"step": 9} if lines[-2]["kind"] == "train" else lines[1])
    assert history.lines is held


def test_a_line_of_another_program_is_named(tmp_path: Path):
    file = tmp_path / "metrics.jsonl"
    file.write_text('{"kind": "skipped", "step": 1, "skipped": 1}\n{"step": 2}\n')
    with pytest.raises(sedd.CheckpointError) as caught:
        History.read(tmp_path)
    assert str(caught.value).startswith(f"{file}:2:")


@pytest.mark.parametrize("value", [[1.0] * (BINS + 1), ["x"], "text", 3, [[1.0]]])
def test_a_list_of_another_kind_is_a_damaged_line(value):
    line = {"kind": "bound", "step": 3, "residues": 9} | {f"bound_{name}": [] for name in INTEGRAL}
    History().append(line)
    with pytest.raises(RecordError):
        History().append(line | {f"bound_{INTEGRAL[0]}": value})


def test_the_best_bound_is_the_lowest():
    state = TrainState()
    for step, nats in ((1, 2.0), (2, 1.5), (3, 1.7), (4, math.nan)):
        state = state.with_bound(step, nats)
    assert (state.best_step, state.best_bound) == (2, 1.5)
