"""Where the weights of a run came from that was imported from another program."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

UNKNOWN_DATA = "unknown-training-data"
"""`data.train` of an imported run."""


@dataclass(frozen=True)
class Origin:
    """The source of imported weights; `imported` in the state of a checkpoint."""

    file: str
    """The file with the weights."""
    sha256: str
    """Of that file, hexadecimal."""
    layout: str
    """What kind of folder it was in."""
    weights: str
    """`ema`, `raw`, or `published`."""

    def to_dict(self) -> dict[str, Any]:
        """Plain data for the state of a checkpoint."""
        return asdict(self)


def is_imported(state: Mapping[str, Any]) -> bool:
    """Whether the state of a checkpoint is that of imported weights, which have no optimizer and no known data."""
    return state.get("imported") is not None
