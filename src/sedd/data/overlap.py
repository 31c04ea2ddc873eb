"""Which sequences are among those of another set, such as the training set."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from sedd.data.order import Sequences
from sedd.data.store import TokenStore

Ints = NDArray[np.int64]
BLOCK = 1 << 20
"""Sequences that are looked at together."""
PROBES = 4
"""Residues of each sequence that are compared first."""
FACTOR = 6_364_136_223_846_793_005
"""Of the hash of these residues; odd, so that no bit is lost."""


def found_in(others: Sequences, sequences: Sequences) -> NDArray[np.bool_]:
    """Which of `sequences`, (sequences,), are equal to one of `others`; both are ids of one alphabet.

    Lengths and a few residues rule out nearly all pairs at once where `others` is a store; the rest is compared.
    """
    wanted: dict[bytes, list[int]] = {}
    for index in range(len(sequences)):
        wanted.setdefault(_key(sequences[index]), []).append(index)
    found = np.zeros(len(sequences), bool)
    codes = np.array([_code(np.asarray(sequences[index])) for index in range(len(sequences))], np.uint64)
    for first in range(0, len(others), BLOCK):
        indices = np.arange(first, min(first + BLOCK, len(others)))
        for index in indices[np.isin(_codes(others, indices), codes)].tolist():
            found[wanted.get(_key(others[index]), [])] = True
    return found


def _key(sequence: Any) -> bytes:
    return np.asarray(sequence, "<u4").tobytes()


def _positions(length: Ints) -> list[Ints]:
    """Evenly spread positions of sequences of these lengths, all of which are above 0."""
    return [(length - 1) * probe // (PROBES - 1) for probe in range(PROBES)]


def _code(sequence: NDArray[Any]) -> int:
    """A number of 64 bits that is equal for equal sequences: from the length and a few residues."""
    code = len(sequence)
    for position in _positions(np.array(len(sequence), np.int64)):
        code = (code * FACTOR + int(sequence[int(position)])) % (1 << 64)
    return code


def _codes(source: Sequences, indices: Ints) -> NDArray[np.uint64]:
    """`_code` of some sequences, (indices,)."""
    if not isinstance(source, TokenStore):
        return np.array([_code(np.asarray(source[int(index)])) for index in indices], np.uint64)
    starts, lengths = source.starts_at(indices), source.lengths_at(indices)
    codes = lengths.astype(np.uint64)
    for position in _positions(lengths):
        codes = codes * np.uint64(FACTOR) + source.tokens[starts + position].astype(np.uint64)  # modulo 2^64
    return codes
