"""Logs in JSON, of Hugging Face and TensorBoard; compressed ones, and logs in directories."""

from __future__ import annotations

import bz2
import gzip
import json
import math
import sys
from pathlib import Path

import pytest

import sedd
from sedd.diagnosis.logs import open_log, read_log
from tests.diagnosis.logs import LOSSES, PLAIN, STEPS, is_plain, read, written

RECORDS = [{"step": step, "loss": loss} for step, loss in zip(STEPS, LOSSES, strict=True)]
JSON_LINES = "".join(json.dumps(record) + "\n" for record in RECORDS)
HISTORY = [
    {"epoch": 0.1, "grad_norm": 1.5, "learning_rate": 1e-4, "loss": 2.9, "step": 0},
    {"epoch": 0.2, "grad_norm": math.nan, "learning_rate": 2e-4, "loss": 2.8, "step": 500},
    {"epoch": 0.2, "eval_loss": 2.95, "eval_runtime": 1.0, "step": 500},
    {"epoch": 0.3, "loss": 2.7, "step": 1000},
    {"epoch": 0.3, "total_flos": 1e18, "train_loss": 2.8, "train_runtime": 5.0, "step": 1000},
]
SEDD = "step: 0, training_loss: 2.90e+00\nstep: 500, training_loss: 2.80e+00\nstep: 1000, training_loss: 2.70e+00\n"
TRAINER_STATE = json.dumps({"epoch": 0.3, "global_step": 1000, "log_history": HISTORY}, indent=2)


# JSON ----------------------------------------------------------------------------------------------------------------

SAME_JSON = {
    "lines": JSON_LINES,
    "a list": json.dumps(RECORDS, indent=1),
    "records in a document": json.dumps({"best": 2.7, "history": RECORDS, "other": []}),
    "columns": json.dumps({"name": "mine", "step": STEPS, "loss": LOSSES}),
    "TensorBoard's export": json.dumps([[17.0 + row, step, loss] for row, (step, loss) in
                                        enumerate(zip(STEPS, LOSSES, strict=True))]),
    "lines among other text": "starting\n" + JSON_LINES.replace("\n", "\nwarning: x\n"),
    "lines with a prefix": "".join(f"INFO {line}\n" for line in JSON_LINES.splitlines()),
    "a torn last line": JSON_LINES + '{"step": 15',
    "nested": JSON_LINES.replace('"loss": ', '"train": {"loss": ').replace("}\n", '}, "ok": true}\n'),
    "texts, as fairseq": "".join(
        json.dumps({"num_updates": str(step), "update": 0.1, "loss": str(loss)}) + "\n"
        for step, loss in zip(STEPS, LOSSES, strict=True)
    ),
    "modes": JSON_LINES.replace('{"step', '{"mode": "train", "step') + '{"mode": "val", "step": 1000, "loss": 9.0}\n',
    "an array in a record": JSON_LINES.replace("}\n", ', "bins": [1, 2]}\n'),
}  # fmt: skip


@pytest.mark.parametrize("form", SAME_JSON)
def test_json_may_be(form, tmp_path):
    assert is_plain(read(tmp_path, SAME_JSON[form], "log.json"))


def test_json_keeps_losses_that_are_not_finite(tmp_path):
    losses = read(tmp_path, '{"step":0,"loss":NaN}\n{"step":1,"loss":Infinity}\n{"step":2,"loss":"NaN"}\n').losses
    assert [math.isnan(loss) for loss in losses] == [True, False, True]
    assert losses[1] == math.inf


def test_null_is_missing_and_a_note_says_so(tmp_path):
    curve = read(tmp_path, JSON_LINES + '{"step": 1500, "loss": null}\n')
    assert is_plain(curve)
    assert any("null" in note for note in curve.notes)


BAD_JSON = {
    '{"step":0,"loss":2.9}\n{"step":500,"lo\n{"step":1000,"loss":2.7}\n': 2,
    '{"step":0,"loss":2.9}\n{"step":0.5,"loss":2.9}\n': 2,
    '{"step":1' + "0" * 400 + ',"loss":2.9}': None,
    '{"loss":[2.9,2.8],"val_loss":[3,3]}': None,
    '{"log_history": []}': None,
    "[1, 2, 3]": None,
    '{"a": 1}': None,
    "[]": None,
    "[" * 100_000: None,
}


@pytest.mark.parametrize("text", BAD_JSON, ids=lambda text: text[:30])
def test_an_error_in_json_names_its_line(text, tmp_path):
    with pytest.raises(sedd.DataError) as caught:
        read(tmp_path, text, "log.json")
    assert (caught.value.file, caught.value.line) == (tmp_path / "log.json", BAD_JSON[text])


def test_a_trainer_state_of_hugging_face(tmp_path):
    curve = read(tmp_path, TRAINER_STATE, "trainer_state.json")
    assert is_plain(curve)
    assert (curve.held_out_steps.tolist(), curve.held_out.tolist()) == ([500], [2.95])
    assert curve.epochs is not None
    assert curve.epochs.tolist() == [0.1, 0.2, 0.3]
    assert curve.lr is not None
    assert curve.lr.tolist()[:2] == [1e-4, 2e-4]
    assert curve.grad_norm is not None
    assert [math.isnan(norm) for norm in curve.grad_norm] == [False, True, True]


def test_the_mean_loss_of_a_short_run_of_hugging_face_is_not_its_training_loss(tmp_path):
    history = {"log_history": [{"loss": 2.9, "step": 500}, {"train_loss": 2.8, "train_runtime": 5.0, "step": 500}]}
    assert read(tmp_path, json.dumps(history), "trainer_state.json").losses.tolist() == [2.9]


# Compressed files -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("compress", [gzip.compress, bz2.compress])
def test_any_text_may_be_compressed(compress, tmp_path):
    for number, content in enumerate((JSON_LINES, SEDD, TRAINER_STATE)):
        assert is_plain(read(tmp_path, compress(content.encode()), f"log{number}.gz"))


# TensorBoard ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def events(tmp_path: Path) -> Path:
    """Event files of a run that was resumed."""
    pytest.importorskip("tensorboard", reason="the extra `tensorboard` is not installed")
    from torch.utils.tensorboard import SummaryWriter

    folder = tmp_path / "events"
    for part, steps in enumerate(([0, 100, 200, 300], [200, 300, 400])):
        writer = SummaryWriter(str(folder), filename_suffix=f".{part}")
        for step in steps:
            writer.add_scalar("train/loss", 2.5 - part, step)
            writer.add_scalar("lr", 0.5, step)
        writer.add_text("notes", "x", 0)
        writer.close()
    writer = SummaryWriter(str(folder), filename_suffix=".2")
    writer.add_scalar("val/loss", 3.0, 400)
    writer.close()
    return folder


def test_event_files_of_tensorboard(events):
    curve = read_log(events)
    assert curve.steps.tolist() == [0, 100, 200, 300, 400]
    assert curve.losses.tolist() == [2.5, 2.5, 1.5, 1.5, 1.5]
    assert (curve.held_out_steps.tolist(), curve.held_out.tolist()) == ([400], [3.0])
    assert curve.lr is not None
    assert curve.lr.tolist() == [0.5] * 5


def test_one_event_file_and_a_directory_above_are_read_too(events):
    assert read_log(events.parent).steps.tolist() == read_log(events).steps.tolist()
    assert read_log(next(events.glob("*.0"))).steps.tolist() == [0, 100, 200, 300]


def test_event_files_of_two_runs_are_an_error_that_lists_them(events):
    (events.parent / "other").mkdir()
    next(events.glob("*.0")).rename(events.parent / "other" / "events.out.tfevents.1")
    with pytest.raises(sedd.DataError, match="other"):
        read_log(events.parent)


@pytest.mark.parametrize("keep", [0, 100])
def test_an_event_file_without_scalars_is_an_error(keep, tmp_path):
    pytest.importorskip("tensorboard", reason="the extra `tensorboard` is not installed")
    with pytest.raises(sedd.DataError):
        read(tmp_path, b"garbage " * keep, "events.out.tfevents.1")


def test_event_files_without_the_package_say_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorboard.backend.event_processing", None)
    with pytest.raises(sedd.ConfigError, match=r"\.\[tensorboard\]"):
        read(tmp_path, b"", "events.out.tfevents.1")


# Directories ---------------------------------------------------------------------------------------------------------


def test_the_log_of_a_directory_is_found_by_its_name(tmp_path):
    for name, content in (("logs", SEDD), ("metrics.csv", PLAIN), ("trainer_state.json", TRAINER_STATE)):
        written(tmp_path, content, name)
        assert open_log(tmp_path).file == tmp_path / name
        assert is_plain(read_log(tmp_path))


def test_the_newest_checkpoint_of_hugging_face_has_the_log(tmp_path):
    for step in (500, 1000):
        folder = tmp_path / f"checkpoint-{step}"
        folder.mkdir()
        written(folder, json.dumps({"log_history": HISTORY[: 2 if step == 500 else None]}), "trainer_state.json")
    assert is_plain(read_log(tmp_path))
    assert len(read_log(tmp_path / "checkpoint-500")) == 2


def test_a_directory_without_a_log_is_an_error(tmp_path):
    with pytest.raises(sedd.DataError):
        read_log(tmp_path)
