"""Protein-like sequences whose entropy is known exactly, so that a bound can be compared with the true value.

A stationary Markov chain over the 20 letters. Its joint distribution of neighbours is J(x, y) = u(x) K(x, y) v(y), with

    K(x, y) = pi(x) pi(y) exp(order * cos(angle(y) - angle(x) - 100 degrees))

and u, v such that both marginals of J are pi, the amino acid frequencies of real proteins (Sinkhorn). The angles
spread the amino acids around a circle by hydropathy, and 100 degrees is the turn of an alpha helix per residue: as in
an amphipathic helix, hydropathy tends to recur every 3.6 residues. With `order` 0 the residues are independent.
"""

from __future__ import annotations

from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sedd.data.alphabet import PROTEIN, Alphabet
from sedd.errors import DataError
from sedd.randomness import generator

Floats = NDArray[np.float64]

FREQUENCIES = {
    "A": 8.25, "C": 1.38, "D": 5.46, "E": 6.72, "F": 3.86, "G": 7.07, "H": 2.27, "I": 5.91, "K": 5.80, "L": 9.65,
    "M": 2.41, "N": 4.06, "P": 4.74, "Q": 3.93, "R": 5.53, "S": 6.65, "T": 5.36, "V": 6.86, "W": 1.10, "Y": 2.92,
}  # fmt: skip
"""Letter frequencies of UniProtKB/Swiss-Prot in percent (release statistics)."""
HYDROPATHY = "RKNDQEHPYWSTGAMCFLVI"
"""Amino acids from hydrophilic to hydrophobic (Kyte and Doolittle 1982)."""
HELIX_TURN = np.deg2rad(100.0)
_BLOCK = 4096


class SyntheticSource:
    """`sequences` sequences of `min_length` to `max_length` residues; the same for the same arguments.

    Args:
        sequences: how many.
        min_length: of a sequence; lengths are log-normal between the two, clipped.
        max_length: of a sequence.
        order: strength of the order between neighbours; 2 leaves about 2.3 nats per residue of 2.89.
        seed: of the run.
        part: which set; `train` and `valid` are independent draws.
    """

    alphabet: Alphabet = PROTEIN

    def __init__(
        self, *, sequences: int, min_length: int, max_length: int, order: float, seed: int, part: str = "train"
    ) -> None:
        if sequences < 1 or not 1 <= min_length <= max_length:
            raise DataError(f"{sequences} sequences of {min_length} to {max_length} residues: not a possible set")
        self.chain = Chain(order)
        self.lengths = _draw_lengths(sequences, min_length, max_length, seed, part)
        self._offsets = np.concatenate([[0], np.cumsum(self.lengths)])
        self._tokens = np.empty(int(self._offsets[-1]), dtype=np.uint8)
        for block, first in enumerate(range(0, sequences, _BLOCK)):
            letters = self.chain.draw(self.lengths[first : first + _BLOCK], generator(seed, f"synthetic {part}", block))
            start, end = self._offsets[first], self._offsets[min(first + _BLOCK, sequences)]
            self._tokens[start:end] = letters
        self._tokens.flags.writeable = False

    def __len__(self) -> int:
        return len(self.lengths)

    def __getitem__(self, index: int) -> NDArray[np.uint8]:
        if not -len(self) <= index < len(self):
            raise IndexError(f"sequence {index} of a source with {len(self)}")
        index = int(index) % len(self)
        return self._tokens[self._offsets[index] : self._offsets[index + 1]]

    @property
    def token_counts(self) -> NDArray[np.int64]:
        """How often each letter occurs."""
        return np.bincount(self._tokens, minlength=PROTEIN.n).astype(np.int64)

    @property
    def entropy(self) -> float:
        """Expected -log p per residue in nats, exactly, given the lengths of this set."""
        n, residues = len(self), int(self.lengths.sum())
        return (n * self.chain.letter_entropy + (residues - n) * self.chain.rate) / residues

    def nll(self, count: int | None = None) -> float:
        """-log p of the first `count` sequences (all by default) over their residues: what no model's bound beats."""
        return float(-self._log_probs[: self._offsets[len(self) if count is None else min(count, len(self))]].mean())

    @cached_property
    def _log_probs(self) -> Floats:
        terms = self.chain.log_probs(self._tokens)
        first = self._offsets[:-1]
        terms[first] = np.log(self.chain.frequencies)[self._tokens[first]]
        return terms


class Chain:
    """The Markov chain: `frequencies` pi (20,), `joint` J (20, 20), `transition` P(y | x) (20, 20)."""

    def __init__(self, order: float) -> None:
        weights = np.array([FREQUENCIES[letter] for letter in PROTEIN.symbols])
        self.frequencies: Floats = weights / weights.sum()
        self.joint = _sinkhorn(np.exp(order * _affinity()), self.frequencies)
        self.transition: Floats = self.joint / self.joint.sum(1, keepdims=True)

    @property
    def letter_entropy(self) -> float:
        """H1: entropy of one letter, in nats."""
        return float(-(self.frequencies * np.log(self.frequencies)).sum())

    @property
    def rate(self) -> float:
        """Entropy of a letter given the one before it, in nats."""
        return float(-(self.joint * np.log(self.transition)).sum())

    def log_probs(self, letters: NDArray[Any]) -> Floats:
        """log p of each letter given the one before it; of the first, without."""
        first, steps = np.log(self.frequencies)[letters[:1]], np.log(self.transition)[letters[:-1], letters[1:]]
        return np.asarray(np.concatenate([first, steps]))

    def draw(self, lengths: NDArray[np.int64], random: np.random.Generator) -> NDArray[np.uint8]:
        """Sequences of the given lengths, end to end: all of them grow by one letter at a time."""
        grid = np.empty((len(lengths), int(lengths.max())), dtype=np.uint8)
        letter = random.choice(len(self.frequencies), size=len(lengths), p=self.frequencies)
        bounds = np.cumsum(self.transition, axis=1)[:, :-1]
        for position in range(grid.shape[1]):
            if position:
                letter = (random.random(len(lengths))[:, None] >= bounds[letter]).sum(1)
            grid[:, position] = letter
        return grid[np.arange(grid.shape[1]) < lengths[:, None]]


def _affinity() -> Floats:
    """S(x, y) in [-1, 1]: how well y follows x."""
    angle = np.array([HYDROPATHY.index(letter) for letter in PROTEIN.symbols]) * (2 * np.pi / len(HYDROPATHY))
    return np.asarray(np.cos(angle[None, :] - angle[:, None] - HELIX_TURN))


def _sinkhorn(kernel: Floats, marginal: Floats) -> Floats:
    """The joint distribution diag(u) kernel diag(v) with both marginals as given, to rounding."""
    u = v = np.ones_like(marginal)
    for _ in range(10_000):
        u = marginal / (kernel @ v)
        v = marginal / (kernel.T @ u)
        if np.abs(u * (kernel @ v) - marginal).max() < 1e-16:
            break
    return np.asarray(u[:, None] * kernel * v[None, :])


def _draw_lengths(sequences: int, shortest: int, longest: int, seed: int, part: str) -> NDArray[np.int64]:
    middle, spread = np.log(shortest * longest) / 2, np.log(longest / shortest) / 4
    drawn = generator(seed, f"synthetic lengths {part}").lognormal(middle, spread, size=sequences)
    return np.clip(np.rint(drawn), shortest, longest).astype(np.int64)
