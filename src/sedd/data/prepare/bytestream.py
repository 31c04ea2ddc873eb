"""The bytes of a file in blocks, gzip undone. What a file is, its first bytes say and not its name.

zlib is driven by hand because the ready-made readers disagree on damage: some return half of a truncated file
without an error, some ignore what follows the last member.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from sedd.errors import DataError

BLOCK = 1 << 20
GZIP = b"\x1f\x8b"
OTHER_FORMATS = {
    b"BZh": "bzip2",
    b"\xfd7zXZ\x00": "xz",
    b"\x28\xb5\x2f\xfd": "zstd",
    b"PK\x03\x04": "zip",
    b"\x89HDF": "HDF5",
    b"PAR1": "Parquet",
}


class DamagedError(Exception):
    """The bytes end too early or do not decompress; readers turn it into a `DataError` with a line number."""


class ByteStream:
    """Blocks of the (decompressed) content of `path`; `done` of `total` raw bytes are read so far."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.done = 0
        try:
            self.total = path.stat().st_size
            with path.open("rb") as file:
                head = file.read(8)
        except OSError as error:
            raise DataError(f"{path}: cannot be read: {error.strerror or error}") from error
        self.gzip = head.startswith(GZIP)
        for magic, name in OTHER_FORMATS.items():
            if head.startswith(magic):
                raise DataError(f"{path}: this is a {name} file; expected plain text or gzip. Convert it first")

    def blocks(self, start: int = 0) -> Iterator[bytes]:
        """The content from byte `start` on (counted after decompression), in blocks of at most a few MiB."""
        try:
            with self.path.open("rb") as file:
                yield from self._gunzipped(file, start) if self.gzip else self._plain(file, start)
        except OSError as error:
            raise DamagedError(f"reading failed: {error.strerror or error}") from error

    def _plain(self, file: BinaryIO, start: int) -> Iterator[bytes]:
        self.done = file.seek(start)
        while block := self._read(file):
            yield block

    def _gunzipped(self, file: BinaryIO, start: int) -> Iterator[bytes]:
        # A gzip file cannot be entered in the middle, but decompressing is cheap beside everything that follows.
        skip = start
        for block in self._members(file):
            if skip < len(block):
                yield block[skip:]
            skip = max(0, skip - len(block))

    def _members(self, file: BinaryIO) -> Iterator[bytes]:
        member = None
        raw = b""
        while raw or (raw := self._read(file)):
            if member is None:
                raw = raw.lstrip(b"\0")  # zero padding between members is legal
                if len(raw) < 2:
                    raw += (more := self._read(file))
                    if not more and not raw:
                        return
                if not raw.startswith(GZIP):
                    raise DamagedError(
                        f"after the compressed data come bytes that are not gzip ({raw[:16]!r}); if they do not "
                        "matter, `gzip -dc FILE | gzip > CLEAN` leaves them out"
                    )
                member = zlib.decompressobj(wbits=31)
            try:
                block = member.decompress(raw, 4 * BLOCK)  # the limit bounds memory, whatever the ratio
            except zlib.error as error:
                raise DamagedError(
                    f"the compressed data are damaged ({error}); copy or download the file again"
                ) from error
            raw = member.unused_data if member.eof else member.unconsumed_tail
            if member.eof:
                member = None
            if block:
                yield block
        if member is not None:
            raise DamagedError("the compressed data end too early, the file is truncated; copy or download it again")

    def _read(self, file: BinaryIO) -> bytes:
        raw = file.read(BLOCK)
        self.done += len(raw)
        return raw
