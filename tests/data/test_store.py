from __future__ import annotations

import json
import pickle
import threading
import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from sedd.config.sections import Data
from sedd.data.alphabet import PROTEIN, Alphabet, text_alphabet
from sedd.data.dataset import Dataset, open_data
from sedd.data.order import Batches, lengths_of
from sedd.data.prepare.options import PrepareOptions
from sedd.data.prepare.preparing import prepare
from sedd.data.prepare.writer import StoreWriter
from sedd.data.statistics import DataStatistics
from sedd.data.store import TokenStore
from sedd.errors import DataError
from sedd.sampling.lengths import LengthDistribution

REST: dict[str, object] = {"options": {}, "source": {}, "tally": {}}
SEQUENCES = ["ACD", "WY", "", "MKTAYIAK"]


def append(writer: StoreWriter, sequence: str) -> None:
    ids = writer.alphabet.encode(sequence)
    writer.extend(ids.tobytes(), np.array([len(ids)]))


def write(path: Path, sequences: list[str], alphabet: Alphabet = PROTEIN) -> TokenStore:
    writer = StoreWriter(path, alphabet)
    for sequence in sequences:
        append(writer, sequence)
    writer.finish(dict(REST))
    return TokenStore.open(path)


def test_a_store_gives_back_what_was_written(tmp_path: Path) -> None:
    store = write(tmp_path / "s", SEQUENCES)
    assert [PROTEIN.decode(store[i]) for i in range(len(store))] == SEQUENCES
    assert PROTEIN.decode(store[-1]) == SEQUENCES[-1]
    assert store.lengths.tolist() == [3, 2, 0, 8]
    assert store.lengths_at(np.array([3, 0])).tolist() == [8, 3]
    assert store.residues == 13
    assert store.token_counts.tolist() == np.bincount(PROTEIN.encode("".join(SEQUENCES)), minlength=20).tolist()
    assert store.alphabet == PROTEIN
    for index in (4, -5):
        with pytest.raises(IndexError):
            store[index]
    assert not store[0].flags.writeable


def test_iterating_ends(tmp_path: Path) -> None:
    assert [len(ids) for ids in write(tmp_path / "s", SEQUENCES)] == [3, 2, 0, 8]  # type: ignore[attr-defined]


def test_large_alphabets_take_two_bytes(tmp_path: Path) -> None:
    alphabet = text_alphabet(map(chr, range(0x4E00, 0x4E00 + 1000)))
    text = [chr(0x4E00 + 999) + chr(0x4E00), chr(0x4E00 + 500)]
    store = write(tmp_path / "s", text, alphabet)
    assert store[0].dtype == np.uint16
    assert [alphabet.decode(store[i]) for i in range(2)] == text


def test_the_offsets_are_an_ordinary_npy_file(tmp_path: Path) -> None:
    write(tmp_path / "s", SEQUENCES)
    assert np.load(tmp_path / "s/offsets.npy").tolist() == [0, 3, 5, 5, 13]


def test_a_store_travels_to_other_processes_as_its_path(tmp_path: Path) -> None:
    store = write(tmp_path / "s", SEQUENCES * 1000)
    assert store.lengths.sum() == 13_000
    data = pickle.dumps(store)
    assert len(data) < 500
    assert np.array_equal(pickle.loads(data)[3], store[3])


def test_a_store_knows_how_often_each_length_occurs(tmp_path: Path) -> None:
    store = write(tmp_path / "s", [*SEQUENCES, "AC", "A" * 300])
    assert store.length_counts is not None
    lengths, counts = store.length_counts
    assert (lengths.tolist(), counts.tolist()) == ([0, 2, 3, 8, 300], [1, 2, 1, 1, 1])
    path = tmp_path / "s/manifest.json"
    path.write_text(json.dumps({k: v for k, v in json.loads(path.read_text()).items() if k != "length_counts"}))
    older = TokenStore.open(tmp_path / "s")
    assert older.length_counts is None
    for longest in (5, 512):
        assert LengthDistribution.of(older, longest=longest) == LengthDistribution.of(store, longest=longest)
        by_store, by_older = (
            DataStatistics.of(Dataset(s, s, PROTEIN, s.token_counts, None, ""), longest=longest).length
            for s in (store, older)
        )
        assert by_store == pytest.approx(by_older)


def test_lengths_are_known_before_the_first_batch_from_the_manifest_alone(tmp_path: Path) -> None:
    store = write(tmp_path / "s", SEQUENCES)
    four = _Four(store)
    assert LengthDistribution.of(four, longest=512).quantiles[-1] == 8
    assert DataStatistics.of(Dataset(four, four, PROTEIN, store.token_counts, None, ""), longest=512).length == 13 / 4


class _Four:
    """A store of which only the manifest can be read."""

    def __init__(self, store: TokenStore) -> None:
        self.length_counts = store.length_counts

    def __len__(self) -> int:
        return len(SEQUENCES)

    def __getitem__(self, index: int) -> np.ndarray:
        raise AssertionError


def test_planning_does_not_compute_all_lengths(tmp_path: Path) -> None:
    store = write(tmp_path / "s", SEQUENCES)
    Batches(store, seed=0, batch_size=2, batch_residues=10, max_length=8).window(0)
    assert lengths_of(store, np.array([3, 0])).tolist() == [8, 3]
    assert "lengths" not in vars(store)


def test_opening_reads_next_to_nothing(tmp_path: Path) -> None:
    write(tmp_path / "s", ["ACDEFGHIKL" * 20] * 20_000)
    tracemalloc.start()
    store = TokenStore.open(tmp_path / "s")
    assert len(store[19_999]) == 200
    assert tracemalloc.get_traced_memory()[1] < 200_000
    tracemalloc.stop()


@pytest.mark.parametrize("name", ["tokens.bin", "offsets.npy", "manifest.json"])
def test_a_missing_file_is_named(tmp_path: Path, name: str) -> None:
    write(tmp_path / "s", SEQUENCES)
    (tmp_path / "s" / name).unlink()
    with pytest.raises(DataError) as caught:
        TokenStore.open(tmp_path / "s")
    assert caught.value.file == tmp_path / "s" / name


@pytest.mark.parametrize("name", ["tokens.bin", "offsets.npy"])
def test_a_file_of_another_size_is_damaged(tmp_path: Path, name: str) -> None:
    write(tmp_path / "s", SEQUENCES)
    with (tmp_path / "s" / name).open("ab") as file:
        file.write(b"\0")
    with pytest.raises(DataError) as caught:
        TokenStore.open(tmp_path / "s")
    assert caught.value.file == tmp_path / "s" / name


def test_verifying_finds_every_flipped_byte(tmp_path: Path) -> None:
    write(tmp_path / "s", SEQUENCES)
    for name in ("tokens.bin", "offsets.npy"):
        path = tmp_path / "s" / name
        good = path.read_bytes()
        for at in range(len(good)):
            path.write_bytes(good[:at] + bytes([good[at] ^ 4]) + good[at + 1 :])
            with pytest.raises(DataError) as caught:
                TokenStore.open(tmp_path / "s", verify=True)
            assert caught.value.file == path
        path.write_bytes(good)
    TokenStore.open(tmp_path / "s", verify=True)


def test_damaged_offsets_never_end_in_a_traceback(tmp_path: Path) -> None:
    write(tmp_path / "s", SEQUENCES)
    path = tmp_path / "s/offsets.npy"
    good = path.read_bytes()
    for at in range(128):
        path.write_bytes(good[:at] + bytes([good[at] ^ 4]) + good[at + 1 :])
        with pytest.raises(DataError) as caught:
            TokenStore.open(tmp_path / "s")
        assert caught.value.file == tmp_path / "s"


@pytest.mark.parametrize(
    ("change", "file"),
    [
        ({"format": 99}, "s"),
        ({"format": None}, "s/manifest.json"),
        ({"files": {}}, "s/manifest.json"),
        ({"tally": None}, "s/manifest.json"),
        ({"options": [1]}, "s/manifest.json"),
        ({"letter_counts": "many"}, "s/manifest.json"),
        ({"sequences": "five"}, "s/manifest.json"),
        ({"sequences": 5}, "s"),
        ({"alphabet": {"name": "x"}}, None),
    ],
)
def test_a_manifest_that_does_not_fit_is_refused(tmp_path: Path, change: dict[str, object], file: str | None) -> None:
    write(tmp_path / "s", SEQUENCES)
    path = tmp_path / "s/manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(DataError) as caught:
        TokenStore.open(tmp_path / "s")
    assert caught.value.file == (file and tmp_path / file)


@pytest.mark.parametrize("content", ["", "[]", "{", "null", "\x00"])
def test_a_manifest_that_is_none_is_refused(tmp_path: Path, content: str) -> None:
    write(tmp_path / "s", SEQUENCES)
    (tmp_path / "s/manifest.json").write_text(content)
    with pytest.raises(DataError) as caught:
        TokenStore.open(tmp_path / "s")
    assert caught.value.file == tmp_path / "s/manifest.json"


def damaged(path: Path, name: str, at: int, value: bytes) -> None:
    with (path / name).open("r+b") as file:
        file.seek(at, 0 if at >= 0 else 2)
        file.write(value)


@pytest.mark.parametrize(
    ("name", "at", "value"),
    [
        ("tokens.bin", 0, b"\x14"),
        ("tokens.bin", 0, b"\xff"),
        ("offsets.npy", 136, (-5).to_bytes(8, "little", signed=True)),
        ("offsets.npy", 136, (10**9).to_bytes(8, "little")),
        ("offsets.npy", 128, (7).to_bytes(8, "little")),
    ],
)
def test_a_read_of_damaged_data_is_an_error_that_names_the_check(
    tmp_path: Path, name: str, at: int, value: bytes
) -> None:
    write(tmp_path / "s", SEQUENCES)
    damaged(tmp_path / "s", name, at, value)
    store = TokenStore.open(tmp_path / "s")
    with pytest.raises(DataError, match="sedd data verify"):
        store[0]


def read_after_verifying(store: TokenStore, at_once: int) -> None:
    store.verify(at_once=at_once)
    for thread in threading.enumerate():
        if thread.name == "verify store":
            thread.join()
    store[2]


@pytest.mark.parametrize("name", ["tokens.bin", "offsets.npy"])
@pytest.mark.parametrize("at_once", [0, 1 << 20])
def test_damage_that_no_read_can_see_is_found_by_the_hash(tmp_path: Path, name: str, at_once: int) -> None:
    store = write(tmp_path / "s", SEQUENCES)
    store.verify(at_once=at_once)
    old = (tmp_path / "s" / name).read_bytes()
    at, value = (1, bytes([old[1] ^ 1])) if name == "tokens.bin" else (136, (2).to_bytes(8, "little"))
    damaged(tmp_path / "s", name, at, value)
    store = TokenStore.open(tmp_path / "s")
    with pytest.raises(DataError, match="sha256"):
        read_after_verifying(store, at_once)


def test_a_run_does_not_open_a_store_with_another_letter_in_it(tmp_path: Path) -> None:
    (tmp_path / "a.fasta").write_text("".join(f">{i}\nMKV{'ACDEFG'[i % 6] * (i + 1)}\n" for i in range(9)))
    prepare(tmp_path / "a.fasta", tmp_path / "s", options=PrepareOptions())
    data = Data(train=str(tmp_path / "s"))
    open_data(data, seed=0)
    damaged(tmp_path / "s/train", "tokens.bin", 3, bytes([(tmp_path / "s/train/tokens.bin").read_bytes()[3] ^ 1]))
    with pytest.raises(DataError, match="sha256"):
        open_data(data, seed=0)
