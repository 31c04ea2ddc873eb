"""Low complexity and repeats: a collapsed model has too much of both, shuffled sequences too little.

*Low complexity* follows the first stage of SEG (Wootton and Federhen 1993) with its usual parameters: windows of 12
residues, each with the entropy of its residues in bits. A stretch of consecutive windows of at most 2.5 bits counts if
one of them has at most 2.2; every residue under it is of low complexity. SEG's second stage, which cuts such a stretch
down to its least probable part, is left out. Sequences shorter than 12 have no window.

*Repeats* are stretches in which every residue equals the one `period` before it: at least 4 equal residues
(period 1), or at least 3 full copies of a unit of 2, 3 or 4 residues.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from sedd.evaluation.quality.packed import Packed
from sedd.evaluation.quality.statistic import Ratio

WINDOW = 12
TRIGGER_BITS = 2.2
EXTENSION_BITS = 2.5
SHORTEST_REPEAT = {1: 4, 2: 6, 3: 9, 4: 12}
"""Residues, by period."""
Flags = NDArray[np.bool_]


def low_complexity_share(sequences: Packed) -> Ratio:
    """The share of residues of low complexity."""
    return _share(sequences, low_complexity(sequences))


def repeat_share(sequences: Packed) -> Ratio:
    """The share of residues in repeats."""
    return _share(sequences, repeats(sequences))


def low_complexity(sequences: Packed) -> Flags:
    """Which residues are of low complexity, (residues,)."""
    bits = window_bits(sequences)
    stretches = _runs(bits <= EXTENSION_BITS + 1e-9)
    lows = np.cumsum(np.concatenate([[0], bits <= TRIGGER_BITS + 1e-9]))
    kept = [(first, last + WINDOW - 1) for first, last in stretches if lows[last] > lows[first]]
    return _covered(kept, sequences.residues)


def window_bits(sequences: Packed) -> NDArray[np.float64]:
    """Entropy in bits of the window that starts at each residue, (residues,); infinite where none does."""
    starts = sequences.residues - WINDOW + 1
    bits = np.full(sequences.residues, np.inf)
    if starts < 1:
        return bits
    table = np.array([count * np.log2(count) if count else 0.0 for count in range(WINDOW + 1)])
    total = np.zeros(starts)
    for token in np.unique(sequences.tokens):
        cumulative = np.concatenate([[0], np.cumsum(sequences.tokens == token)])
        total += table[cumulative[WINDOW:] - cumulative[:-WINDOW]]
    inside = sequences.owner[:starts] == sequences.owner[WINDOW - 1 :]
    bits[:starts][inside] = (np.log2(WINDOW) - total / WINDOW)[inside]
    return bits


def repeats(sequences: Packed) -> Flags:
    """Which residues are in repeats, (residues,)."""
    stretches: list[tuple[int, int]] = []
    for period, shortest in SHORTEST_REPEAT.items():
        same = np.zeros(sequences.residues, bool)
        same[period:] = (sequences.tokens[period:] == sequences.tokens[:-period]) & (
            sequences.owner[period:] == sequences.owner[:-period]
        )
        runs = _runs(same)
        stretches += [(first - period, last) for first, last in runs if last - first + period >= shortest]
    return _covered(stretches, sequences.residues)


def _share(sequences: Packed, flags: Flags) -> Ratio:
    return Ratio(sequences.per_sequence(flags), sequences.lengths.astype(np.float64))


def _runs(flags: Flags) -> NDArray[np.int64]:
    """First and one past the last position of every run of True, (runs, 2)."""
    edges = np.diff(np.concatenate([[0], flags.astype(np.int8), [0]]))
    return np.stack([np.flatnonzero(edges == 1), np.flatnonzero(edges == -1)], 1)


def _covered(stretches: list[tuple[int, int]], residues: int) -> Flags:
    """Which positions lie in one of the stretches (first, one past the last)."""
    steps = np.zeros(residues + 1, np.int64)
    if stretches:
        first, last = np.array(stretches).T
        np.add.at(steps, first, 1)
        np.add.at(steps, last, -1)
    return np.cumsum(steps)[:-1] > 0
