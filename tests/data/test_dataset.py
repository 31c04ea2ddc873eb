from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from sedd.config.run_file import load_config
from sedd.config.sections import Data, Residues, Synthetic
from sedd.data import PROTEIN, Dataset, open_data, open_whole, text_alphabet
from sedd.data.prepare.options import PrepareOptions
from sedd.data.prepare.preparing import prepare
from sedd.data.statistics import share_longer
from sedd.errors import ConfigError, DataError
from sedd.files import cache_directory

FASTA = "".join(f">s{i}\n{'ACDEFGHIKLMNPQRSTVWY'[i % 20] * (i % 7 + 2)}KWx\n" for i in range(100)).replace("x", "")


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    return tmp_path / "xdg/sedd"


@pytest.fixture
def fasta(tmp_path: Path) -> Path:
    path = tmp_path / "proteins.fasta"
    path.write_text(FASTA)
    return path


def opened(**options: object) -> Dataset:
    return open_data(Data(**options), seed=0)


def test_the_synthetic_source_knows_its_exact_likelihood() -> None:
    data = opened(synthetic=Synthetic(sequences=500))
    assert (len(data.train), len(data.valid), data.alphabet) == (500, 256, PROTEIN)
    assert data.exact_nll is not None
    assert 2.2 < data.exact_nll < 2.5
    assert data.token_counts.sum() == sum(len(data.train[i]) for i in range(500))
    assert "entropy of the source" in data.summary
    assert not np.array_equal(data.train[0], data.valid[0])


def test_a_fasta_file_is_prepared_once_into_the_cache(fasta: Path, cache: Path) -> None:
    calls: list[int] = []
    first = open_data(Data(train=str(fasta)), seed=0, progress=lambda *_: calls.append(1))
    assert calls
    calls.clear()
    again = open_data(Data(train=str(fasta)), seed=1, progress=lambda *_: calls.append(1))
    assert not calls
    assert len(first.train) + len(first.valid) == 100
    assert first.token_counts.tolist() == again.token_counts.tolist()
    assert first.exact_nll is None
    assert "100 read, 100 kept" in first.summary
    assert len(list(cache.iterdir())) == 1
    open_data(Data(train=str(fasta), min_length=5), seed=0)
    assert len(list(cache.iterdir())) == 2
    fasta.write_text(FASTA * 2)
    assert len(opened(train=str(fasta)).train) > len(first.train)


def test_a_replaced_file_of_equal_size_and_time_is_not_served_from_the_cache(fasta: Path) -> None:
    first = opened(train=str(fasta))
    state = fasta.stat()
    fasta.write_text(FASTA.replace("KW", "WK"))
    os.utime(fasta, ns=(state.st_atime_ns, state.st_mtime_ns))
    assert opened(train=str(fasta)).fingerprint != first.fingerprint


def test_several_files_may_be_named_in_every_way(fasta: Path, tmp_path: Path) -> None:
    other = tmp_path / "more.fasta"
    other.write_text(">x\nMKVLA\n>y\nMKLLA\n")
    for train in ([str(fasta), str(other)], str(tmp_path / "*.fasta")):
        data = opened(train=train, valid=str(other))
        assert (len(data.train), len(data.valid)) == (102, 2)


@pytest.mark.parametrize("name", ["20240115", "1.5", "on", "2024-01-15", "007"])
def test_a_name_that_yaml_would_read_as_something_else_is_a_name(
    fasta: Path, tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    fasta.rename(name)
    config = load_config({}, f"data.train={name}", f"data.valid=[{name!r}, '{name}']")
    assert (config.data.train, config.data.valid) == (name, (name, name))
    assert len(open_data(config.data, seed=0).train) == 100


def test_a_name_in_a_run_file_may_look_like_a_number() -> None:
    assert load_config({"data": {"train": 20240115}}).data.train == "20240115"
    with pytest.raises(ConfigError):
        load_config({"data": {"train": True}})


def test_the_cache_can_be_elsewhere(fasta: Path, tmp_path: Path, cache: Path) -> None:
    opened(train=str(fasta), cache=str(tmp_path / "mine"))
    assert list((tmp_path / "mine").iterdir())
    assert not cache.exists()


def test_a_held_out_file_of_its_own_takes_nothing_from_training(fasta: Path, tmp_path: Path) -> None:
    held = tmp_path / "held.fasta"
    held.write_text(">v\nACDEF\n>w\nxxACD\n")
    data = opened(train=str(fasta), valid=str(held))
    assert (len(data.train), len(data.valid)) == (100, 1)
    assert "2 read, 1 kept, 1 dropped" in data.summary


def test_a_prepared_store_is_opened_in_place(fasta: Path, tmp_path: Path, cache: Path) -> None:
    prepared = prepare(fasta, tmp_path / "store", options=PrepareOptions(holdout=0.1))
    data = opened(train=str(tmp_path / "store"), holdout=0.1)
    assert len(data.train) == len(prepared.train)
    assert not cache.exists()
    parts = opened(train=str(tmp_path / "store/train"), valid=str(tmp_path / "store/valid"))
    assert len(parts.valid) == len(data.valid)
    with pytest.raises(DataError) as caught:
        opened(train=str(tmp_path / "store/train"), holdout=0.1)
    assert caught.value.file == tmp_path / "store/train"
    with pytest.raises(DataError) as caught:
        opened(train=str(fasta), valid=str(tmp_path / "store"))
    assert caught.value.file == tmp_path / "store"


def test_a_store_made_otherwise_is_refused_with_the_differences(fasta: Path, tmp_path: Path) -> None:
    prepare(fasta, tmp_path / "store", options=PrepareOptions())
    with pytest.raises(DataError) as caught:
        opened(train=str(tmp_path / "store"), min_length=9, residues=Residues(gaps="drop"), holdout=0.3)
    for line in (
        "data.min_length: the store has 2, wanted 9",
        "data.residues.gaps: the",
        "data.holdout: the store has 0.01",
    ):
        assert line in str(caught.value)
    with pytest.raises(DataError) as caught:
        opened(train=str(tmp_path / "store"), alphabet="esm")
    assert caught.value.file == tmp_path / "store"


def test_an_endless_file_of_clusters_is_refused_before_it_is_read_to_its_end(fasta: Path, tmp_path: Path) -> None:
    endless = tmp_path / "endless.tsv"
    with endless.open("wb") as file:
        file.truncate(2**40)  # sparse: it takes no space, and hours to read
    with pytest.raises(DataError, match="a line of more than"):
        opened(train=str(fasta), clusters=str(endless), cache=str(tmp_path / "cache"))


def test_changed_clusters_are_prepared_anew(fasta: Path, tmp_path: Path, cache: Path) -> None:
    clusters = tmp_path / "c.tsv"
    for prepared, size in enumerate((5, 5, 4), 1):
        clusters.write_text("".join(f"s{i}\t{i // size}\n" for i in range(100)))
        for _ in range(2):
            opened(train=str(fasta), clusters=str(clusters))
        assert len(list(cache.iterdir())) == prepared


def test_a_store_made_with_clusters_needs_no_cluster_file_to_be_opened(fasta: Path, tmp_path: Path) -> None:
    clusters = tmp_path / "c.tsv"
    clusters.write_text("".join(f"s{i}\t{i // 5}\n" for i in range(100)))
    prepare(fasta, tmp_path / "store", options=PrepareOptions(clusters=clusters))
    assert len(opened(train=str(tmp_path / "store")).train)
    assert len(opened(train=str(tmp_path / "store"), clusters=str(clusters)).train)
    clusters.write_text("s0\t0\n")
    with pytest.raises(DataError) as caught:
        opened(train=str(tmp_path / "store"), clusters=str(clusters))
    assert caught.value.file == tmp_path / "store"


def test_text_has_the_alphabet_of_its_characters(tmp_path: Path) -> None:
    path = tmp_path / "x.txt"
    path.write_text("Übung macht den Meister. " * 40)
    data = opened(train=str(path), alphabet="text", chunk_length=16)
    assert data.alphabet.symbols == tuple(sorted(set("Übung macht den Meister. ")))
    assert data.alphabet.n == len(data.token_counts)
    assert len(data.train) + len(data.valid) == -(-25 * 40 // 16)


def test_the_characters_of_a_held_out_text_belong_to_the_alphabet(tmp_path: Path) -> None:
    train, valid = tmp_path / "a.txt", tmp_path / "b.txt"
    train.write_text("abc" * 100)
    valid.write_text("abé" * 100)
    data = opened(train=str(train), valid=str(valid), alphabet="text", chunk_length=10)
    assert data.alphabet.symbols == ("a", "b", "c", "é")
    assert data.alphabet.decode(data.valid[0]) == "abéabéabéa"


def test_a_character_outside_a_given_alphabet_is_named_with_file_and_line(tmp_path: Path) -> None:
    path = tmp_path / "b.txt"
    path.write_text("ab\nab\nabzz")
    with pytest.raises(DataError) as caught:
        open_whole(Data(alphabet="text", chunk_length=4), str(path), text_alphabet("ab\n"))
    assert (caught.value.file, caught.value.line, caught.value.record) == (path, 3, "chunk_2")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"train": "{}/protein.fasta"}, "no such file; did you mean .*proteins.fasta"),
        ({"train": "{}/nowhere/x.fasta"}, "the directory .*nowhere does not exist either"),
        ({"train": "{}/zzz"}, "zzz: no such file in "),
        ({"train": "{}/notes.txt"}, "set data.alphabet=text"),
        ({"train": "{}/empty"}, "a directory without a token store"),
        ({"train": "/dev/null"}, "neither a file nor a directory"),
        ({"train": "{}/proteins.fasta", "valid": "{}/missing"}, "missing: no such file"),
        ({"train": "{}/proteins.fasta", "clusters": "{}/missing"}, "missing: cannot be read: No such file"),
        ({"train": "synthetic", "alphabet": "esm"}, "protein alphabet"),
        ({"train": "synthetic", "valid": "{}/proteins.fasta"}, "remove data.valid"),
    ],
)
def test_what_cannot_be_opened_is_an_error_that_says_what_to_do(
    fasta: Path, tmp_path: Path, options: dict[str, str], message: str
) -> None:
    (tmp_path / "notes.txt").write_text("hello")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=message):
        opened(**{key: value.format(tmp_path) for key, value in options.items()})


def test_a_damaged_cache_is_named(fasta: Path, cache: Path) -> None:
    opened(train=str(fasta))
    [entry] = cache.iterdir()
    (entry / "train/tokens.bin").unlink()
    with pytest.raises(DataError) as caught:
        opened(train=str(fasta))
    assert caught.value.file == entry / "train/tokens.bin"


def test_real_text_is_read_whole(tmp_path: Path) -> None:
    path = Path(__file__).parents[3] / "shared/data/text/tinyshakespeare.txt"
    if not path.exists():
        pytest.skip(f"{path} is not there")
    data = opened(train=str(path), alphabet="text")
    assert data.alphabet.n == 65
    assert data.token_counts.sum() + sum(len(data.valid[i]) for i in range(len(data.valid))) == 1_115_394


@pytest.mark.parametrize("kind", ["file", "below-a-file", "full"])
def test_a_cache_that_cannot_be_written_names_the_ways_out(
    kind: str, tmp_path: Path, fasta: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    cache = {"file": tmp_path / "file", "below-a-file": tmp_path / "file" / "below", "full": tmp_path / "full"}[kind]
    if kind == "full":

        def full(*_: object) -> None:
            raise OSError(28, "No space left on device")

        monkeypatch.setattr("sedd.data.prepare.preparing.sync_directory", full)
    with pytest.raises(DataError) as caught:
        opened(train=str(fasta), cache=str(cache))
    assert all(text in str(caught.value) for text in (str(cache), "data.cache=", "XDG_CACHE_HOME"))


def test_without_a_home_directory_there_is_still_a_cache(fasta: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def homeless(self: Path) -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setattr(Path, "expanduser", lambda self: homeless(self) if str(self).startswith("~") else self)
    assert cache_directory().is_absolute()


def test_the_share_of_sequences_that_are_cropped_is_known(fasta: Path) -> None:
    data = opened(train=str(fasta))
    lengths = [len(data.train[index]) for index in range(len(data.train))]
    for longest in (3, 6, 99):
        share = sum(length > longest for length in lengths) / len(lengths)
        assert share_longer(data.train, longest=longest) == pytest.approx(share)
