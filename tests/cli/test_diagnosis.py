"""`sedd forecast` and `sedd diagnose`: what they print, and every way in which they refuse."""

from __future__ import annotations

import json
import shutil
import sys
import warnings
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

import sedd
from sedd import cli
from sedd.cli import speed
from sedd.data import STRATA
from tests.conftest import TINY
from tests.diagnosis.test_external_curve import TABLE

pytestmark = pytest.mark.filterwarnings("ignore::sedd.errors.SeddWarning")  # of the presets that stop the noise early

runner = CliRunner()
LONG = ("training.n_iters=60", "training.log_every=2", "curriculum.preschool_time=30", "training.eval_every=30")


def sedd_(*arguments: str | Path, exit_code: int = 0) -> str:
    result = runner.invoke(cli.app, [str(argument) for argument in arguments], catch_exceptions=False)
    assert result.exit_code == exit_code, result.output
    return result.output


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run, which nobody changes."""
    place = tmp_path_factory.mktemp("runs") / "run"
    sedd.Trainer(sedd.load_config("quickstart", *TINY, *LONG), run=place).fit(progress=False)
    return place


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """What a user of another trainer saw."""
    (tmp_path / "table.csv").write_text(TABLE)
    return tmp_path / "table.csv"


# Forecast ------------------------------------------------------------------------------------------------------------


def test_the_forecast_fits_a_terminal_and_says_everything_once(table):
    printed = sedd_("forecast", "uniref50_aggressive", "--symbols", "36", "--throughput", "100000", "--expect", table)
    rows = [line for line in printed.splitlines() if "%" in line and line.startswith(" ")]
    assert len(rows) == 6  # one for each expected step, and one without a curriculum
    assert max(map(len, rows)) <= 100
    for words in (
        "no curriculum", "UniProtKB/Swiss-Prot", "Steepest rise", "False alarm", "preschool_time", "Luck of the draw",
        "Phase ramp: steps 0 to 5,000", "hours", "100,000 residues per second", "Expected losses", "step 2,500: 2.062",
    ):  # fmt: skip
        assert words in printed
    assert printed.count("leaves 45% of the residues untouched") == 1


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
    printed = sedd_("forecast", "quickstart", *TINY, *LONG, "--run", run)
    header = next(line for line in printed.splitlines() if "untrained" in line)
    assert header.split()[-1] == "run"


def test_the_data_may_be_given(tmp_path):
    (tmp_path / "my.fasta").write_text("".join(f">{i}\n{'WA' * (i + 5)}\n" for i in range(300)))
    printed = sedd_("forecast", "uniref50", "--data", tmp_path / "my.fasta")
    assert "0.693 nats" in printed
    assert "training sequences" in printed


@pytest.mark.parametrize("data", [True, False])
def test_the_speed_can_be_measured_with_or_without_data(tmp_path, data, monkeypatch):
    monkeypatch.setattr(speed, "STEPS", 2)
    (tmp_path / "my.fasta").write_text("".join(f">{i}\n{'WA' * (i + 5)}\n" for i in range(300)))
    small = [item for item in TINY if item.startswith(("model.", "training.batch_size"))]
    given = ["--data", tmp_path / "my.fasta"] if data else []
    printed = sedd_("forecast", "small", *small, "training.accum=4", *given, "--measure", "--device", "cpu")
    assert f"measured in 2 steps ({8 * STRATA} sequences each) on cpu" in printed
    assert "Phase full difficulty: steps 300 to 2,500, " in printed


def test_a_picture_can_be_drawn(tmp_path):
    pytest.importorskip("matplotlib")
    printed = sedd_("forecast", "quickstart", *TINY, "--plot", tmp_path / "f.png")
    assert (tmp_path / "f.png").read_bytes().startswith(b"\x89PNG")
    assert "f.png" in printed


# Diagnose ------------------------------------------------------------------------------------------------------------


def test_the_table_of_the_user_is_read_end_to_end(table):
    printed = sedd_("diagnose", table, "--config", "uniref50_aggressive", "--symbols", "36", "--fail")
    assert printed.startswith("Nothing is wrong: the loss rises because the curriculum gets harder.")
    for words in ("corrupts with d·σ but weights and conditions with σ", "nothing diverged, and no learning is seen",
                  "max_rise: info, cause curriculum", "36 symbols", "curve alone cannot be split"):  # fmt: skip
        assert words in printed


def test_a_run_is_diagnosed_with_its_attribution(run):
    printed = sedd_("diagnose", run, "--from", "2", "--to", "30")
    first = printed.splitlines()[0]
    assert "From step 2 to 60" in first
    assert "difficulty" in first
    for words in ("What moved most", "mask rates", "As asked", "From step 2 to 30", "knows only the letters",
                  "training sequences of the run"):  # fmt: skip
        assert words in printed
    assert len(printed.splitlines()) < 60


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


def test_a_metrics_file_alone_is_diagnosed_like_its_run(run, tmp_path):
    shutil.copy(run / "metrics.jsonl", tmp_path / "alone.jsonl")
    shutil.copy(run / "config.yaml", tmp_path / "mine.yaml")
    alone = sedd_("diagnose", tmp_path / "alone.jsonl", "--config", tmp_path / "mine.yaml")
    assert alone == sedd_("diagnose", run) == sedd_("diagnose", run / "metrics.jsonl")


def test_python_says_what_the_command_prints(run):
    assert str(sedd.diagnose(run)) + "\n" == sedd_("diagnose", run)


def test_fail_exits_with_1_when_something_is_wrong_and_only_then(tmp_path):
    losses = "".join(f"{step},{2 + step / 10_000}\n" for step in range(6_000, 20_000, 1000))
    (tmp_path / "c.csv").write_text(losses)
    arguments = ("diagnose", tmp_path / "c.csv", "--config", "uniref50_aggressive")
    assert "Something is wrong" in sedd_(*arguments)
    sedd_(*arguments, "--fail", exit_code=1)


def test_a_run_that_has_only_begun_is_too_little(tmp_path):
    config = sedd.load_config("quickstart", *TINY, "training.log_every=8")
    sedd.Trainer(config, run=tmp_path / "run").fit(progress=False)
    assert sedd_("diagnose", tmp_path / "run").startswith("Too little signal")
    with (tmp_path / "run" / "metrics.jsonl").open("r+") as file:
        first = file.readline()
        file.seek(0)
        file.truncate()
        file.write(first)
    found = sedd.diagnose(tmp_path / "run")
    assert (found.whole, found.steepest, found.cumulative) == (None, None, None)
    assert found.verdict.kind == "little signal"
    json.dumps(found.to_json())


# Errors --------------------------------------------------------------------------------------------------------------


def failed(arguments: list[str | Path], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> str:
    monkeypatch.setattr(sys, "argv", ["sedd", *map(str, arguments)])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == 2
    printed = capsys.readouterr().err
    assert "Traceback" not in printed
    return printed


ERRORS = [
    (["forecast", "uniref5O"], "Did you mean 'uniref50'"),
    (["forecast", "quickstart", "optim.rl=1"], "optim.lr"),
    (["forecast", "quickstart", "--data", "nowhere.fasta"], "nowhere.fasta"),
    (["forecast", "quickstart", "--steps", "0,x"], "--steps 'x'"),
    (["forecast", "quickstart", "--expect", "5=x"], "step=loss"),
    (["forecast", "quickstart", "--expect", "x=5"], "--expect 'x'"),
    (["forecast", "quickstart", "--expect", "nowhere.csv"], "nowhere.csv: no such file"),
    (["forecast", "quickstart", "--run", "nowhere"], "no such file"),
    (["forecast", "quickstart", "--throughput", "0"], "residues per second"),
    (["forecast", "quickstart", "--throughput", "1", "--measure"], "give one of the two"),
    (["forecast", "quickstart", "--symbols", "3"], "the data have 20 already"),
    (["forecast", "quickstart", "--device", "abacus"], "abacus"),
    (["forecast", "quickstart", "--plot", "no/where.png"], "no directory"),
    (["diagnose", "nowhere"], "no such file or directory"),
    (["diagnose", "table.csv"], "a curve alone does not say how it was trained"),
    (["diagnose", "table.csv", "--config", "uniref"], "Did you mean"),
    (["diagnose", "table.csv", "--config", "uniref50", "--from", "0"], "does not have"),
    (["diagnose", "bad.csv", "--config", "uniref50"], "bad.csv:2: loss 'high'"),
    (["diagnose", "alone.jsonl"], "lies alone, without a config.yaml"),
    (["diagnose", "strange.jsonl", "--config", "uniref50"], "strange.jsonl:1: no metrics line"),
    (["diagnose", "torn.jsonl", "--config", "uniref50"], "torn.jsonl:1: not JSON"),
    (["diagnose", "."], "metrics.jsonl: no such file"),
]


@pytest.mark.parametrize(("arguments", "words"), ERRORS, ids=[" ".join(arguments) for arguments, _ in ERRORS])
def test_an_expected_error_is_one_message_and_exit_code_2(run, tmp_path, monkeypatch, capsys, arguments, words):
    monkeypatch.chdir(tmp_path)
    Path("table.csv").write_text(TABLE)
    Path("bad.csv").write_text("0,0.3\n5,high\n")
    shutil.copy(run / "metrics.jsonl", "alone.jsonl")
    Path("strange.jsonl").write_text('{"kind": "train", "step": 1, "loss": 1.0}\n')
    Path("torn.jsonl").write_text('{"kind": "tr\n{"kind": "data"}\n')
    if "--plot" in arguments:
        pytest.importorskip("matplotlib")
    assert words in failed(arguments, monkeypatch, capsys)


def test_steps_that_fall_on_one_line_are_said(run, monkeypatch, capsys):
    assert "choose steps further apart" in failed(["diagnose", run, "--from", "30", "--to", "30"], monkeypatch, capsys)


def test_a_plugin_that_is_not_installed_is_said_with_what_to_do(run, tmp_path, monkeypatch, capsys):
    shutil.copytree(run, tmp_path / "run")
    file = tmp_path / "run" / "config.yaml"
    recorded = yaml.safe_load(file.read_text())
    recorded["curriculum"]["difficulty_ramp"] = "sawtooth"
    file.write_text(yaml.safe_dump(recorded))
    printed = failed(["diagnose", tmp_path / "run"], monkeypatch, capsys)
    assert "'sawtooth' is not installed" in printed
    assert "Install the plugins that the run was trained with" in printed
    assert "knows only the letters" in sedd_("diagnose", tmp_path / "run", "--config", "quickstart")


def test_without_matplotlib_a_picture_is_refused_with_what_to_install(monkeypatch, capsys, tmp_path):
    for name in [name for name in sys.modules if name.startswith("matplotlib")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.delitem(sys.modules, "sedd.report.plots", raising=False)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    printed = failed(["forecast", "quickstart", "--plot", tmp_path / "f.png"], monkeypatch, capsys)
    assert "pip install 'sedd-torch[report]'" in printed
