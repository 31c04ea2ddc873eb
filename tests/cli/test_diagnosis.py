"""`sedd forecast` and `sedd diagnose`: output, JSON, and every expected error."""

from __future__ import annotations

import json
import shutil
import sys
import warnings
from html import escape
from pathlib import Path

import numpy as np
import pytest
import yaml

import sedd
from sedd.cli import forecast
from sedd.data import STRATA
from sedd.report.plots import new_figure
from tests.cli.commands import assert_errors, assert_printed, failed, sedd_
from tests.conftest import TINY
from tests.diagnosis.test_external_curve import TABLE
from tests.diagnosis.test_monitor import FREQUENCIES, bound, learning
from tests.diagnosis.test_monitor import run as run_records

pytestmark = pytest.mark.filterwarnings("ignore::sedd.errors.SeddWarning")  # of the presets that stop the noise early

LONG = ("training.n_iters=60", "training.log_every=2", "curriculum.preschool_time=30", "training.eval_every=30")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run, which no test changes."""
    path = tmp_path_factory.mktemp("runs") / "run"
    sedd.Trainer(sedd.load_config("quickstart", *TINY, *LONG), run=path).fit(progress=False)
    return path


@pytest.fixture
def recorded(tiny, tmp_path: Path) -> Path:
    """Metrics and configuration of a run that learns under a ramp, with values that no machine changes."""
    config = tiny(
        "training.n_iters=1000", "training.log_every=10", "curriculum.preschool_time=100",
        "curriculum.min_difficulty=0.2", "optim.warmup=20",
    )  # fmt: skip
    counts = (1e6 * FREQUENCIES).round().tolist()
    data = {"kind": "data", "step": 0, "letter_counts": counts, "sequences": 200, "mean_length": 16.0}
    records = [data, *run_records(config, learning), bound(100, 2.9), bound(600, 2.4)]
    path = tmp_path / "recorded"
    path.mkdir()
    (path / "metrics.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    (path / "config.yaml").write_text(yaml.safe_dump(config.model_dump(mode="json")))
    return path


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """The loss curve of a user of another trainer."""
    (tmp_path / "table.csv").write_text(TABLE)
    return tmp_path / "table.csv"


# Forecast ------------------------------------------------------------------------------------------------------------


def test_the_forecast_begins_with_the_answer_and_fits_a_terminal(table, tmp_path):
    printed = sedd_("forecast", "uniref50_aggressive", "--symbols", "36", "--throughput", "100000", "--expect", table)
    assert_printed("forecast", printed, {tmp_path: "TMP"})
    lines = printed.splitlines()
    rows = [line for line in lines if "%" in line and line.startswith(" ")]
    assert len(rows) == 6  # one for each expected step, and one without a curriculum
    assert max(map(len, rows)) <= 100


def test_advice_is_not_a_warning_too():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        sedd_("forecast", "uniref50_stable")


def test_overrides_and_steps_are_taken(run):
    found = json.loads(sedd_("forecast", "quickstart", "noise.sigma_max=5", "--steps", "0,100", "--run", run, "--json"))
    assert [row["step"] for row in found["rows"]] == [0, 100]
    assert found["rows"][1]["mask_rate_max"] == pytest.approx(0.55 * (1 - 0.0067), abs=2e-3)
    assert found["rows"][1]["run"] > 0
    assert found["expected"] == []


def test_a_run_is_a_column_of_its_own(run):
    lines = sedd_("forecast", "quickstart", *TINY, *LONG, "--run", run).splitlines()
    header = next(line.split() for line in lines if line.split()[:1] == ["step"])
    assert header[-1] == "run"


def test_the_data_may_be_given(tmp_path):
    (tmp_path / "my.fasta").write_text("".join(f">{i}\n{'WA' * (i + 5)}\n" for i in range(300)))
    found = json.loads(sedd_("forecast", "uniref50", "--data", tmp_path / "my.fasta", "--json").splitlines()[-1])
    assert found["letters"]["entropy"] == pytest.approx(np.log(2), abs=1e-3)


@pytest.mark.parametrize("data", [True, False])
def test_the_throughput_can_be_measured_with_or_without_data(tmp_path, data, monkeypatch):
    monkeypatch.setattr(forecast, "MEASURED_STEPS", 2)
    (tmp_path / "my.fasta").write_text("".join(f">{i}\n{'WA' * (i + 5)}\n" for i in range(300)))
    small = [item for item in TINY if item.startswith(("model.", "training.batch_size"))]
    given = ["--data", tmp_path / "my.fasta"] if data else []
    command = ("forecast", "small", *small, "training.accum=4", *given, "--measure", "--device", "cpu", "--json")
    found = json.loads(sedd_(*command).splitlines()[-1])
    assert f"2 steps ({8 * STRATA} sequences each) on cpu" in found["measured"]
    phase = next(phase for phase in found["phases"] if phase["name"] == "full difficulty")
    assert (phase["first"], phase["last"]) == (300, 2500)
    assert phase["hours"] > 0


def test_a_figure_can_be_drawn(tmp_path):
    pytest.importorskip("matplotlib")
    printed = sedd_("forecast", "quickstart", *TINY, "--plot", tmp_path / "f.png")
    assert (tmp_path / "f.png").read_bytes().startswith(b"\x89PNG")
    assert printed.split()[-1] == str(tmp_path / "f.png")


def test_expected_losses_are_drawn_on_the_forecast(tmp_path, monkeypatch):
    drawn = {}
    monkeypatch.setattr("sedd.report.forecast_plot.draw", lambda chart: drawn.update(chart=chart) or new_figure(1, 1))
    sedd_("forecast", "quickstart", *TINY, "--plot", tmp_path / "f.png", "--expect", "2=0.9,6=1.5")
    (dots,) = [curve for panel in drawn["chart"].panels for curve in panel.series if curve.style == "dots"]
    assert (dots.x.tolist(), dots.y.tolist()) == ([2.0, 6.0], [0.9, 1.5])


# Diagnose ------------------------------------------------------------------------------------------------------------


def test_the_curve_of_another_trainer_is_diagnosed_end_to_end(table):
    command = ("diagnose", table, "--config", "uniref50_aggressive", "--symbols", "36", "--fail")
    assert_printed("diagnose-curve", sedd_(*command))
    found = json.loads(sedd_(*command, "--json"))
    assert (found["verdict"], found["curve"]["trainer"]) == ("curriculum", "mismatched")


def test_a_diagnosis_begins_with_the_answer_and_then_has_numbers_and_details(recorded):
    printed = sedd_("diagnose", recorded, "--from", "100", "--to", "300")
    assert_printed("diagnose", printed)
    assert len(printed.splitlines()) < 60
    found = json.loads(sedd_("diagnose", recorded, "--json"))
    assert printed.startswith(f"{found['answer']} {found['reason']} {found['advice']}\n")


def test_a_diagnosis_as_json_is_plain(run):
    found = json.loads(sedd_("diagnose", run, "--from", "2", "--json"))
    assert found["chosen"]["first"] == 2
    assert found["chosen"]["last"] == 60
    parts = [found["whole"][part] for part in ("difficulty", "learning", "draw")]
    assert sum(parts) == pytest.approx(found["whole"]["change"], abs=1e-9)
    assert len(found["normalised"]["step"]) == len(found["normalised"]["over_unigram"]) == 30
    assert found["cumulative"]["steps"][-1] == 60
    assert found["forecast"]["rows"][0]["run"] is not None
    assert len(found["bounds"]) == 2


@pytest.mark.parametrize("source", ["table", pytest.param("recorded", marks=pytest.mark.long)])
def test_a_diagnosis_can_be_drawn_and_written_as_a_page(source, request, tmp_path):
    given = ("--config", "uniref50_aggressive") if source == "table" else ()
    files = tmp_path / "curve.png", tmp_path / "page.html"
    printed = sedd_("diagnose", request.getfixturevalue(source), *given, "--plot", files[0], "--html", files[1])
    assert files[0].read_bytes().startswith(b"\x89PNG")
    answer = json.loads(sedd_("diagnose", request.getfixturevalue(source), *given, "--json"))["answer"]
    assert escape(answer) in files[1].read_text(encoding="utf-8")
    assert [line.split()[-1] for line in printed.splitlines()[-3:] if line] == [str(file) for file in files]


def test_a_metrics_file_alone_is_diagnosed_like_its_run(run, tmp_path):
    shutil.copy(run / "metrics.jsonl", tmp_path / "alone.jsonl")
    shutil.copy(run / "config.yaml", tmp_path / "mine.yaml")
    alone = sedd_("diagnose", tmp_path / "alone.jsonl", "--config", tmp_path / "mine.yaml")
    assert alone == sedd_("diagnose", run) == sedd_("diagnose", run / "metrics.jsonl")


def test_python_gives_what_the_command_prints(run):
    assert str(sedd.diagnose(run)) + "\n" == sedd_("diagnose", run)


@pytest.mark.parametrize(
    ("factor", "growth", "verdict", "exit_code"),
    [
        pytest.param(1.0, 0.0, "plateau", 0, marks=pytest.mark.long),
        pytest.param(1.0, 1.5, "learning", 1, marks=pytest.mark.long),
        (500.0, 0.0, "unit", 3),
    ],
)
def test_fail_exits_with_1_when_something_is_wrong_and_with_3_when_that_cannot_be_judged(
    tmp_path, factor, growth, verdict, exit_code
):
    implied, steps = sedd.forecast("uniref50_stable"), range(0, 40_000, 500)
    losses = {
        step: implied.loss(step, "untrained") * factor * (1.0 + growth * max(0, step - 20_000) / 20_000)
        for step in steps
    }
    (tmp_path / "c.csv").write_text("".join(f"{step},{loss}\n" for step, loss in losses.items()))
    arguments = ("diagnose", tmp_path / "c.csv", "--config", "uniref50_stable", "--json")
    assert json.loads(sedd_(*arguments))["verdict"] == verdict
    sedd_(*arguments, "--fail", exit_code=exit_code)


def test_a_run_that_has_only_begun_is_inconclusive(tmp_path):
    config = sedd.load_config("quickstart", *TINY, "training.log_every=8")
    sedd.Trainer(config, run=tmp_path / "run").fit(progress=False)
    assert json.loads(sedd_("diagnose", tmp_path / "run", "--json"))["verdict"] == "inconclusive"
    assert "little signal" not in sedd_("diagnose", tmp_path / "run")
    with (tmp_path / "run" / "metrics.jsonl").open("r+") as file:
        first = file.readline()
        file.seek(0)
        file.truncate()
        file.write(first)
    found = sedd.diagnose(tmp_path / "run")
    assert (found.overall, found.steepest, found.cumulative) == (None, None, None)
    assert found.verdict.kind == "inconclusive"
    json.dumps(found.to_dict())


# Errors --------------------------------------------------------------------------------------------------------------

ERRORS = [
    ["forecast", "uniref5O"],
    ["forecast", "quickstart", "optim.rl=1"],
    ["forecast", "quickstart", "--data", "nowhere.fasta"],
    ["forecast", "quickstart", "--steps", "0,x"],
    ["forecast", "quickstart", "--expect", "5=x"],
    ["forecast", "quickstart", "--expect", "x=5"],
    ["forecast", "quickstart", "--expect", "nowhere.csv"],
    ["forecast", "quickstart", "--run", "nowhere"],
    ["forecast", "quickstart", "--throughput", "0"],
    ["forecast", "quickstart", "--throughput", "1", "--measure"],
    ["forecast", "quickstart", "--symbols", "3"],
    ["forecast", "quickstart", "--device", "abacus"],
    ["diagnose", "nowhere"],
    ["diagnose", "table.csv"],
    ["diagnose", "table.csv", "--config", "uniref"],
    ["diagnose", "table.csv", "--config", "uniref50", "--from", "0"],
    ["diagnose", "bad.csv", "--config", "uniref50"],
    ["diagnose", "alone.jsonl"],
    ["diagnose", "strange.jsonl", "--config", "uniref50"],
    ["diagnose", "torn.jsonl", "--config", "uniref50"],
    ["diagnose", "."],
    ["diagnose", "run", "--from", "30", "--to", "30"],
]


def test_an_expected_error_is_one_message_and_exit_code_2(run, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    Path("table.csv").write_text(TABLE)
    Path("bad.csv").write_text("0,0.3\n5,high\n")
    shutil.copy(run / "metrics.jsonl", "alone.jsonl")
    shutil.copytree(run, "run")
    Path("strange.jsonl").write_text('{"kind": "train", "step": 1, "loss": 1.0}\n')
    Path("torn.jsonl").write_text('{"kind": "tr\n{"kind": "data"}\n')
    assert_errors("errors-diagnosis", ERRORS, monkeypatch, capsys, {tmp_path: "TMP"})


def test_a_figure_in_a_directory_that_does_not_exist_is_an_error(tmp_path, monkeypatch, capsys):
    pytest.importorskip("matplotlib")
    file = tmp_path / "no" / "where.png"
    assert failed(monkeypatch, capsys, "forecast", "quickstart", "--plot", file).startswith(f"error: {file}: ")


def test_a_plugin_that_is_not_installed_is_named_and_another_configuration_can_be_given(
    run, tmp_path, monkeypatch, capsys
):
    shutil.copytree(run, tmp_path / "run")
    file = tmp_path / "run" / "config.yaml"
    recorded = yaml.safe_load(file.read_text())
    recorded["curriculum"]["difficulty_ramp"] = "sawtooth"
    file.write_text(yaml.safe_dump(recorded))
    monkeypatch.chdir(tmp_path)
    assert_errors("errors-plugin", [["diagnose", "run"]], monkeypatch, capsys)
    sedd_("diagnose", "run", "--config", "quickstart")


def test_without_matplotlib_a_figure_is_refused_with_what_to_install(table, tmp_path, monkeypatch, capsys):
    for name in [name for name in sys.modules if name.startswith("matplotlib")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.delitem(sys.modules, "sedd.report.plots", raising=False)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    diagnosed = ["diagnose", str(table), "--config", "uniref50_aggressive"]
    commands = [
        ["forecast", "quickstart", "--plot", "f.png"],
        [*diagnosed, "--plot", "f.png"],
        [*diagnosed, "--html", "f.html"],
    ]
    assert_errors("errors-matplotlib", commands, monkeypatch, capsys, {tmp_path: "TMP"})
