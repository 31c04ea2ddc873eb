"""The content of a file in blocks, decompressed. The first bytes tell the format, not the name.

All decompressors (isal, bz2, lzma, zstd) have one interface and are driven by one loop. The file objects of these
libraries are not used: those of bz2, lzma and zstd ignore bytes after the first member that they cannot decompress.
"""

from __future__ import annotations

import bz2
import lzma
import sys
from collections.abc import Callable, Generator
from pathlib import Path
from typing import BinaryIO, NamedTuple, Protocol

from isal import igzip_lib

from sedd.data.prepare.tally import Kind
from sedd.errors import DataError
from sedd.files import check_regular

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

BLOCK = 1 << 20
"""Bytes read at once."""
LARGEST_BLOCK = 4 << 20
"""Bytes after decompression: bounds memory, whatever the compression ratio."""

MOST_MEMORY = 1 << 30
"""Bytes that a decompressor may take; `xz -9` needs 65 MB."""


class Decompressor(Protocol):
    """What the decompressor objects of the standard library and of isal have in common."""

    @property
    def eof(self) -> bool: ...
    @property
    def needs_input(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...
    def decompress(self, data: bytes, max_length: int = -1) -> bytes: ...


class Compression(NamedTuple):
    """A compressed format: its name, the bytes a member can begin with, and its decompressor for one member."""

    name: str
    magic: tuple[bytes, ...]
    decompressor: Callable[[], Decompressor]


COMPRESSIONS = (
    Compression("gzip", (b"\x1f\x8b",), lambda: igzip_lib.IgzipDecompressor(flag=igzip_lib.DECOMP_GZIP)),
    Compression("bzip2", (b"BZh",), bz2.BZ2Decompressor),
    Compression("xz", (b"\xfd7zXZ\x00",), lambda: lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=MOST_MEMORY)),
    # The second is a skippable frame, with which pzstd begins.
    Compression("zstd", (b"\x28\xb5\x2f\xfd", b"\x50\x2a\x4d\x18"), zstd.ZstdDecompressor),
)
LONGEST_MAGIC = 15
_LONGEST_MEMBER_MAGIC = 6
DAMAGE: tuple[type[Exception], ...] = (OSError, EOFError, lzma.LZMAError, zstd.ZstdError, igzip_lib.IsalError)  # type: ignore[assignment]
"""What decompressors raise for damaged data. (The stubs of isal give the type of an instance for the class.)"""
OTHER_FORMATS = {
    b"PK\x03\x04": "zip (or Excel)",
    b"\x89HDF": "HDF5",
    b"7z\xbc\xaf\x27\x1c": "7-zip",
    b"Rar!": "RAR",
    b"\x04\x22\x4d\x18": "LZ4",
    b"\x1f\x9d": "compress (.Z)",
    b"LZIP": "lzip",
    b"\xd0\xcf\x11\xe0": "Excel",
    b"SQLite format 3": "SQLite",
    b"\x93NUMPY": "NumPy",
    b"\x80\x04\x95": "pickle",
    b"ARROW1": "Arrow",
    b"%PDF": "PDF",
}
"""Formats that are refused, by their first bytes."""


class ByteStream:
    """Blocks of the (decompressed) content of `path`; `done` of `total` raw bytes are read so far. Raises DataError if
    the file cannot be read or is of a format that is not supported."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.done = 0
        self.line = 1
        """Line in which the last block begins."""
        self.repaired: dict[str, Kind] = {}
        """Repairs of the layout that belong to no record, since `blocks` was called; readers count them here."""
        try:
            check_regular(path)
            self.total = path.stat().st_size
            with path.open("rb") as file:
                head = file.read(LONGEST_MAGIC)
        except OSError as error:
            raise DataError(f"cannot be read: {error.strerror or error}", file=path) from error
        self.compression = next((known for known in COMPRESSIONS if head.startswith(known.magic)), None)
        for magic, name in OTHER_FORMATS.items():
            if head.startswith(magic):
                expected = ", ".join(known.name for known in COMPRESSIONS)
                raise DataError(
                    f"this is a {name} file; expected plain text, or text compressed as {expected}. Convert it first",
                    file=path,
                )

    def blocks(self) -> Generator[bytes]:
        """The content in blocks of at most `LARGEST_BLOCK` bytes. Raises DataError with file and line, if the
        compressed data are truncated or damaged, or other bytes follow them."""
        self.done, self.line, self.repaired = 0, 1, {}
        with self.path.open("rb") as file:
            for block in self._plain(file) if self.compression is None else self._decompressed(file, self.compression):
                yield block
                self.line += block.count(b"\n")

    def content(self, *, most: int) -> bytes:
        """All of the content. Raises DataError as `blocks`, or if it is more than `most` bytes."""
        too_much = DataError(f"more than {most >> 20:,} MiB of content; is this the right file?", file=self.path)
        if self.compression is None and self.total > most:
            raise too_much
        parts, size = list[bytes](), 0
        for block in self.blocks():
            parts.append(block)
            size += len(block)
            if size > most:
                raise too_much
        return b"".join(parts)

    def head(self, size: int) -> bytes:
        """The first `size` bytes of the content, or all of it if it is shorter. Raises DataError as `blocks`."""
        found, blocks = b"", self.blocks()
        try:
            while len(found) < size and (block := next(blocks, b"")):
                found += block
        finally:
            blocks.close()
        return found[:size]

    def _plain(self, file: BinaryIO) -> Generator[bytes]:
        while block := self._read(file):
            yield block

    def _decompressed(self, file: BinaryIO, compression: Compression) -> Generator[bytes]:
        raw = b""
        while raw := self._without_padding(file, raw):
            if not raw.startswith(compression.magic):
                raise self._error(
                    f"after the compressed data come bytes that are not {compression.name} ({raw[:16]!r}); if they do "
                    "not matter, decompress the file and compress it again"
                )
            raw = yield from self._member(file, raw, compression.decompressor())

    def _without_padding(self, file: BinaryIO, raw: bytes) -> bytes:
        """What follows the zero bytes that may lie between members; enough of it to recognize a format."""
        while len(raw := raw.lstrip(b"\0")) < _LONGEST_MEMBER_MAGIC and (more := self._read(file)):
            raw += more
        return raw

    def _member(self, file: BinaryIO, raw: bytes, decompressor: Decompressor) -> Generator[bytes, None, bytes]:
        """Yield the content of the member that begins with `raw`, and return the bytes read beyond it."""
        while not decompressor.eof:
            if decompressor.needs_input and not raw and not (raw := self._read(file)):
                raise self._error("the compressed data end too early, the file is truncated; copy or download it again")
            try:
                block = decompressor.decompress(raw, LARGEST_BLOCK)
            except DAMAGE as error:
                raise self._error(
                    f"the compressed data are damaged ({error}); copy or download the file again"
                ) from error
            raw = b""
            if block:
                yield block
        return decompressor.unused_data

    def _read(self, file: BinaryIO) -> bytes:
        try:
            raw = file.read(BLOCK)
        except OSError as error:
            raise self._error(f"reading failed: {error.strerror or error}") from error
        self.done += len(raw)
        return raw

    def _error(self, message: str) -> DataError:
        return DataError(message, file=self.path, line=self.line)
