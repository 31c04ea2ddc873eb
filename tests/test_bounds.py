"""Whatever a file holds, reading it takes bounded time and memory and ends in a typed error."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

import sedd
from sedd.config.sections import Data
from sedd.data import open_data
from sedd.data.prepare.bytestream import ByteStream
from sedd.data.prepare.clusters import Clusters
from sedd.data.prepare.options import PrepareOptions
from sedd.data.prepare.preparing import prepare
from sedd.data.prepare.readers import read_fasta
from sedd.data.prepare.records import parse_record
from sedd.data.store import TokenStore
from sedd.diagnosis.logs.reading import read_log
from sedd.evaluation.mutations import read_mutations
from sedd.runs.directory import RunDirectory
from sedd.sampling.templates import read_templates

PROTEIN = sedd.data.PROTEIN
Reader = Callable[[Path], object]


def in_run(name: str, read: Callable[[RunDirectory], object]) -> Reader:
    """Read a file as the file `name` of a run."""

    def reader(path: Path) -> object:
        (path.parent / "run").mkdir()
        path.rename(path.parent / "run" / name)
        return read(RunDirectory(path.parent / "run"))

    return reader


def opened(path: Path, **options: str) -> object:
    """The data of a run whose training file is harmless."""
    train = path.parent / "train"
    train.write_text("to be or not\n" * 99 if options.get("alphabet") == "text" else ">a\nACDEFGHIKL\n" * 9)
    return open_data(Data(train=str(train), **options), seed=0)


READERS: dict[str, Reader] = {
    "run file": sedd.load_config,
    "FASTA": lambda path: list(read_fasta(ByteStream(path))),
    "clusters": Clusters,
    "mutations": lambda path: read_mutations(path, {}, PROTEIN),
    "templates": lambda path: read_templates(path, PROTEIN),
    "log": read_log,
    "event file": lambda path: read_log(path.rename(path.parent / "events.out.tfevents.1")),
    "cluster file of a run": lambda path: opened(path, clusters=str(path)),
    "held-out file of a run": lambda path: opened(path, valid=str(path)),
    "held-out text of a run": lambda path: opened(path, valid=str(path), alphabet="text"),
    "config.yaml": in_run("config.yaml", RunDirectory.config),
    "metrics.jsonl": in_run("metrics.jsonl", RunDirectory.read_metrics),
    "environment.json": in_run("environment.json", RunDirectory.environment),
}
READ_FROM_PIPES = ("templates",)
"""A pipe is as good as a file there."""
EMPTY_INSTEAD = ("environment.json",)
"""Nothing depends on it: it counts as missing."""


def refused(reader: str, path: Path) -> None:
    if reader in EMPTY_INSTEAD:
        assert READERS[reader](path) == {}
        return
    with pytest.raises(sedd.SeddError):
        READERS[reader](path)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes with names")
@pytest.mark.parametrize("reader", [reader for reader in READERS if reader not in READ_FROM_PIPES])
def test_a_pipe_is_refused_without_waiting_for_it(tmp_path, reader):
    os.mkfifo(tmp_path / "file")
    refused(reader, tmp_path / "file")


@pytest.mark.skipif(not Path("/dev/zero").exists(), reason="no devices")
@pytest.mark.parametrize("reader", READERS)
def test_a_device_is_refused_without_reading_it(tmp_path, reader):
    (tmp_path / "file").symlink_to("/dev/zero")
    refused(reader, tmp_path / "file")


@pytest.mark.parametrize("reader", READERS)
def test_a_huge_sparse_file_is_refused_before_it_fills_the_memory(tmp_path, reader):
    with (tmp_path / "file").open("wb") as file:
        file.truncate(1 << 42)
    refused(reader, tmp_path / "file")


ALIASES = "a: &a [x,x,x,x,x,x,x,x,x]\n" + "".join(
    f"{new}: &{new} [{','.join([f'*{old}'] * 9)}]\n" for old, new in zip("abcdefgh", "bcdefghi", strict=True)
)
MERGES = "a: &a {x: 1, y: 2}\n" + "".join(
    f"{new}: &{new} {{'<<': [{','.join([f'*{old}'] * 20)}]}}\n" for old, new in zip("abcdefgh", "bcdefghi", strict=True)
)
BOMBS = {
    "aliases": ALIASES,
    "merged aliases": MERGES,
    "an alias of itself": "a: &a [*a]\n",
    "deep lists": "a: " + "[" * 100_000,
    "deep sections": "".join(" " * depth + "a:\n" for depth in range(200)),
    "a long number": "seed: " + ":".join(["59"] * 200_000),
    "many digits": "seed: " + "9" * 10_000,
}


@pytest.mark.parametrize("bomb", BOMBS)
def test_yaml_that_would_explode_is_a_typed_error(tmp_path, bomb):
    (tmp_path / "file").write_text(BOMBS[bomb])
    with pytest.raises(sedd.ConfigError):
        sedd.load_config(tmp_path / "file")
    with pytest.raises(sedd.ConfigError):
        sedd.load_config("quickstart", "data=" + BOMBS[bomb].removeprefix("a: ").removeprefix("seed: "))
    if "number" not in bomb and "digits" not in bomb:
        refused("config.yaml", tmp_path / "file")


@pytest.mark.parametrize("text", ["[" * 200_000, '{"a":' * 200_000, "9" * 100_000])
def test_deep_and_long_json_is_a_typed_error_or_counts_as_missing(tmp_path, text):
    for reader in ("metrics.jsonl", "log", "environment.json"):
        folder = tmp_path / reader
        folder.mkdir()
        (folder / "file").write_text(f"{text}\n{text}\n")
        refused(reader, folder / "file")
    (tmp_path / "store").mkdir()
    (tmp_path / "store" / "manifest.json").write_text(text)
    with pytest.raises(sedd.DataError):
        TokenStore.open(tmp_path / "store")


def test_thousands_of_headers_behind_sequences_need_no_recursion(tmp_path):
    count = 20_000
    records = list(parse_record(tmp_path, b"s\nAC" + b"  >s\nAC" * count, 1, b"\n"))
    assert len(records) == count + 1
    assert [record.line for record in records[:3]] == [1, 2, 3]
    assert {record.sequence for record in records} == {b"AC"}
    indented = tmp_path / "indented.fasta"
    indented.write_bytes(b">s\nAC\n" + b"  >s\nAC\n" * 1_800)
    assert len(list(read_fasta(ByteStream(indented)))) == 1_801


def test_each_line_of_a_preamble_is_looked_at_once(tmp_path, monkeypatch):
    monkeypatch.setattr("sedd.data.prepare.bytestream.BLOCK", 1 << 12)
    path = tmp_path / "file"
    path.write_bytes(b";comment\n" * 200_000 + b">s\nAC\n")
    [record] = read_fasta(ByteStream(path))
    assert (record.line, record.repairs) == (200_001, ("comments",) * 200_000)
    path.write_bytes(b";" * 3_000_000)
    monkeypatch.setattr("sedd.data.prepare.records.LONGEST_RECORD", 1 << 20)
    with pytest.raises(sedd.DataError):
        list(read_fasta(ByteStream(path)))


@pytest.fixture
def store(tmp_path: Path) -> Path:
    (tmp_path / "in.fasta").write_text(">a\nACDEF\n>b\nGHIKL\n")
    prepare(tmp_path / "in.fasta", tmp_path / "out", options=PrepareOptions(holdout=0.0))
    return tmp_path / "out" / "train"


@pytest.mark.skipif(not hasattr(os, "symlink"), reason="no symbolic links")
@pytest.mark.parametrize("name", ["tokens.bin", "offsets.npy", "manifest.json"])
def test_a_store_of_links_is_refused(store, name):
    (store / name).rename(store.parent / name)
    (store / name).symlink_to(store.parent / name)
    with pytest.raises(sedd.DataError):
        TokenStore.open(store)


@pytest.mark.parametrize("files", [[], "x", {}, {"tokens.bin": 1}, {"tokens.bin": {"size": -1}}, {"../a": {}}])
def test_a_manifest_with_other_files_is_refused(store, files):
    manifest = json.loads((store / "manifest.json").read_text())
    if isinstance(files, dict):
        files = manifest["files"] | files if "../a" not in files else files
        files = {} if files == manifest["files"] else files
    (store / "manifest.json").write_text(json.dumps(manifest | {"files": files}))
    with pytest.raises(sedd.DataError):
        TokenStore.open(store)
