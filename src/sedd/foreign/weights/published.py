"""What a layout gives: tensors under the names of our network, and what the network needs to know."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor


@dataclass(frozen=True)
class Published:
    """Weights of another program in our terms."""

    layout: str
    """Name of the layout, for people."""
    file: Path
    """The file with the weights."""
    weights: str
    """`ema`, `raw`, or `published` where there is a single set."""
    tensors: Mapping[str, Tensor]
    """By the names of the network."""
    sections: Mapping[str, Any]
    """Sections of a run file: graph, noise and model."""
    n: int
    """Symbols of the vocabulary, without MASK."""
    alphabet: str = "ids"
    """Name of the alphabet, as far as the layout says it."""
    drawn: str | None = None
    """The symbols that samples are made of; None: all."""
    step: int = 0
    """Optimizer steps, as far as the file says."""
    remarks: tuple[str, ...] = ()
    """What was changed on the way, one sentence each."""
