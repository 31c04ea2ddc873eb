"""Samples as files, with where they come from: FASTA, or plain text for models of text.

Text keeps its own line ends, so it is not FASTA: each sample stands under a line `=== sample-1 ...`. A header is
`sample-1 key=value ... length=90 nfe=128`: what stands before `length` decides the sample, so a file that was cut off
says how to go on with it.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import IO, Any

from sedd.data import Alphabet
from sedd.errors import SamplingError
from sedd.sampling.rows import Sample

WIDTH = 60

Describe = Callable[[int], Mapping[str, Any]]
"""Key and value for the header of sample `index`."""


def write_samples(path: Path | None, sequences: Sequence[str], alphabet: Alphabet, **origin: object) -> None:
    """Write sequences to a file, or to standard output for None; `origin` goes into every header as key=value."""
    records = (_record(i, text, alphabet, origin) for i, text in enumerate(sequences))
    if path is None:
        sys.stdout.writelines(records)
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(records), encoding="utf-8")


def write_stream(
    path: Path | None, samples: Iterable[Sample], alphabet: Alphabet, describe: Describe, *, append: bool = False
) -> None:
    """Write samples as they come, each one at once, so that an interrupted file holds all that was drawn."""
    if path is None:
        _write(sys.stdout, samples, alphabet, describe)
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a" if append else "w", encoding="utf-8", newline="") as file:
        _write(file, samples, alphabet, describe)


def _write(file: IO[str], samples: Iterable[Sample], alphabet: Alphabet, describe: Describe) -> None:
    for sample in samples:
        text = alphabet.decode(sample.tokens)
        file.write(_record(sample.index, text, alphabet, describe(sample.index), nfe=sample.nfe))
        file.flush()


def written(path: Path, alphabet: Alphabet, describe: Describe) -> int:
    """How many samples of this request a file holds; one that was cut off in the middle is removed from it.

    Raises:
        SamplingError: if it holds anything else.
    """
    if not path.exists():
        return 0
    count, end = 0, 0
    with path.open(encoding="utf-8", newline="", errors="replace") as file:
        while header := file.readline():
            _same(path, header, _start(alphabet) + _header(count, describe(count)))
            body = file.read(_size(header, alphabet))
            if not header.endswith("\n") or not body.endswith("\n") or len(body) < _size(header, alphabet):
                break  # the interruption
            count, end = count + 1, end + len((header + body).encode())
    with path.open("r+b") as raw:
        raw.truncate(end)
    return count


def _same(path: Path, header: str, expected: str) -> None:
    found = header.rstrip("\n").partition(" length=")[0]
    cut = not header.endswith("\n") and expected.startswith(found)
    if found != expected and not cut:
        raise SamplingError(
            f"{path}: cannot continue, this file was made by another command:\n  it says  {found[:200]}\n  expected "
            f"{expected[:200]}\nGive the same options as then, or another --out"
        )


def _size(header: str, alphabet: Alphabet) -> int:
    """Characters that follow a header, line ends included."""
    length = header.rpartition(" length=")[2].split(" ")[0].strip()
    if not length.isdecimal():
        return 1
    return int(length) + (1 if alphabet.name == "text" else -(-int(length) // WIDTH))


def _record(index: int, text: str, alphabet: Alphabet, origin: Mapping[str, Any], **after: object) -> str:
    body = text if alphabet.name == "text" else _wrapped(text)
    ends = "".join(f" {key}={value}" for key, value in after.items())
    return f"{_start(alphabet)}{_header(index, origin)} length={len(text)}{ends}\n{body}\n"


def _header(index: int, origin: Mapping[str, Any]) -> str:
    return " ".join([f"sample-{index + 1}", *(f"{key}={value}" for key, value in origin.items())])


def _start(alphabet: Alphabet) -> str:
    return "=== " if alphabet.name == "text" else ">"


def _wrapped(text: str) -> str:
    return "\n".join(text[first : first + WIDTH] for first in range(0, len(text), WIDTH))
