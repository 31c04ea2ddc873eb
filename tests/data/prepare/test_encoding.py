from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sedd.config.sections import Residues
from sedd.data.alphabet import ESM, PROTEIN, Alphabet
from sedd.data.prepare import readers
from sedd.data.prepare.clean import Cleaner
from sedd.data.prepare.encoding import Encoded, FastaEncoder
from sedd.data.prepare.readers import read_chunks
from sedd.data.prepare.records import parse_record
from sedd.data.prepare.tally import Tally
from sedd.errors import DataError
from tests.data.prepare.test_readers import _Memory

HEADERS = [b"a", b"b c", b"", b" d", b"!", b"e>f", b"\xc3\xa9", b"g\x01h", b"i\r", b"\x01j", b"\x02"]
LINES = [
    b"ACDEFGHIKLMNPQRSTVWY", b"MK", b"W" * 40, b"ACGTU" * 8, b"N" * 28, b"", b" G", b"MK*", b"*", b"mkv", b"MXK", b"U",
    b"A-C.", b"K1", b";x", b"MK\r", b"MK>i z", b"\t", b"\xc3\xa9",
]  # fmt: skip
CLEAN = st.tuples(st.sampled_from(HEADERS[:2]), st.lists(st.sampled_from(LINES[:2]), min_size=1, max_size=3))
ANY = st.tuples(st.sampled_from(HEADERS), st.lists(st.sampled_from(LINES), max_size=4))
CONTENT = st.lists(st.one_of(CLEAN, CLEAN, ANY), min_size=1, max_size=12).map(
    lambda records: b"".join(
        b">" + header + b"\n" + b"".join(line + b"\n" for line in body) for header, body in records
    )
)
POLICIES = [
    Residues(),
    Residues(ambiguous="split", substitute={}),
    Residues(stop="drop", gaps="drop", lowercase="drop"),
    Residues(ambiguous="error"),
]


def one_by_one(
    stream: _Memory, alphabet: Alphabet, policy: Residues, min_length: int
) -> tuple[list[bytes], list[int], Tally]:
    """What chunks are encoded to, in the plainest way."""
    clean = Cleaner(alphabet, policy, min_length=min_length, source=stream.path.name)
    ids, keys = [], []
    for record in readers.read_fasta(stream):
        if pieces := clean(record):
            ids += [alphabet.encode_bytes(piece) for piece in pieces]
            digest = hashlib.blake2b(b"\0".join(pieces), digest_size=8, key=b"sedd holdout").digest()
            keys.append(int.from_bytes(digest, "little"))
    return ids, keys, clean.tally


@given(CONTENT, st.integers(1, 200), st.sampled_from(POLICIES), st.sampled_from([PROTEIN, ESM]), st.integers(1, 30))
def test_chunks_of_any_size_encode_like_their_records_one_by_one(
    content: bytes, size: int, policy: Residues, alphabet: Alphabet, min_length: int
) -> None:
    stream = _Memory(content)
    encode = FastaEncoder(stream.path, alphabet, policy, min_length, by_name=False)
    wanted: object
    found: object
    try:
        wanted = one_by_one(stream, alphabet, policy, min_length)
    except DataError as error:
        wanted = str(error)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(readers, "CHUNK", size)
        try:
            found = together([encode(chunk) for chunk in read_chunks(stream)])
        except DataError as error:
            found = str(error)
    assert found == wanted


def together(parts: list[Encoded]) -> tuple[list[bytes], list[int], Tally]:
    tally, ids = Tally(), []
    for part in parts:
        tally.add(part.tally)
        ends = np.cumsum(part.lengths).tolist()
        ids += [part.ids[end - length : end] for end, length in zip(ends, part.lengths.tolist(), strict=True)]
        assert part.pieces.sum() == len(part.lengths)
    return ids, [int(key) for part in parts for key in part.keys], tally


def test_clean_records_are_not_read_one_by_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read = []

    def watched(*arguments: object) -> object:
        read.append(arguments[1])
        return parse_record(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr("sedd.data.prepare.encoding.parse_record", watched)
    stream = _Memory(b">a one\nMKV\nAAG\n>b\nMXK\n" + b">c\nACDEFG\n" * 50)
    encode = FastaEncoder(stream.path, PROTEIN, Residues(), 2, by_name=False)
    [part] = map(encode, read_chunks(stream))
    assert (part.tally.read, part.tally.kept) == (52, 51)
    assert read == [b"b\nMXK"]
