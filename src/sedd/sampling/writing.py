"""Sample files: FASTA, or plain text for models of text, whose samples follow lines `=== sample-1 ...`.

A header is `sample-1 key=value ... length=90 nfe=128`. The keys before `length` determine the sample, so that an
interrupted file can be continued.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import IO, Any, Literal

from sedd.data import Alphabet
from sedd.errors import SamplingError
from sedd.files import check_regular, no_symlink
from sedd.plain_text import printable
from sedd.sampling.sample_batch import Sample

LINE_WIDTH = 60
"""Residues per line of FASTA."""
LONGEST_HEADER = 1 << 20
"""Characters."""

Describe = Callable[[int], Mapping[str, Any]]
"""Keys and values for the header of sample `index`."""


def write_samples(path: Path, sequences: Sequence[str], alphabet: Alphabet, **origin: object) -> None:
    """Write sequences to a file of a run, not through a link; `origin` goes into every header as key=value."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "w", encoding="utf-8", newline="", opener=no_symlink) as file:
        file.writelines(_record(i, text, alphabet, origin) for i, text in enumerate(sequences))


def write_stream(
    path: Path | None, samples: Iterable[Sample], alphabet: Alphabet, describe: Describe, *, append: bool = False
) -> None:
    """Write each sample as soon as it is drawn, to a file, or to standard output for None."""
    with _output(path, "a" if append else "w") as file:
        for sample in samples:
            text = alphabet.decode(sample.tokens)
            file.write(_record(sample.index, text, alphabet, describe(sample.index), nfe=sample.nfe))
            file.flush()


def _output(path: Path | None, mode: Literal["a", "w"]) -> AbstractContextManager[IO[str]]:
    if path is None:
        return nullcontext(sys.stdout)
    path.parent.mkdir(parents=True, exist_ok=True)
    return path.open(mode, encoding="utf-8", newline="")


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
    count, end = 0, 0
    with path.open(encoding="utf-8", newline="", errors="replace") as file:
        while header := file.readline(LONGEST_HEADER):
            _check_header(path, header, _start(alphabet) + _header(count, describe(count)))
            body = file.read(_size(header, alphabet))
            if not header.endswith("\n") or not body.endswith("\n") or len(body) < _size(header, alphabet):
                break  # interrupted
            count, end = count + 1, end + len((header + body).encode())
    with path.open("r+b") as raw:
        raw.truncate(end)
    return count


def _check_header(path: Path, header: str, expected: str) -> None:
    determines = header.rstrip("\n").partition(" length=")[0]
    interrupted = not header.endswith("\n") and expected.startswith(determines)
    if determines != expected and not interrupted:
        raise SamplingError(
            f"{path}: cannot continue, this file was made by another command:\n  its header  {determines[:200]}\n  "
            f"expected    {expected[:200]}\nGive the options of that command, or another --out",
            about=str(path),
        )


def _size(header: str, alphabet: Alphabet) -> int:
    """Characters that follow a header, with line ends."""
    length = header.rpartition(" length=")[2].split(" ")[0].strip()
    if not length.isdecimal():
        return 1
    return int(length) + (1 if alphabet.name == "text" else -(-int(length) // LINE_WIDTH))


def _record(index: int, text: str, alphabet: Alphabet, origin: Mapping[str, Any], **after: object) -> str:
    starts = range(0, len(text), LINE_WIDTH)
    body = text if alphabet.name == "text" else "\n".join(text[first : first + LINE_WIDTH] for first in starts)
    ends = "".join(f" {key}={value}" for key, value in after.items())
    return f"{_start(alphabet)}{_header(index, origin)} length={len(text)}{ends}\n{body}\n"


def _header(index: int, origin: Mapping[str, Any]) -> str:
    return " ".join([f"sample-{index + 1}", *(f"{key}={_value(value)}" for key, value in origin.items())])


def _value(value: object) -> str:
    """A value of a header, which is one line."""
    return printable(str(value)).replace("\n", "\\n")


def _start(alphabet: Alphabet) -> str:
    return "=== " if alphabet.name == "text" else ">"
