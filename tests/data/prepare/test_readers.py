from __future__ import annotations

import bz2
import contextlib
import gzip
import io
import lzma
import stat
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import sedd.data.prepare.bytestream
from sedd.data.prepare.bytestream import LARGEST_BLOCK, ByteStream
from sedd.data.prepare.readers import read_fasta
from sedd.data.prepare.records import Record
from sedd.data.prepare.text import read_text
from sedd.errors import DataError

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

TWO = b">a first\nACD\nEFG\n>b\nHIK\n"
AS_PARSED = [("a", b"ACDEFG"), ("b", b"HIK")]
Compress = Callable[[bytes], bytes]
COMPRESS: dict[str, Compress] = {
    "gzip": lambda data: gzip.compress(data, mtime=0),
    "bzip2": bz2.compress,
    "xz": lzma.compress,
    "zstd": lambda data: zstd.compress(data, options={zstd.CompressionParameter.checksum_flag: 1}),
}
every_compression = pytest.mark.parametrize("compress", COMPRESS.values(), ids=COMPRESS.keys())


def fasta(tmp_path: Path, content: bytes) -> list[Record]:
    path = tmp_path / "x.fasta"
    path.write_bytes(content)
    return list(read_fasta(ByteStream(path)))


def pairs(records: list[Record]) -> list[tuple[str, bytes | str]]:
    return [(record.name, record.sequence) for record in records]


@pytest.mark.parametrize(
    ("content", "repairs"),
    [
        (TWO, set()),
        (TWO.rstrip(b"\n"), set()),
        (gzip.compress(TWO, mtime=0), set()),
        (gzip.compress(TWO[:9], mtime=0) + gzip.compress(TWO[9:], mtime=0), set()),
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
    ("content", "line"),
    [
        (b"", 1),
        (b"\n \n\n", 3),
        (b";c\n", 1),
        (b"ACD\n", 1),
        (b"\n\nACD\n>a\nACD\n", 3),
        (b">a\nACD\nA\0C\n", 3),
        ("\ufeff>a\nACD\n".encode("utf-16-le"), 1),
        ("\ufeff>a\nACD\n".encode("utf-16-be"), 1),
        (">a\nACD\n".encode("utf-16-le"), 1),
        (gzip.compress(b"", mtime=0), 1),
        (b">a\nACD\n>b one\rAC\n", 3),
        (b"PK\x03\x04....", None),
        (b"\x89HDF\r\n", None),
    ],
)
def test_what_cannot_be_repaired_is_an_error_with_file_and_line(
    tmp_path: Path, content: bytes, line: int | None
) -> None:
    with pytest.raises(DataError) as caught:
        fasta(tmp_path, content)
    assert (caught.value.file, caught.value.line) == (tmp_path / "x.fasta", line)


@every_compression
def test_compressed_files_are_read_member_by_member(tmp_path: Path, compress: Compress) -> None:
    for content in (
        compress(TWO),
        compress(TWO[:9]) + compress(TWO[9:]),
        compress(TWO[:9]) + compress(b"") + bytes(8) + compress(TWO[9:]) + bytes(2000),
        b"".join(compress(TWO[at : at + 1]) for at in range(len(TWO))),
    ):
        assert pairs(fasta(tmp_path, content)) == AS_PARSED


def test_zstd_files_may_have_skippable_frames(tmp_path: Path) -> None:
    skippable = b"\x50\x2a\x4d\x18" + (4).to_bytes(4, "little") + b"\xff" * 4
    assert pairs(fasta(tmp_path, skippable + zstd.compress(TWO) + skippable)) == AS_PARSED


@every_compression
@pytest.mark.parametrize("after", [b"garbage", b"g", b">c\nACD\n"])
def test_other_bytes_after_the_compressed_data_are_an_error(tmp_path: Path, compress: Compress, after: bytes) -> None:
    with pytest.raises(DataError) as caught:
        fasta(tmp_path, compress(TWO) + after)
    assert (caught.value.file, caught.value.line) == (tmp_path / "x.fasta", 6)


@every_compression
def test_a_second_member_that_is_damaged_or_cut_off_is_an_error(tmp_path: Path, compress: Compress) -> None:
    first, second = compress(TWO), compress(TWO * 5)
    for bad in (second[:-1], second[:7], second[:3], second[:2], second[:-12] + bytes(12)):
        with pytest.raises(DataError) as caught:
            fasta(tmp_path, first + bad)
        assert caught.value.file == tmp_path / "x.fasta"
        assert (caught.value.line or 0) >= 6


@every_compression
def test_every_flipped_or_missing_byte_of_a_compressed_file_is_noticed(tmp_path: Path, compress: Compress) -> None:
    good = compress(TWO * 20)
    wanted = pairs(fasta(tmp_path, good))
    assert len(wanted) == 40
    for at in range(10, len(good)):
        with pytest.raises(DataError):
            fasta(tmp_path, good[:at])
        # A few bits have no meaning, such as those that fill the last byte of a stream: the content is unchanged.
        with contextlib.suppress(DataError):
            assert pairs(fasta(tmp_path, good[:at] + bytes([good[at] ^ 1]) + good[at + 1 :])) == wanted


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
def test_blocks_of_any_size_give_the_same_records(
    records: list[tuple[bytes, list[bytes]]], block: int, zipped: bool
) -> None:
    content = b"".join(b">" + header + b"\n" + b"".join(line + b"\n" for line in body) for header, body in records)
    stream = _Memory(gzip.compress(content) if zipped else content)
    expected = list(read_fasta(stream))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sedd.data.prepare.bytestream, "BLOCK", block)
        patch.setattr("sedd.data.prepare.readers.ENOUGH", 16)
        assert list(read_fasta(stream)) == expected


class _Memory(ByteStream):
    def __init__(self, content: bytes) -> None:
        super().__init__(_Path(content))  # type: ignore[arg-type]


class _Path:
    def __init__(self, content: bytes) -> None:
        self.content, self.name = content, "memory"

    def open(self, mode: str) -> io.BytesIO:
        return io.BytesIO(self.content)

    def stat(self) -> _Path:
        return self

    @property
    def st_size(self) -> int:
        return len(self.content)

    @property
    def st_mode(self) -> int:
        return stat.S_IFREG


def test_a_long_preamble_is_skipped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sedd.data.prepare.bytestream, "BLOCK", 3)
    monkeypatch.setattr("sedd.data.prepare.readers.ENOUGH", 16)
    assert pairs(fasta(tmp_path, b"\n;long comment\n\n" * 5 + TWO)) == AS_PARSED


def test_a_record_without_end_is_refused_before_it_fills_the_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sedd.data.prepare.records.LONGEST_RECORD", 1000)
    with pytest.raises(DataError) as caught:
        fasta(tmp_path, b">a\n" + b"ACGT\n" * 300)
    assert caught.value.file == tmp_path / "x.fasta"


@every_compression
def test_highly_compressed_data_are_read_in_small_blocks(tmp_path: Path, compress: Compress) -> None:
    path = tmp_path / "bomb"
    path.write_bytes(compress(b"A" * (16 << 20)))
    sizes = [len(block) for block in ByteStream(path).blocks()]
    assert max(sizes) <= LARGEST_BLOCK
    assert sum(sizes) == 16 << 20


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
    ("content", "line"),
    [
        (b"", 1),
        (b"ab\ncd\xe9fg\n", 2),
        (b"ab\ncd\xc3", 2),
        (b"ab\n\0x", 2),
        ("\ufeffab".encode("utf-16-le"), 1),
    ],
)
def test_what_is_not_text_is_an_error_with_file_and_line(tmp_path: Path, content: bytes, line: int) -> None:
    with pytest.raises(DataError) as caught:
        text(tmp_path, content)
    assert (caught.value.file, caught.value.line) == (tmp_path / "x.txt", line)


def test_a_missing_file_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DataError) as caught:
        ByteStream(tmp_path / "missing")
    assert caught.value.file == tmp_path / "missing"
