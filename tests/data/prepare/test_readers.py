from __future__ import annotations

import gzip
import io
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import sedd.data.prepare.bytestream
from sedd.data.prepare.bytestream import ByteStream
from sedd.data.prepare.readers import Position, Record, read_fasta, read_text
from sedd.errors import DataError

TWO = b">a first\nACD\nEFG\n>b\nHIK\n"
AS_PARSED = [("a", b"ACDEFG"), ("b", b"HIK")]


def fasta(tmp_path: Path, content: bytes, start: Position = Position()) -> list[Record]:  # noqa: B008 (frozen)
    path = tmp_path / "x.fasta"
    path.write_bytes(content)
    return list(read_fasta(ByteStream(path), start))


def pairs(records: list[Record]) -> list[tuple[str, bytes | str]]:
    return [(record.name, record.sequence) for record in records]


@pytest.mark.parametrize(
    ("content", "repairs"),
    [
        (TWO, set()),
        (TWO.rstrip(b"\n"), set()),
        (gzip.compress(TWO, mtime=0), set()),
        (gzip.compress(TWO[:9], mtime=0) + gzip.compress(TWO[9:], mtime=0), set()),
        (gzip.compress(TWO, mtime=0) + b"\0" * 100, set()),
        (b"\n\n  \n" + TWO, set()),
        (b"\xef\xbb\xbf" + TWO, {"byte_order_mark"}),
        (TWO.replace(b"\n", b"\r\n"), {"carriage_returns"}),
        (TWO.replace(b"\n", b"\r"), {"carriage_returns"}),
        (TWO.replace(b"first\n", b"first\r\n"), {"carriage_returns"}),
        (TWO.replace(b"ACD\n", b"ACD\n\n"), {"blank_lines"}),
        (TWO.replace(b"ACD", b"A C\tD "), {"spaces"}),
        (TWO.replace(b"ACD", b"; old comment\nACD"), {"comments"}),
        (b"; old comment\n" + TWO, {"comments"}),
        (TWO.replace(b"EFG\n", b"EFG"), {"glued_header"}),
        (TWO.replace(b"\n>b", b"\n\xef\xbb\xbf>b"), {"byte_order_mark", "glued_header"}),
    ],
)
def test_dirty_layout_reads_like_clean_layout_and_is_reported(
    tmp_path: Path, content: bytes, repairs: set[str]
) -> None:
    records = fasta(tmp_path, content)
    assert pairs(records) == AS_PARSED
    assert {repair for record in records for repair in record.repairs} == repairs


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "x.fasta:1: the file is empty"),
        (b"\n \n\n", "x.fasta:3: the file holds only blank lines"),
        (b";c\n", "only blank lines and comments"),
        (b"ACD\n", "x.fasta:1: expected a FASTA header"),
        (b"\n\nACD\n>a\nACD\n", "x.fasta:3: expected a FASTA header that starts with '>', got 'ACD'"),
        (b">a\nACD\nA\0C\n", "x.fasta:3: a NUL byte"),
        ("\ufeff>a\nACD\n".encode("utf-16-le"), "x.fasta:1: the file is UTF-16; convert it: `iconv"),
        ("\ufeff>a\nACD\n".encode("utf-16-be"), "x.fasta:1: the file is UTF-16"),
        (">a\nACD\n".encode("utf-16-le"), "x.fasta:1: a NUL byte.*UTF-16"),
        (gzip.compress(TWO, mtime=0) + b"garbage", "x.fasta:6: after the compressed data come bytes that are not gzip"),
        (gzip.compress(TWO, mtime=0)[:-9], "x.fasta:.*truncated"),
        (gzip.compress(TWO, mtime=0)[:-5], "x.fasta:.*truncated"),
        (gzip.compress(TWO, mtime=0)[:12], "x.fasta:1: .*truncated"),
        (gzip.compress(TWO, mtime=0)[:-6] + b"\1\2\3\4\5\6", "x.fasta:.*damaged"),
        (gzip.compress(b"", mtime=0), "the file is empty"),
        (b">a\nACD\n>b one\rAC\n", "x.fasta:3: a bare carriage return in a header"),
        (b"BZh91AY", "this is a bzip2 file"),
        (b"\x28\xb5\x2f\xfd....", "this is a zstd file"),
    ],
)
def test_what_cannot_be_repaired_is_an_error_with_file_and_line(tmp_path: Path, content: bytes, message: str) -> None:
    with pytest.raises(DataError, match=message):
        fasta(tmp_path, content)


def test_every_flipped_or_missing_byte_of_a_gzip_file_is_noticed(tmp_path: Path) -> None:
    good = gzip.compress(TWO * 20, mtime=0)
    wanted = pairs(fasta(tmp_path, good))
    for at in range(10, len(good)):
        for bad in (good[:at] + bytes([good[at] ^ 1]) + good[at + 1 :], good[:at]):
            with pytest.raises(DataError):
                fasta(tmp_path, bad)
    assert len(wanted) == 40


def test_the_first_word_of_the_header_is_the_id(tmp_path: Path) -> None:
    content = (
        b">  a b\nA\n>\nC\n>c\td\nD\n>e>f g\nE\n>g one\x01h two\nF\n>\xc3\xa9\nG\n>\xe9 x\nH\n>i"
        + b" long" * 5000
        + b"\nI\n"
    )
    assert [r.name for r in fasta(tmp_path, content)] == ["a", "", "c", "e>f", "g", "é", "\\xe9", "i"]


def test_records_know_their_lines(tmp_path: Path) -> None:
    content = b"\n>a\nACD\n\n>b\n>c\nACD>d\nEFG\n>e"
    assert [(r.name, r.line, r.sequence) for r in fasta(tmp_path, content)] == [
        ("a", 2, b"ACD"), ("b", 5, b""), ("c", 6, b"ACD"), ("d", 7, b"EFG"), ("e", 9, b""),
    ]  # fmt: skip


BODY = st.lists(st.sampled_from([b"ACD", b"EF", b"", b" G", b"*", b";x", b"MK\r", b"h>i z"]), max_size=4)
RECORDS = st.lists(st.tuples(st.sampled_from([b"a", b"b c", b"", b"d\r"]), BODY), min_size=1, max_size=6)


@given(RECORDS, st.integers(1, 7), st.booleans())
def test_blocks_of_any_size_and_any_starting_record_give_the_same_records(
    records: list[tuple[bytes, list[bytes]]], block: int, zipped: bool
) -> None:
    content = b"".join(b">" + header + b"\n" + b"".join(line + b"\n" for line in body) for header, body in records)
    stream = _Memory(gzip.compress(content) if zipped else content)
    whole = list(read_fasta(stream))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sedd.data.prepare.bytestream, "BLOCK", block)
        patch.setattr("sedd.data.prepare.readers.ENOUGH", 16)
        assert list(read_fasta(stream)) == whole
        for number, record in enumerate(whole):
            again = list(read_fasta(stream, record.start))
            # The note that a header was glued belongs to what stands before the starting point.
            assert [r._replace(repairs=()) for r in again] == [r._replace(repairs=()) for r in whole[number:]]
            assert again[1:] == whole[number + 1 :]


class _Memory(ByteStream):
    def __init__(self, content: bytes) -> None:
        self.path, self.done, self.total = _Path(content), 0, len(content)  # type: ignore[assignment]
        self.gzip = content.startswith(b"\x1f\x8b")


class _Path:
    def __init__(self, content: bytes) -> None:
        self.content, self.name = content, "memory"

    def open(self, mode: str) -> io.BytesIO:
        return io.BytesIO(self.content)


def test_a_long_preamble_is_skipped_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sedd.data.prepare.bytestream, "BLOCK", 3)
    monkeypatch.setattr("sedd.data.prepare.readers.ENOUGH", 16)
    assert pairs(fasta(tmp_path, b"\n;long comment\n\n" * 5 + TWO)) == AS_PARSED


def test_a_record_without_end_is_refused_before_it_fills_the_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sedd.data.prepare.readers.LONGEST_RECORD", 1000)
    with pytest.raises(DataError, match=r"x.fasta:.*is this a file of proteins"):
        fasta(tmp_path, b">a\n" + b"ACGT\n" * 300)


def test_a_gzip_bomb_is_read_in_small_blocks(tmp_path: Path) -> None:
    path = tmp_path / "bomb.gz"
    path.write_bytes(gzip.compress(b"A" * (64 << 20)))
    assert max(map(len, ByteStream(path).blocks())) <= 4 << 20


def text(tmp_path: Path, content: bytes, length: int = 4) -> list[Record]:
    path = tmp_path / "x.txt"
    path.write_bytes(content)
    return list(read_text(ByteStream(path), chunk_length=length))


def test_text_is_cut_into_chunks_that_make_the_whole(tmp_path: Path) -> None:
    records = text(tmp_path, "ab\ncdé\nfgh".encode())
    assert [(r.sequence, r.line) for r in records] == [("ab\nc", 1), ("dé\nf", 2), ("gh", 3)]


def test_text_layout_is_repaired_and_reported(tmp_path: Path) -> None:
    records = text(tmp_path, b"\xef\xbb\xbfab\r\ncd\refg")
    assert [r.sequence for r in records] == ["ab\nc", "d\nef", "g"]
    assert records[0].repairs == ("byte_order_mark", "carriage_returns")


@pytest.mark.parametrize("block", [1, 2, 3])
def test_text_survives_blocks_that_cut_characters(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, block: int) -> None:
    monkeypatch.setattr(sedd.data.prepare.bytestream, "BLOCK", block)
    assert "".join(str(r.sequence) for r in text(tmp_path, "aé€𝄞\r\nb\r".encode())) == "aé€𝄞\nb\n"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "x.txt:1: the file is empty"),
        (b"ab\ncd\xe9fg\n", "x.txt:2: not UTF-8 .byte 0xe9"),
        (b"ab\ncd\xc3", "x.txt:2: not UTF-8"),
        (b"ab\n\0", "x.txt:2: a NUL byte"),
        ("\ufeffab".encode("utf-16-le"), "x.txt:1: the file is UTF-16"),
    ],
)
def test_what_is_not_text_is_an_error_with_file_and_line(tmp_path: Path, content: bytes, message: str) -> None:
    with pytest.raises(DataError, match=message):
        text(tmp_path, content)


def test_a_file_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"cannot be read"):
        ByteStream(tmp_path / "missing")
