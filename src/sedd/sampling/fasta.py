"""Samples as FASTA, with where they come from in each header."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

WIDTH = 60


def write_fasta(path: Path | None, sequences: Sequence[str], **origin: object) -> None:
    """Write sequences to a file, or to standard output for None; `origin` goes into every header as key=value."""
    marks = " ".join(f"{key}={value}" for key, value in origin.items())
    records = (
        f">sample-{number} {marks} length={len(text)}\n{_wrapped(text)}\n" for number, text in enumerate(sequences, 1)
    )
    if path is None:
        sys.stdout.writelines(records)
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(records), encoding="utf-8")


def _wrapped(text: str) -> str:
    return "\n".join(text[first : first + WIDTH] for first in range(0, len(text), WIDTH))
