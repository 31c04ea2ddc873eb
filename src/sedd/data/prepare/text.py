"""A text file as a stream: its blocks of bytes, its characters, and its chunks of equal length."""

from __future__ import annotations

import codecs
import io
from collections.abc import Generator, Iterator
from itertools import chain

from sedd.data.prepare.bytestream import ByteStream
from sedd.data.prepare.records import BOM, Record
from sedd.errors import DataError


def text_blocks(stream: ByteStream) -> Generator[bytes]:
    """Blocks of a file without NUL bytes. Raises DataError with file and line, if it is UTF-16, has a NUL byte, or its
    compressed data are damaged."""
    for block in stream.blocks():
        if stream.line == 1 and block.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
            raise DataError(
                f"the file is UTF-16; convert it: `iconv -f UTF-16 -t UTF-8 {stream.path.name} > NEW`",
                file=stream.path,
                line=1,
            )
        if (at := block.find(b"\0")) >= 0:
            raise DataError(
                "a NUL byte; the file is damaged, binary or UTF-16, and not readable as text",
                file=stream.path,
                line=stream.line + block.count(b"\n", 0, at),
            )
        yield block


def read_text(stream: ByteStream, *, chunk_length: int) -> Iterator[Record]:
    """A text in consecutive chunks of `chunk_length` characters, the last one shorter; line ends become `\\n`."""
    pending, number, line = "", 0, 1
    repairs: tuple[str, ...] = ()
    for text, own in read_characters(stream):
        repairs += own
        pending += text
        complete = len(pending) // chunk_length * chunk_length
        for at in range(0, complete, chunk_length):
            chunk = pending[at : at + chunk_length]
            yield Record(f"chunk_{number}", chunk, line, repairs)
            repairs = ()
            number, line = number + 1, line + chunk.count("\n")
        pending = pending[complete:]
    if pending:
        yield Record(f"chunk_{number}", pending, line, repairs)


def read_characters(stream: ByteStream) -> Iterator[tuple[str, tuple[str, ...]]]:
    """The characters of a text in blocks, each with the repairs that were first needed in it. Raises DataError with
    file and line, if the text is damaged, not UTF-8 or empty."""
    decoder = io.IncrementalNewlineDecoder(codecs.getincrementaldecoder("utf-8-sig")(), translate=True)
    line, first, carriage_returns = 1, True, False
    for block in chain(text_blocks(stream), [b""]):
        try:
            text = decoder.decode(block, final=not block)
        except UnicodeDecodeError as error:
            raise DataError(
                f"not UTF-8 (byte {error.object[error.start]:#04x}); convert it, for example "
                "`iconv -f LATIN1 -t UTF-8`",
                file=stream.path,
                line=line + error.object.count(b"\n", 0, error.start),
            ) from error
        repairs = ("byte_order_mark",) if first and block.startswith(BOM) else ()
        if not carriage_returns and b"\r" in block:
            carriage_returns, repairs = True, (*repairs, "carriage_returns")
        first = False
        line += text.count("\n")
        if text or repairs:
            yield text, repairs
    if not stream.done:
        raise DataError("the file is empty; expected text", file=stream.path, line=1)
