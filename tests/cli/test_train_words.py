"""What `sedd train` is given: data or a run in place of a run file, or nothing but `--resume`."""

from __future__ import annotations

import bz2
import gzip
import lzma
import os
import shlex
import shutil
from pathlib import Path

import pytest

import sedd
from sedd.config.run_file import load_config
from sedd.runs.directory import RunDirectory
from tests.cli.commands import failed, sedd_
from tests.conftest import TINY

FASTA = "".join(f">s{i}\n{'ACDEFGHIKLMNPQRSTVWY'[i % 19 :]}{'MK' * (i // 19)}A\n" for i in range(100))
SMALL = (*(item for item in TINY if not item.startswith("data.")), "data.holdout=0.4")
GIVEN = {
    "a.fasta": FASTA.encode(),
    "a.fasta.gz": gzip.compress(FASTA.encode()),
    "a.bz2": bz2.compress(FASTA.encode()),
    "a.xz": lzma.compress(FASTA.encode()),
    "named-wrongly.yaml": FASTA.encode(),
    "with a space.fa": b"\xef\xbb\xbf\n" + FASTA.encode(),
    "lines.txt": b"MKVLA\nMKKLLP\n",
    "one.txt": b"MKVLA\n",
    "table.csv": b"id,sequence\na,MKVLA\n",
    "reads.fastq": b"@r1\nACGT\n+\nIIII\n",
    "family.sto": b"# STOCKHOLM 1.0\n#=GF ID x\na MKV\n//\n",
    "binary": b"\x00\x01\x02",
    "empty.fasta": b"",
    "latin": "café\n".encode("latin-1"),
}


@pytest.mark.parametrize("name", GIVEN)
def test_a_data_file_in_place_of_a_run_file_is_answered_with_the_command_that_works(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path(name).write_bytes(GIVEN[name])
    for command in ("train", "forecast"):
        printed = failed(monkeypatch, capsys, command, name)
        advice = shlex.split(printed.partition("sedd train ")[2])
        assert advice == ["small", f"data.train={name}"]


def test_the_command_of_the_answer_works(tmp_path: Path) -> None:
    (tmp_path / "my.fasta").write_text(FASTA)
    with pytest.raises(sedd.ConfigError) as caught:
        sedd_("train", tmp_path / "my.fasta")
    words = shlex.split(str(caught.value).partition("sedd train ")[2])
    with pytest.warns(sedd.SeddWarning):
        sedd_("train", *words, *SMALL, "--run", tmp_path / "run")


def test_a_run_file_is_none_of_these(tmp_path: Path) -> None:
    for name, text in (
        ("run.yaml", ""),
        ("run.yml", "# only remarks\n"),
        ("run", "seed: 1\n"),
        ("run.txt", "seed: 1\n"),
    ):
        (tmp_path / name).write_text(text)
        assert load_config(tmp_path / name).seed in (0, 1)


def test_a_store_and_a_run_in_place_of_a_run_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "my.fasta").write_text(FASTA)
    sedd_("data", "prepare", tmp_path / "my.fasta", tmp_path / "store", "holdout=0.4")
    assert f"data.train={tmp_path / 'store'}" in failed(monkeypatch, capsys, "train", tmp_path / "store")
    sedd_("train", "quickstart", *TINY, "--run", tmp_path / "run")
    assert f"--resume --run {tmp_path / 'run'}" in failed(monkeypatch, capsys, "train", tmp_path / "run")


def test_a_run_continues_from_its_directory_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also with more steps, on another device, or after the run and its data were moved."""
    monkeypatch.chdir(tmp_path)
    Path("my.fasta").write_text(FASTA)
    with pytest.warns(sedd.SeddWarning):
        sedd_("train", "small", "data.train=my.fasta", *SMALL, "--run", "runs/a", "--samples", "0")
    shutil.rmtree("runs/a/checkpoints/step-00000008")
    command = shlex.split(RunDirectory(Path("runs/a")).resume_command)
    assert "Resumed at step 4" in sedd_(*command[1:], "--samples", "0")
    assert "Resumed at step 8" in sedd_("train", "--resume", "--device", "cpu", "--samples", "0")
    (tmp_path / "elsewhere").mkdir()
    shutil.move("runs", "elsewhere/runs")
    shutil.move("my.fasta", "elsewhere/my.fasta")
    assert "Resumed at step 8" in sedd_("train", "--resume", "--run", "elsewhere/runs/a", "--samples", "0")


def test_what_cannot_be_continued_says_what_to_give(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert "sedd train small" in failed(monkeypatch, capsys, "train")
    assert "sedd train small data.train=x.fasta" in failed(monkeypatch, capsys, "train", "data.train=x.fasta")
    assert "sedd train small" in failed(monkeypatch, capsys, "train", "--resume")
    assert "nowhere" in failed(monkeypatch, capsys, "train", "--resume", "--run", "nowhere")


@pytest.mark.parametrize("moved", ["run", "data", "both", "caller"])
def test_evaluate_and_quality_find_the_data_of_a_moved_run(
    moved: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, there = tmp_path / "begun", tmp_path / "there"
    begun.mkdir()
    there.mkdir()
    monkeypatch.chdir(begun)
    Path("my.fasta").write_text(FASTA)
    with pytest.warns(sedd.SeddWarning):
        sedd_("train", "small", "data.train=my.fasta", *SMALL, "--run", "runs/a", "--samples", "0")
    run, data = Path("runs/a"), []
    if moved in ("run", "both"):
        run = Path(shutil.move(run, there / "a"))
    if moved in ("data", "both"):
        os.rename("my.fasta", there / "my.fasta")
    if moved == "data":
        data = [f"data.train={there / 'my.fasta'}"]
    if moved == "caller":
        run = run.absolute()
        monkeypatch.chdir(there)
        Path("my.fasta").write_text(">other\nMKVLA\n>another\nMKVLC\n")  # of that name, and not the data of the run
    assert "sequences" in sedd_("evaluate", run, *data, "--sequences", "4", "--masks", "2")
    assert "novelty" in sedd_("quality", run, *data, "--samples", "12")
    checkpoint = sorted((run / "checkpoints").iterdir())[-1]
    assert "sequences" in sedd_("evaluate", checkpoint, *data, "--sequences", "4", "--masks", "2", "--no-controls")


def test_data_that_are_nowhere_or_others_are_refused_with_the_way_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("my.fasta").write_text(FASTA)
    with pytest.warns(sedd.SeddWarning):
        sedd_("train", "small", "data.train=my.fasta", *SMALL, "--run", "a", "--samples", "0")
    Path("my.fasta").write_text(FASTA.replace("WY", "YW"))
    assert "data.train=PATH" in failed(monkeypatch, capsys, "evaluate", "a")
    Path("my.fasta").unlink()
    assert "data.train=PATH" in failed(monkeypatch, capsys, "evaluate", "a")
    assert "data.train" in failed(monkeypatch, capsys, "evaluate", "a", "data.holdout=0.1")
    assert "one file" in failed(monkeypatch, capsys, "evaluate", "a", "b.fasta", "c.fasta")
