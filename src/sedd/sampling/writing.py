"""Samples as files, with where they come from: FASTA, or plain text for models of text."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from sedd.data import Alphabet

WIDTH = 60


def write_samples(path: Path | None, sequences: Sequence[str], alphabet: Alphabet, **origin: object) -> None:
    """Write sequences to a file, or to standard output for None; `origin` goes into every header as key=value.

    Text keeps its own line ends, so it is not FASTA: each sample stands under a line `=== sample-1 ...`.
    """
    marks = " ".join(f"{key}={value}" for key, value in origin.items())
    start, body = ("=== ", str) if alphabet.name == "text" else (">", _wrapped)
    records = (f"{start}sample-{i} {marks} length={len(text)}\n{body(text)}\n" for i, text in enumerate(sequences, 1))
    if path is None:
        sys.stdout.writelines(records)
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(records), encoding="utf-8")


def _wrapped(text: str) -> str:
    return "\n".join(text[first : first + WIDTH] for first in range(0, len(text), WIDTH))
