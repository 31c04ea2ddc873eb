"""Sample files: FASTA, or plain text for models of text, whose samples follow lines `=== sample-1 ...`.

A header is `sample-3f9a1c2e-1 key=value ... length=90 nfe=128`. The keys before `length` determine the sample, so that
an interrupted file can be continued. The id has a hash of them and of the template: samples of several jobs have
different ids, unless they are the same samples. Token ids are numbers separated by spaces, a sample in one line. A file
whose name ends in `.gz`, `.bz2`, `.xz` or `.zst` is compressed.
"""

from __future__ import annotations

import hashlib
import io
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import IO, Any, Literal

from sedd.data import Alphabet
from sedd.data.prepare.bytestream import ByteStream
from sedd.errors import DataError, SamplingError
from sedd.files import check_regular, open_output
from sedd.plain_text import printable
from sedd.sampling.sample_batch import Sample

COMPRESSED = (".gz", ".bz2", ".xz", ".zst")
"""Ends of the names of files that are compressed."""
LINE_WIDTH = 60
"""Residues per line of FASTA."""
LONGEST_HEADER = 1 << 20
"""Characters."""

Describe = Callable[[int], tuple[str, Mapping[str, Any]]]
"""For the header of sample `index`: its id (`sample_id`), and keys and values."""


def sample_id(index: int, origin: Mapping[str, Any], template: bytes = b"") -> str:
    """The id of sample `index`, from 0: `sample-`, a hash of what determines it, and its number."""
    text = "\n".join(f"{key}={value}" for key, value in origin.items()).encode("utf-8", "surrogateescape")
    digest = hashlib.blake2b(text + b"\0" + template, digest_size=4).hexdigest()
    return f"sample-{digest}-{index + 1}"


def write_samples(path: Path | None, sequences: Sequence[str], alphabet: Alphabet, **origin: object) -> None:
    """Write sequences to a file, or to standard output for None; `origin` goes into every header as key=value."""
    with _output(path, "w") as file:
        for index, text in enumerate(sequences):
            file.write(_record(sample_id(index, origin), text, alphabet, origin, length=_length(text, alphabet)))


def write_stream(
    path: Path | None, samples: Iterable[Sample], alphabet: Alphabet, describe: Describe, *, append: bool = False
) -> None:
    """Write each sample as soon as it is drawn, to a file, or to standard output for None."""
    with _output(path, "a" if append else "w") as file:
        for sample in samples:
            identifier, origin = describe(sample.index)
            text = alphabet.decode(sample.tokens)
            file.write(_record(identifier, text, alphabet, origin, length=len(sample.tokens), nfe=sample.nfe))
            file.flush()


def _output(path: Path | None, mode: Literal["a", "w"]) -> AbstractContextManager[IO[str]]:
    if path is None:
        return nullcontext(sys.stdout)
    return open_output(path, append=mode == "a")


def trim_incomplete(path: Path, alphabet: Alphabet, describe: Describe) -> int:
    """Remove an incomplete last sample from a file, and return the number of complete ones; 0 without a file.

    A SamplingError, and an unchanged file, if it has content that is not of this request.
    """
    if not path.exists():
        return 0
    try:
        check_regular(path)
    except OSError as error:
        raise SamplingError(f"{path}: cannot continue, {error.strerror or error}", about=str(path)) from None
    if path.suffix in COMPRESSED:
        text, whole = _readable(path)
        count, end = _complete(path, io.StringIO(text, newline=""), alphabet, describe)
        if not whole or end < len(text.encode()):
            with open_output(path) as file:
                file.write(text.encode()[:end].decode())
        return count
    with path.open(encoding="utf-8", newline="", errors="replace") as file:
        count, end = _complete(path, file, alphabet, describe)
    with path.open("r+b") as raw:
        raw.truncate(end)
    return count


def _readable(path: Path) -> tuple[str, bool]:
    """The text of a compressed file up to where it was interrupted, and whether it was not."""
    blocks, whole = list[bytes](), True
    try:
        for block in ByteStream(path).blocks():
            blocks.append(block)
    except DataError:
        whole = False
    return b"".join(blocks).decode("utf-8", "replace"), whole


def _complete(path: Path, file: IO[str], alphabet: Alphabet, describe: Describe) -> tuple[int, int]:
    """The number of complete samples in a file, and their bytes."""
    count, end = 0, 0
    while header := file.readline(LONGEST_HEADER):
        _check_header(path, header, _start(alphabet) + _header(*describe(count)))
        size = _size(header, alphabet)
        body = file.readline() if size is None else file.read(size)
        if not header.endswith("\n") or not body.endswith("\n") or len(body) < (size or 1):
            break  # interrupted
        count, end = count + 1, end + len((header + body).encode())
    return count, end


def _check_header(path: Path, header: str, expected: str) -> None:
    determines = header.rstrip("\n").partition(" length=")[0]
    interrupted = not header.endswith("\n") and expected.startswith(determines)
    if determines != expected and not interrupted:
        raise SamplingError(
            f"{path}: cannot continue, this file was made by another command:\n  its header  {determines[:200]}\n  "
            f"expected    {expected[:200]}\nGive the options of that command, or another --out",
            about=str(path),
        )


def _size(header: str, alphabet: Alphabet) -> int | None:
    """Characters that follow a header, with line ends; None for one line of unknown length."""
    if alphabet.separator or (alphabet.has_words and not alphabet.is_text):
        return None
    key = " characters=" if alphabet.has_words else " length="
    length = header.rpartition(key)[2].split(" ")[0].strip()
    if not length.isdecimal():
        return 1
    return int(length) + (1 if alphabet.is_text else -(-int(length) // LINE_WIDTH))


def _record(identifier: str, text: str, alphabet: Alphabet, origin: Mapping[str, Any], **after: object) -> str:
    starts = range(0, len(text), LINE_WIDTH)
    one_piece = alphabet.is_text or alphabet.separator or alphabet.has_words
    body = text if one_piece else "\n".join(text[first : first + LINE_WIDTH] for first in starts)
    if alphabet.is_text and alphabet.has_words:  # of a tokenizer, whose symbols have any number of characters
        after["characters"] = len(text)
    ends = "".join(f" {key}={value}" for key, value in after.items())
    return f"{_start(alphabet)}{_header(identifier, origin)}{ends}\n{body}\n"


def _length(text: str, alphabet: Alphabet) -> int:
    """Symbols in a sample; without a separator, characters unless its symbols have several."""
    return alphabet.length(text) if alphabet.separator or alphabet.has_words else len(text)


def _header(identifier: str, origin: Mapping[str, Any]) -> str:
    return " ".join([identifier, *(f"{key}={_value(value)}" for key, value in origin.items())])


def _value(value: object) -> str:
    """A value of a header, which is one line."""
    return printable(str(value)).replace("\n", "\\n")


def _start(alphabet: Alphabet) -> str:
    return "=== " if alphabet.is_text else ">"
