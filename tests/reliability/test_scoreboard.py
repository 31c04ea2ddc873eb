"""The scoreboard counts what goes wrong, and its page has every row."""

from __future__ import annotations

import json
from pathlib import Path
from random import Random

import pytest

from tests.reliability import page, runner
from tests.reliability.__main__ import main
from tests.reliability.result import LostError, Result, SilentError, Tally, sampled
from tests.reliability.rows import BY_NAME, ROWS, Row
from tests.reliability.runner import Outcome


def test_a_tally_counts_each_case_under_its_kind(tmp_path):
    tally = Tally(tmp_path, 5)
    for error in (None, LostError("gone"), SilentError("not found"), KeyError("oh")):
        with tally.case("a case"):
            if error is not None:
                raise error
    tally.control("a fault", found=False)
    result = tally.result
    assert (result.cases, result.lost, result.silent, result.tracebacks) == (5, 1, 2, 1)
    assert result.failed
    assert [detail.partition(":")[0] for detail in result.details] == ["lost", "silent", "traceback", "silent"]
    assert float((tmp_path / "progress").read_text().split()[1]) == 5


def test_a_share_of_the_cases_is_the_same_for_the_same_seed():
    cases = list(range(100))
    chosen = sampled(cases, 0.1, Random(3))
    assert len(chosen) == 10
    assert chosen == sorted(chosen) == sampled(cases, 0.1, Random(3))
    assert sampled(cases, 0.0, Random(0), least=2) != []
    assert sampled(cases, 5.0, Random(0)) == cases


def test_the_page_has_every_row_and_every_failure():
    outcomes = [Outcome(row, Result(cases=1_200, notes=["median 2 s"]), 12.3, 0) for row in ROWS]
    outcomes[3].result.lost, outcomes[3].result.details = 1, ["lost: something [red]"]
    text = page.text_of(outcomes, scale=0.5, seconds=90.0, jobs=2)
    assert all(f"| {name} | " in text for name in BY_NAME)
    assert f"{1_200 * len(ROWS):,} cases, 1 lost, 0 silent, 0 tracebacks" in text
    assert r"something \[red]" in text
    assert all(row.tried for row in ROWS)


def test_the_page_in_the_docs_is_of_these_rows():
    text = page.PAGE.read_text(encoding="utf-8")
    assert [line.split("|")[1].strip() for line in text.splitlines() if line.startswith("| ")][1:] == list(BY_NAME)


def test_a_row_whose_process_fails_is_a_failure(tmp_path, capfd):
    (outcome,) = runner.run_rows([BY_NAME["data-once"]], scale=float("nan"), seed=0, jobs=1, folder=tmp_path)
    assert outcome.result.tracebacks == 1
    assert "ValueError" in outcome.result.details[0]


@pytest.mark.parametrize("failed", [False, True])
def test_the_exit_code_says_whether_anything_failed(monkeypatch, tmp_path, failed):
    def run_rows(rows: list[Row], *, folder: Path, **options: object) -> list[Outcome]:
        return [Outcome(row, Result(cases=1, silent=int(failed)), 1.0, 0) for row in rows]

    written = tmp_path / "page.md"
    monkeypatch.setattr("tests.reliability.__main__.run_rows", run_rows)
    monkeypatch.setattr(page, "PAGE", written)
    assert main(["--scale", "0.1"]) == int(failed)
    assert not written.exists()


def test_a_row_is_run_in_a_process_of_its_own(tmp_path):
    runner.run_row("damaged-stores", 0.002, 0, tmp_path)
    result = json.loads((tmp_path / "result.json").read_text())
    assert result["cases"] > 0
    assert (result["lost"], result["silent"], result["tracebacks"]) == (0, 0, 0)
