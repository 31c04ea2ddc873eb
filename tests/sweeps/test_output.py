"""The command, the page and the figures of a sweep."""

from __future__ import annotations

import json
import re
import sys
from dataclasses import replace
from html import unescape
from pathlib import Path

import pytest
from typer.testing import CliRunner

import sedd
from sedd import cli
from sedd.cli import console
from sedd.cli.sweep import show
from sedd.report.sweep_page import write_sweep_page
from sedd.report.sweep_plot import axes_of, bound_of, drawn, error_of, marginal_effects, place, with_value
from sedd.sweeps.rows import heads, row
from sedd.sweeps.search import search
from sedd.sweeps.space import RangeAxis, ValueAxis
from sedd.sweeps.trials import Sweep
from tests.conftest import TINY
from tests.sweeps.simulated import Simulated, plan

pytestmark = pytest.mark.filterwarnings("ignore::sedd.SeddWarning")
SMALL = ("evaluation.sequences=12", "evaluation.train_sequences=0", "data.holdout=0.1")


@pytest.fixture(scope="module")
def found() -> Sweep:
    """A simulated sweep with a winner."""
    return search(plan(), Simulated(lambda changes: -0.3 if changes.get("curriculum.mode") == "bias" else 0.0))


def test_the_page_has_the_answer_and_every_trial_and_loads_nothing(found: Sweep, tmp_path: Path) -> None:
    page = write_sweep_page(replace(found, directory=tmp_path))
    text = unescape(page.read_text(encoding="utf-8"))
    assert found.winner is not None
    assert found.sentence in text
    assert len(re.findall("<tr>", text)) == 1 + len(found.trials)
    assert "<script" not in text
    assert not re.findall(r"(?:src|href)=\"(?!data:)", text)
    assert {file.name for file in (tmp_path / "report").iterdir()} == {"parallel.png", "marginal.png"}


def test_a_page_of_single_changes_is_written_too(tmp_path: Path) -> None:
    single = search(plan("optim.lr=1e-3,2e-3", single_changes=True, seeds=2), Simulated())
    assert write_sweep_page(single, tmp_path / "deep" / "page.html").is_file()
    assert len(row(single, single.leader)) == len(heads(single)) == 6  # no column of a first seed, which it has not


def test_a_row_has_the_value_of_every_key_and_the_difference_to_the_run_file(found: Sweep) -> None:
    assert heads(found)[:3] == ("#", "optim.lr", "curriculum.mode")
    assert heads(found, short=True)[:3] == ("#", "lr", "mode")
    baseline = row(found, found.baseline)
    assert baseline[:3] == ("0", "0.002", "truncate")
    assert baseline[5] == "run file"
    contrast = found.to_baseline[found.leader.number]
    assert row(found, found.leader)[5].startswith(f"{contrast.nats:+.2f}"[:4])
    assert all(len(row(found, trial)) == len(heads(found)) for trial in found.trials)


@pytest.mark.parametrize("columns", [70, 100, 160])
def test_no_word_of_the_ranked_table_is_broken(
    found: Sweep, columns: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(console.out, "width", columns)
    show(found)
    shown = capsys.readouterr().out
    rows = [line for line in shown.splitlines() if line.startswith("│")]
    assert len(found.trials) <= len(rows)
    assert max(map(len, rows)) <= columns
    words = {word for line in rows for word in re.split(r"[│,\s]+", line)}
    assert {"complete", "truncate", f"{found.leader.nats:.4f}"} <= words


def test_trials_that_reached_the_end_are_drawn_with_the_bound_of_one_seed(found: Sweep) -> None:
    trials = drawn(found)
    assert trials[-1] is found.leader
    assert bound_of(found.leader) == found.leader.screening[-1].nats != found.leader.nats
    assert error_of(found, found.baseline) == 0.0
    gap = found.leader.screening[-1].minus(found.baseline.screening[-1])
    assert error_of(found, found.leader) == gap.half_width
    log, values = RangeAxis("optim.lr", 1e-4, 1e-2, log=True), ValueAxis("curriculum.mode", ("truncate", "bias"))
    assert place(log, 1e-3) == pytest.approx(0.5)
    assert place(log, 1.0) is None
    assert [place(values, value) for value in ("truncate", "bias", "scale")] == [0.0, 1.0, None]


def test_single_changes_are_drawn_beside_the_value_of_the_run_file() -> None:
    single = search(plan("optim.lr=1e-3,4e-3", "ema.decay=0.9", single_changes=True, seeds=2), Simulated())
    rates, decays = axes_of(single)
    assert isinstance(rates, ValueAxis)
    assert isinstance(decays, ValueAxis)
    assert (rates.values, decays.values) == ((1e-3, 2e-3, 4e-3), (0.9, 0.99))
    panels = [axes for axes in marginal_effects(single).axes if axes.get_visible()]
    found = [
        sorted(
            (float(line.get_xdata()[0]), float(line.get_ydata()[0])) for line in axes.lines if line.get_marker() in "so"
        )
        for axes in panels
    ]
    base = single.baseline.nats
    others = [single.trial(number).nats for number in (1, 2, 3)]
    assert found == [[(0.0, others[0]), (0.5, base), (1.0, others[1])], [(0.0, others[2]), (1.0, base)]]


def test_an_axis_is_widened_to_a_value_that_has_a_place_on_it() -> None:
    log, words = RangeAxis("optim.lr", 1e-4, 1e-2, log=True), ValueAxis("curriculum.mode", ("bias", "scale"))
    assert with_value(log, 1e-5) == RangeAxis("optim.lr", 1e-5, 1e-2, log=True)
    assert with_value(log, 1e-3) == with_value(log, 0.0) == with_value(log, None) == log
    assert with_value(words, "truncate") == ValueAxis("curriculum.mode", ("truncate", "bias", "scale"))
    assert with_value(ValueAxis("noise.tied", (False,)), True) == ValueAxis("noise.tied", (True, False))


def test_the_command_writes_everything_and_goes_on_as_json(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    directory = tmp_path / "sweep"
    arguments = [
        "sweep", "quickstart", *TINY, *SMALL, "--vary", "optim.lr=1e-3,1e-2", "--one-at-a-time", "--seeds", "2",
        "--run", str(directory),
    ]  # fmt: skip
    shown = CliRunner(env={"COLUMNS": "100"}).invoke(cli.app, arguments, catch_exceptions=False)
    assert shown.exit_code == 0
    assert f"sedd train {directory / 'best.yaml'}" in shown.output
    assert (directory / "report.html").is_file()
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    again = CliRunner().invoke(cli.app, [*arguments, "--json"], catch_exceptions=False)
    assert json.loads(again.stdout) == json.loads((directory / "result.json").read_text())
    assert len(json.loads(again.stdout)["trials"]) == 3


def test_a_sweep_of_nothing_is_an_error(tmp_path: Path) -> None:
    result = CliRunner().invoke(cli.app, ["sweep", "quickstart", "--run", str(tmp_path / "sweep")])
    assert isinstance(result.exception, sedd.ConfigError)
    assert not (tmp_path / "sweep").exists()
