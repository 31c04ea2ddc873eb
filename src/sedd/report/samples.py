"""The sequences that a run has sampled, read from its files: the first few of each."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

FILES = 8
"""Files that are shown: the first, the last, and some between."""
PER_FILE = 3
LONGEST = 360
"""Residues shown of one sample."""
MOST_CHARACTERS = 65_536
"""So much of each file is read."""


@dataclass(frozen=True)
class Sample:
    """One sampled sequence."""

    title: str
    """What its header says, without the path of the run."""
    text: str
    """Its first `LONGEST` residues."""
    more: int
    """How many residues are left out."""


@dataclass(frozen=True)
class SampleFile:
    """A file in `samples/`."""

    name: str
    step: int | None
    """From its name."""
    protein: bool
    """FASTA; otherwise text."""
    samples: tuple[Sample, ...]


def read_samples(folder: Path) -> tuple[SampleFile, ...]:
    """The first samples of the files in a folder, by step; none where there is no folder."""
    files = sorted(
        (file for file in folder.glob("*") if file.is_file()), key=lambda file: (_step(file) or 0, file.name)
    )
    if len(files) > FILES:
        files = [files[round(i * (len(files) - 1) / (FILES - 1))] for i in range(FILES)]
    return tuple(_read(file) for file in files)


def _step(file: Path) -> int | None:
    found = re.search(r"step-(\d+)", file.name)
    return int(found[1]) if found else None


def _read(file: Path) -> SampleFile:
    with file.open(encoding="utf-8", errors="replace") as opened:
        text = opened.read(MOST_CHARACTERS)
    protein = file.suffix != ".txt"
    mark = r"^>" if protein else r"^=== "
    records = re.split(mark, text, flags=re.MULTILINE)[1:]
    return SampleFile(file.name, _step(file), protein, tuple(_sample(each, protein) for each in records[:PER_FILE]))


def _sample(record: str, protein: bool) -> Sample:
    header, _, body = record.partition("\n")
    words = [word for word in header.split() if not word.startswith("run=")]
    body = "".join(body.split()) if protein else body.rstrip("\n")
    return Sample(" ".join(words), body[:LONGEST], max(0, len(body) - LONGEST))
