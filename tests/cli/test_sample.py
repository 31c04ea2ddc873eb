"""`sedd sample`: files with provenance, that can be interrupted."""

from __future__ import annotations

import gzip
import os
import re
import threading
from pathlib import Path

import pytest

import sedd
from sedd.data.prepare.bytestream import ByteStream
from tests.cli.commands import assert_printed, failed, sedd_
from tests.conftest import TINY


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("runs") / "run"
    sedd.Trainer(sedd.load_config("quickstart", *TINY), run=path).fit(progress=False)
    return path


def sample(run: Path, *arguments: str | Path) -> str:
    return sedd_("sample", run, *arguments, "--device", "cpu")


def refused(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *arguments: str | Path) -> str:
    return failed(monkeypatch, capsys, "sample", *arguments)


def test_a_header_names_the_origin_of_a_sample_and_its_evaluations(run, tmp_path):
    sample(run, "-n", "2", "--seed", "3", "--length", "7", "--predictor", "first_hitting", "-o", tmp_path / "a.fasta")
    headers = re.findall("^>.*", (tmp_path / "a.fasta").read_text(), re.MULTILINE)
    step = sedd.load(run, device="cpu").step
    assert re.sub("-[0-9a-f]{8}-", "-#-", headers[1]) == (
        f">sample-#-2 run={run} step={step} seed=3 predictor=first_hitting length=7 nfe=7"
    )
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
    at = re.search(rb">sample-\w+-7 ", whole).start()
    length = {"header": at + 12, "body": at - 3, "between": at, "nothing": 0}[cut]
    (tmp_path / "part.fasta").write_bytes(whole[:length])
    printed = sample(run, *common, "-o", tmp_path / "part.fasta", "--resume")
    assert (tmp_path / "part.fasta").read_bytes() == whole
    if cut == "between":
        assert re.findall(r"\d+", printed.replace(str(tmp_path), "")) == ["11", "6"]  # sequences, drawn before
    sample(run, *common, "-o", tmp_path / "part.fasta", "--resume")
    assert (tmp_path / "part.fasta").read_bytes() == whole


def test_more_sequences_can_be_added_to_a_file_later(run, tmp_path):
    sample(run, "-n", "9", "-o", tmp_path / "whole.fasta")
    sample(run, "-n", "4", "-o", tmp_path / "part.fasta")
    sample(run, "-n", "9", "-o", tmp_path / "part.fasta", "--resume")
    assert (tmp_path / "part.fasta").read_text().count(">") == 9


@pytest.mark.parametrize("content", [">other\nMKV\n", "some notes", ">sample-1 run=x seed=9 length=3 nfe=1\nMKV\n"])
def test_a_file_of_another_command_is_not_continued_and_not_touched(run, tmp_path, monkeypatch, capsys, content):
    (tmp_path / "a.fasta").write_text(content)
    printed = refused(monkeypatch, capsys, run, "-o", tmp_path / "a.fasta", "--resume", "--device", "cpu")
    assert str(tmp_path / "a.fasta") in printed
    assert (tmp_path / "a.fasta").read_text() == content


@pytest.mark.parametrize("suffix", [".gz", ".bz2", ".xz", ".zst"])
def test_a_file_is_compressed_by_its_name_and_can_be_continued(run, tmp_path, suffix):
    sample(run, "-n", "5", "-o", tmp_path / "whole.fasta")
    packed = tmp_path / f"x.fasta{suffix}"
    sample(run, "-n", "3", "-o", packed)
    assert not packed.read_bytes().startswith(b">")
    sample(run, "-n", "5", "-o", packed, "--resume")
    assert b"".join(ByteStream(packed).blocks()) == (tmp_path / "whole.fasta").read_bytes()
    packed.write_bytes(packed.read_bytes()[:-9])
    sample(run, "-n", "5", "-o", packed, "--resume")
    assert b"".join(ByteStream(packed).blocks()) == (tmp_path / "whole.fasta").read_bytes()


def test_ids_differ_between_jobs_and_not_between_equal_ones(run, tmp_path):
    (tmp_path / "t.fasta").write_text(">a\nMK__\n")
    (tmp_path / "u.fasta").write_text(">a\nMKA_\n")
    jobs = [["--seed", "1"], ["--seed", "2"], ["--length", "9"], ["--steps", "3", "--predictor", "ancestral"]]
    jobs = [["-n", "3", *job] for job in jobs] + [["--template", tmp_path / f"{name}.fasta"] for name in "tu"]
    printed = [re.findall(r"^>(\S+)", sample(run, *job), re.M) for job in jobs]
    assert len({name for names in printed for name in names}) == 14
    assert re.findall(r"^>(\S+)", sample(run, *jobs[0]), re.M) == printed[0]


def test_a_file_is_not_written_over_unless_that_is_asked_for(run, tmp_path, monkeypatch, capsys):
    to = tmp_path / "a.fasta"
    to.write_text("precious")
    printed = refused(monkeypatch, capsys, run, "-o", to)
    assert "--force" in printed
    assert to.read_text() == "precious"
    sample(run, "-n", "2", "-o", to, "--force")
    assert to.read_text().count(">") == 2


def test_templates_come_from_a_pipe_and_with_a_mark_of_ones_own(run, tmp_path, monkeypatch, capsys):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    content = b"# by hand\n>one\nMKXXacx\n"
    writer = threading.Thread(target=pipe.write_bytes, args=(gzip.compress(content),))
    writer.start()
    assert re.search("^MK[A-Z]{2}AC[A-Z]$", sample(run, "--template", pipe, "--mark", "X"), re.M)
    writer.join()
    (tmp_path / "t.fasta").write_bytes(content)
    assert "--mark X" in refused(monkeypatch, capsys, run, "--template", tmp_path / "t.fasta")


def test_another_seed_is_another_command(run, tmp_path, monkeypatch, capsys):
    sample(run, "-n", "2", "-o", tmp_path / "a.fasta")
    printed = refused(monkeypatch, capsys, run, "-n", "3", "--seed", "1", "-o", tmp_path / "a.fasta", "--resume")
    assert {"seed=0", "seed=1"} <= set(re.findall(r"seed=\d", printed))


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
    (">a\nMK_J\n", []),
    (">a\nMKAC\n", []),
    (f">a\n{'_' * 30}\n", []),
    ("", []),
    (">a\n\n", []),
    ("MKV\n", []),
    (">a\nM_\n", ["-n", "3"]),
    (">a\nMKV\n", ["--redesign", "0"]),
    (">a\nM_\n", ["--resume"]),
    (">a\nM_\n", ["--predictor", "eular"]),
    (">a\nM_\n", ["--top-p", "2"]),
]
"""Templates, and options of the command."""


def test_what_cannot_be_done_is_one_message(run, tmp_path, monkeypatch, capsys):
    found = []
    for content, options in ERRORS:
        (tmp_path / "t.fasta").write_text(content)
        printed = refused(monkeypatch, capsys, run, "--template", tmp_path / "t.fasta", *options, "--device", "cpu")
        found.append(f"{content!r} {' '.join(options)}\n{printed}")
    for options in (["--redesign", "0.3"], ["--template", str(tmp_path / "none.fasta")]):
        found.append(f"{' '.join(options)}\n{refused(monkeypatch, capsys, run, *options)}")
    assert_printed("errors-sample", "\n".join(found), {tmp_path: "TMP", run: "RUN"})


def test_a_model_whose_noise_stops_early_names_what_it_can_draw(tmp_path, monkeypatch, capsys):
    with pytest.warns(sedd.SeddWarning):
        config = sedd.load_config("quickstart", *TINY, "noise.sigma_max=0.5")
    sedd.Trainer(config, run=tmp_path / "run").fit(progress=False)
    refused(monkeypatch, capsys, tmp_path / "run", "--device", "cpu")
    (tmp_path / "t.fasta").write_text(">a\nMK____\n")
    printed = refused(monkeypatch, capsys, tmp_path / "run", "--template", tmp_path / "t.fasta", "--device", "cpu")
    assert {"67%", "39.3%"} <= set(re.findall(r"[\d.]+%", printed))  # of the residues: to be drawn, can be drawn
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
