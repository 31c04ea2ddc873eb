"""`sedd sample`: files with provenance, that can be interrupted."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

import sedd
from sedd import cli
from tests.conftest import TINY

runner = CliRunner()


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("runs") / "run"
    sedd.Trainer(sedd.load_config("quickstart", *TINY), run=path).fit(progress=False)
    return path


def sample(run: Path, *arguments: str | Path) -> str:
    words = ["sample", str(run), *map(str, arguments), "--device", "cpu"]
    result = runner.invoke(cli.app, words, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


def refused(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *arguments: str | Path) -> str:
    monkeypatch.setattr(sys, "argv", ["sedd", "sample", *map(str, arguments)])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == 2
    return capsys.readouterr().err.replace("\n", " ")


def test_a_header_says_where_a_sample_is_from_and_what_it_cost(run, tmp_path):
    sample(run, "-n", "2", "--seed", "3", "--length", "7", "--predictor", "first_hitting", "-o", tmp_path / "a.fasta")
    headers = re.findall("^>.*", (tmp_path / "a.fasta").read_text(), re.MULTILINE)
    step = sedd.load(run, device="cpu").step
    assert headers[1] == f">sample-2 run={run} step={step} seed=3 predictor=first_hitting length=7 nfe=7"
    sample(run, "-n", "1", "--temperature", "0.5", "--steps", "5", "-o", tmp_path / "b.fasta")
    assert " steps=5 temperature=0.5 length=" in (tmp_path / "b.fasta").read_text()


def test_the_file_is_that_of_the_python_call(run, tmp_path):
    sample(run, "-n", "5", "--seed", "2", "-o", tmp_path / "a.fasta")
    bodies = "".join("|" if line[0] == ">" else line for line in (tmp_path / "a.fasta").read_text().splitlines())
    assert bodies.split("|")[1:] == sedd.load(run, device="cpu").sample(5, seed=2)


@pytest.mark.parametrize("cut", ["header", "body", "between", "nothing"])
def test_an_interrupted_file_is_continued_to_the_same_file(run, tmp_path, cut):
    common = ("-n", "11", "--batch-size", "4", "--seed", "5")
    sample(run, *common, "-o", tmp_path / "whole.fasta")
    whole = (tmp_path / "whole.fasta").read_bytes()
    at = whole.index(b">sample-7 ")
    length = {"header": at + 12, "body": at - 3, "between": at, "nothing": 0}[cut]
    (tmp_path / "part.fasta").write_bytes(whole[:length])
    printed = sample(run, *common, "-o", tmp_path / "part.fasta", "--resume")
    assert (tmp_path / "part.fasta").read_bytes() == whole
    if cut == "between":
        assert "11 sequences in" in printed
        assert "6 of them drawn before" in printed
    sample(run, *common, "-o", tmp_path / "part.fasta", "--resume")
    assert (tmp_path / "part.fasta").read_bytes() == whole


def test_more_of_the_same_can_be_drawn_later(run, tmp_path):
    sample(run, "-n", "9", "-o", tmp_path / "whole.fasta")
    sample(run, "-n", "4", "-o", tmp_path / "part.fasta")
    sample(run, "-n", "9", "-o", tmp_path / "part.fasta", "--resume")
    assert (tmp_path / "part.fasta").read_text().count(">") == 9


@pytest.mark.parametrize("content", [">other\nMKV\n", "some notes", ">sample-1 run=x seed=9 length=3 nfe=1\nMKV\n"])
def test_a_file_of_another_command_is_not_continued_and_not_touched(run, tmp_path, monkeypatch, capsys, content):
    (tmp_path / "a.fasta").write_text(content)
    said = refused(monkeypatch, capsys, run, "-o", tmp_path / "a.fasta", "--resume", "--device", "cpu")
    assert "cannot continue, this file was made by another command" in said
    assert (tmp_path / "a.fasta").read_text() == content


def test_another_seed_is_another_command(run, tmp_path, monkeypatch, capsys):
    sample(run, "-n", "2", "-o", tmp_path / "a.fasta")
    said = refused(monkeypatch, capsys, run, "-n", "3", "--seed", "1", "-o", tmp_path / "a.fasta", "--resume")
    assert "seed=0" in said
    assert "seed=1" in said


def test_templates_are_filled_in_and_named(run, tmp_path):
    (tmp_path / "t.fasta").write_text(">one\nMK__AC?\n>two\nA...W\n")
    sample(run, "--template", tmp_path / "t.fasta", "--num-per-template", "2", "-o", tmp_path / "a.fasta")
    lines = (tmp_path / "a.fasta").read_text().splitlines()
    assert [re.search("template=(\\w+)", line)[1] for line in lines[::2]] == ["one", "one", "two", "two"]
    assert all(re.fullmatch("MK[A-Z]{2}AC[A-Z]", line) for line in lines[1:4:2])
    assert all(re.fullmatch("A[A-Z]{3}W", line) for line in lines[5::2])


def test_a_redesign_keeps_the_rest(run, tmp_path):
    (tmp_path / "t.fasta").write_text(">one\nACDEFGHIKL\n")
    sample(run, "--template", tmp_path / "t.fasta", "--redesign", "0.3", "-o", tmp_path / "a.fasta")
    header, body = (tmp_path / "a.fasta").read_text().splitlines()
    assert " template=one redesign=0.3 " in header
    assert sum(a != b for a, b in zip(body, "ACDEFGHIKL", strict=True)) <= 3


ERRORS = [
    (">a\nMK_J\n", [], "a: 'J' at position 4 is not in the model's alphabet"),
    (">a\nMKAC\n", [], "a: nothing is to be drawn"),
    (f">a\n{'_' * 30}\n", [], "a: length 30 is impossible: this model makes 1 to 24 residues"),
    ("", [], "t.fasta"),
    (">a\n\n", [], "a: it is empty"),
    ("MKV\n", [], "expected a FASTA header"),
    (">a\nM_\n", ["-n", "3"], "--num-per-template"),
    (">a\nMKV\n", ["--redesign", "0"], "share of 0"),
    (">a\nM_\n", ["--resume"], "give --out"),
    (">a\nM_\n", ["--predictor", "eular"], "predictor='eular'"),
    (">a\nM_\n", ["--top-p", "2"], "top_p=2.0"),
]


@pytest.mark.parametrize(("content", "options", "words"), ERRORS, ids=[words for *_, words in ERRORS])
def test_what_cannot_be_done_is_one_message(run, tmp_path, monkeypatch, capsys, content, options, words):
    (tmp_path / "t.fasta").write_text(content)
    said = refused(monkeypatch, capsys, run, "--template", tmp_path / "t.fasta", *options, "--device", "cpu")
    assert words in said
    assert "Traceback" not in said


def test_redesign_without_sequences_and_a_file_that_is_not_there_are_refused(run, tmp_path, monkeypatch, capsys):
    assert "--template" in refused(monkeypatch, capsys, run, "--redesign", "0.3")
    assert "no such file" in refused(monkeypatch, capsys, run, "--template", tmp_path / "none.fasta")


def test_a_model_whose_noise_stops_early_says_what_to_do(tmp_path, monkeypatch, capsys):
    with pytest.warns(sedd.SeddWarning, match="cannot generate from nothing"):
        config = sedd.load_config("quickstart", *TINY, "noise.sigma_max=0.5")
    sedd.Trainer(config, run=tmp_path / "run").fit(progress=False)
    assert "give a template" in refused(monkeypatch, capsys, tmp_path / "run", "--device", "cpu")
    (tmp_path / "t.fasta").write_text(">a\nMK____\n")
    said = refused(monkeypatch, capsys, tmp_path / "run", "--template", tmp_path / "t.fasta", "--device", "cpu")
    assert "4 of 6 residues are to be drawn, 67%" in said
    assert "it can draw 2 of 6 (39.3%)" in said
    (tmp_path / "t.fasta").write_text(">a\nMK__AC\n")
    sample(tmp_path / "run", "--template", tmp_path / "t.fasta", "-o", tmp_path / "a.fasta")
    assert re.search("^MK..AC$", (tmp_path / "a.fasta").read_text(), re.MULTILINE)


def test_a_text_model_fills_in_lines_and_its_file_can_be_continued(tmp_path):
    (tmp_path / "some.txt").write_text("the cat sat on the mat\nand the dog ran\n" * 60)
    data = (f"data.train={tmp_path / 'some.txt'}", "data.alphabet=text", "data.chunk_length=16", "data.holdout=0.2")
    sedd.Trainer(sedd.load_config("quickstart", *TINY, *data), run=tmp_path / "run").fit(progress=False)
    sample(tmp_path / "run", "-n", "6", "--length", "20", "-o", tmp_path / "whole.txt")
    whole = (tmp_path / "whole.txt").read_bytes()
    assert whole.count(b"=== sample-") == 6
    (tmp_path / "part.txt").write_bytes(whole[: len(whole) // 2])
    sample(tmp_path / "run", "-n", "6", "--length", "20", "-o", tmp_path / "part.txt", "--resume")
    assert (tmp_path / "part.txt").read_bytes() == whole
    (tmp_path / "t.txt").write_text("the ___ sat\n")
    assert re.search("^the ... sat$", sample(tmp_path / "run", "--template", tmp_path / "t.txt"), re.M | re.S)
