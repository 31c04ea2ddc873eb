"""Logs that the tests write, and how they read back."""

from __future__ import annotations

from pathlib import Path

from sedd.diagnosis.curve import Curve
from sedd.diagnosis.logs import read_log

STEPS, LOSSES = [0, 500, 1000], [2.9, 2.8, 2.7]
PLAIN = "step,loss\n0,2.9\n500,2.8\n1000,2.7\n"


def written(folder: Path, text: str | bytes, name: str = "log.csv") -> Path:
    """A file with this content."""
    file = folder / name
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    return file


def read(folder: Path, text: str | bytes, name: str = "log.csv", **options: str) -> Curve:
    """The curve of a file with this content."""
    return read_log(written(folder, text, name), **options)  # type: ignore[arg-type]


def is_plain(curve: Curve) -> bool:
    """Whether a curve has the three losses of `PLAIN`."""
    return (curve.steps.tolist(), curve.losses.tolist()) == (STEPS, LOSSES)
