"""`sedd import config`, and the run files of other trainers as the configuration of other commands."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

import sedd
from sedd.config.foreign.convert import convert
from sedd.diagnosis.foreign import foreign_forecast, foreign_rows
from tests.cli.commands import assert_errors, failed, sedd_
from tests.config.foreign.cases import NAMES, OWN, SHARED_NAMES, shared
from tests.diagnosis.test_curve_kinds import SHARED as CURVES

pytestmark = pytest.mark.filterwarnings("ignore::sedd.errors.SeddWarning")


@pytest.mark.parametrize("name", NAMES)
def test_a_file_is_written_with_its_account_and_forecast(name, tmp_path):
    printed = sedd_("import", "config", OWN / f"{name}.yaml", "-o", tmp_path / "run.yaml")
    for word in ("kept", "changed", "assumed", "dropped", "their step"):
        assert word in printed
    assert sedd.load_config(tmp_path / "run.yaml") == convert(OWN / f"{name}.yaml").config
    found = json.loads(sedd_("import", "config", OWN / f"{name}.yaml", "-o", tmp_path / "b.yaml", "--json"))
    assert found["dialect"] == name
    assert {"kept", "changed", "dropped"} <= set(found["keys"])
    assert found["forecast"][0]["step"] == 0


def test_without_a_name_the_file_is_run_yaml(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    sedd_("import", "config", OWN / "pls.yaml", "--dialect", "pls")
    assert (tmp_path / "run.yaml").is_file()


def test_bad_input_is_one_message_and_nothing_is_written(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    sedd_file = (OWN / "sedd.yaml").read_text()
    (tmp_path / "list.yaml").write_text("- tokens\n- ngpus\n")
    (tmp_path / "unresolved.yaml").write_text(sedd_file.replace("lr: 1e-4", "lr: '${oc.env:LR}'"))
    (tmp_path / "missing.yaml").write_text(sedd_file.replace("model: small", "model: gigantic"))
    (tmp_path / "torn.yaml").write_text("optim: {lr: 1e-4\n")
    (tmp_path / "bytes.yaml").write_bytes(b"\xff\xfe\x00")
    (tmp_path / "adam.yaml").write_text(sedd_file.replace("AdamW", "Adam"))
    (tmp_path / "ours.yaml").write_text("optim: {lr: 1e-4}\n")
    there = sorted(tmp_path.iterdir())
    commands = [["import", "config", f"{name.name}"] for name in there]
    commands += [["import", "config", str(OWN / "sedd.yaml"), "--dialect", "ddpm"]]
    commands += [["import", "config", str(OWN / "sedd.yaml"), "-o", "ours.yaml"]]
    commands += [["import", "config", str(OWN / "sedd.yaml"), "-o", "no/run.yaml"]]
    assert_errors("errors-import-config", commands, monkeypatch, capsys, {OWN: "FILES"})
    assert sorted(tmp_path.iterdir()) == there
    sedd_("import", "config", "adam.yaml", "--force")
    assert sedd.load_config("run.yaml").optim.optimizer == "AdamW"


@pytest.mark.parametrize("words", [["train"], ["train", "--config"]])
def test_train_says_the_dialect_and_what_to_type(words, tmp_path, monkeypatch, capsys):
    printed = failed(monkeypatch, capsys, *words, OWN / "pls.yaml", "--run", tmp_path / "run")
    assert "PLS" in printed
    assert "sedd import config" in printed
    assert not (tmp_path / "run").exists()


def test_a_configuration_is_named_once(monkeypatch, capsys):
    failed(monkeypatch, capsys, "forecast", "small", "--config", "uniref50")
    failed(monkeypatch, capsys, "forecast")
    found = json.loads(sedd_("forecast", "training.n_iters=50", "--config", "quickstart", "--json"))
    assert found["rows"][-1]["step"] == 50


@pytest.mark.parametrize("name", NAMES)
def test_a_forecast_converts_in_memory_and_says_what_it_assumed(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    found = json.loads(sedd_("forecast", OWN / f"{name}.yaml", "--json"))
    assert "converted in memory" in found["assumed"][0]
    assert "Assumed: " in sedd_("forecast", "--config", OWN / f"{name}.yaml", "optim.lr=1e-5")
    assert list(tmp_path.iterdir()) == []


def test_a_diagnosis_counts_the_steps_of_the_log(tmp_path):
    """A curve of micro-batches: its ramp ends at preschool_time as their file has it."""
    implied = sedd.forecast(convert(OWN / "pls.yaml", clock="theirs").config)
    steps = range(0, 6000, 50)
    lines = "".join(f"{step},{implied.loss(step):.5f}\n" for step in steps)
    (tmp_path / "log.csv").write_text(f"step,loss\n{lines}")
    diagnosis = sedd.diagnose(tmp_path / "log.csv", config=OWN / "pls.yaml")
    assert not diagnosis.verdict.went_wrong
    assert diagnosis.forecast.loss(1500) == pytest.approx(implied.loss(1500))
    assert diagnosis.config.curriculum.preschool_time == 1500
    assert any("3 make an optimizer step" in note for note in diagnosis.assumed)


# Their unit --------------------------------------------------------------------------------------------------------


def rows_of(name: str) -> list:
    converted = convert(OWN / f"{name}.yaml")
    return foreign_rows(converted, foreign_forecast(converted))


def test_a_sum_over_a_sequence_is_the_bound_times_its_length():
    row = rows_of("sedd")[0]
    assert row.theirs == pytest.approx(1024 * 0.999 * math.log(50257), rel=1e-3)
    assert row.ours == pytest.approx(0.999 * math.log(50257), rel=1e-3)


def test_the_loss_of_mdlm_is_the_bound():
    for row in rows_of("mdlm"):
        assert row.theirs == pytest.approx(row.ours)
        assert row.their_step == row.step


def test_pls_reports_less_than_the_bound_while_its_curriculum_rises():
    """It corrupts with d sigma and weights with sigma; and it has 36 symbols."""
    rows = rows_of("pls")
    assert [row.their_step for row in rows] == [3 * row.step for row in rows]
    full = (1 - math.exp(-0.7)) - (1 - math.exp(-1e-4))
    assert rows[-1].theirs == pytest.approx(full * math.log(36), rel=1e-3)
    scale = math.log(36) / math.log(20)
    assert rows[0].theirs < 0.9 * scale * rows[0].ours


# The real files ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", SHARED_NAMES)
def test_a_real_file_imports(name, tmp_path):
    sedd_("import", "config", shared(name), "-o", tmp_path / "run.yaml")
    sedd.load_config(tmp_path / "run.yaml")


@pytest.mark.parametrize(("name", "curve"), [
    ("pls_uniref50_stable.yaml", "user_collapse.csv"),
    pytest.param("pls_uniref50_stable.yaml", "user_diverged.csv", marks=pytest.mark.long),
    ("pls_uniref50.yaml", "user_masked.csv"),
    pytest.param("pls_proteins.yaml", "user_masked.csv", marks=pytest.mark.long),
])  # fmt: skip
def test_a_diagnosis_answers_with_a_real_file_as_it_is(name, curve):
    file: Path = shared(name)
    if not CURVES.is_dir():
        pytest.skip("the curves are not beside this checkout (../shared/cases/curves)")
    diagnosis = sedd.diagnose(CURVES / curve, config=file)
    assert "converted in memory" in diagnosis.assumed[0]
    if "stable" in name:
        expected = sedd.diagnose(CURVES / curve, config=CURVES / "user_stable.yaml").verdict
        assert diagnosis.verdict.kind == expected.kind
        (first, last), (low, high) = diagnosis.verdict.since, expected.since
        assert first <= high and low <= last  # noqa: PT018  # the intervals overlap
