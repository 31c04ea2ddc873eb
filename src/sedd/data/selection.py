"""Some sequences of a source, as a source of their own."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sedd.data.order import Sequences, lengths_of


@dataclass(frozen=True, eq=False)
class Selection:
    """The items of `source` at `indices`, (sequences,); they are read when they are needed."""

    source: Sequences
    indices: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, index: int, /) -> NDArray[Any]:
        return np.asarray(self.source[int(self.indices[index])])

    def lengths_at(self, indices: NDArray[np.int64]) -> NDArray[np.int64]:
        """Residues of some items, (items,)."""
        return lengths_of(self.source, self.indices[indices])
