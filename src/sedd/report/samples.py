"""The first few sequences of each file of samples in a run directory."""

from __future__ import annotations

import re
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

FILES = 8
"""Files that are shown: the first, the last, and evenly spaced ones between."""
PER_FILE = 3
LONGEST = 360
"""Residues shown of one sample."""
MOST_CHARACTERS = 65_536
"""Characters read of each file."""
_CLASSES = {"h": "ACGILMPV", "a": "FWY", "p": "NQST", "c": "DEHKR"}
"""Hydrophobic, aromatic, polar, charged; short names, since the page repeats them for each run of residues."""
_CLASS_OF = {residue: name for name, residues in _CLASSES.items() for residue in residues}


@dataclass(frozen=True)
class Sample:
    """One sampled sequence."""

    title: str
    """Its header, without the path of the run."""
    text: str
    """Its first `LONGEST` residues."""
    hidden: int
    """Residues that are left out."""

    @property
    def runs(self) -> list[tuple[str | None, str]]:
        """The text as runs of residues of one class; the class is None for other characters."""
        return [(name, "".join(run)) for name, run in groupby(self.text, key=_CLASS_OF.get)]


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
    """The first samples of the files in a folder, by step; files without samples and a missing folder give none."""
    files = [file for file in folder.glob("*") if file.is_file()]
    files.sort(key=lambda file: (_step(file) or 0, file.name))
    if len(files) > FILES:
        files = [files[round(i * (len(files) - 1) / (FILES - 1))] for i in range(FILES)]
    return tuple(file for file in map(_read, files) if file.samples)


def _step(file: Path) -> int | None:
    match = re.search(r"step-(\d+)", file.name)
    return int(match[1]) if match else None


def _read(file: Path) -> SampleFile:
    with file.open(encoding="utf-8", errors="replace") as opened:
        text = opened.read(MOST_CHARACTERS)
    protein = file.suffix != ".txt"
    mark = r"^>" if protein else r"^=== "
    records = re.split(mark, text, flags=re.MULTILINE)[1:]
    samples = tuple(_sample(record, protein) for record in records[:PER_FILE])
    return SampleFile(file.name, _step(file), protein, samples)


def _sample(record: str, protein: bool) -> Sample:
    header, _, body = record.partition("\n")
    words = [word for word in header.split() if not word.startswith("run=")]
    body = "".join(body.split()) if protein else body.rstrip("\n")
    return Sample(" ".join(words), body[:LONGEST], max(0, len(body) - LONGEST))
