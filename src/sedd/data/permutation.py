"""A keyed permutation of range(n) without a table: seek anywhere at once, at 60 million items as at 60.

A Feistel network on pairs (l, r) with l < a, r < b, where a*b is just above n: each round adds a keyed hash of one half
to the other, modulo its size, which is invertible (Black and Rogaway 2002). Results outside range(n) are sent through
again until they fall inside (cycle walking), which keeps it a bijection and is rare, since a*b - n <= sqrt(n).
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from sedd.randomness import generator

_ROUNDS = 8
_MIX = (np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB))
"""Multipliers of the finaliser of splitmix64 (Steele, Lea and Flood 2014)."""


class Permutation:
    """`Permutation(n, seed, epoch)(positions)` is a bijection of range(n), its own for each seed and epoch."""

    def __init__(self, n: int, seed: int, epoch: int) -> None:
        self.n = n
        self._a = math.isqrt(max(0, n - 1)) + 1
        self._b = -(-n // self._a)
        self._keys = generator(seed, "order", epoch).integers(2**64, size=_ROUNDS, dtype=np.uint64)

    def __call__(self, positions: NDArray[np.int64]) -> NDArray[np.int64]:
        """Items at `positions`, each in range(n)."""
        positions = np.asarray(positions, dtype=np.int64)
        if positions.size and (int(positions.min()) < 0 or int(positions.max()) >= self.n):
            raise IndexError(f"positions must lie in range({self.n})")
        items = self._once(positions)
        while (outside := items >= self.n).any():
            items[outside] = self._once(items[outside])
        return items

    def _once(self, positions: NDArray[np.int64]) -> NDArray[np.int64]:
        left, right = np.divmod(positions, self._b)
        for number, key in enumerate(self._keys):
            if number % 2:
                right = (right + _hash(left, key, self._b)) % self._b
            else:
                left = (left + _hash(right, key, self._a)) % self._a
        return np.asarray(left * self._b + right)


def _hash(half: NDArray[np.int64], key: np.uint64, size: int) -> NDArray[np.int64]:
    x = half.astype(np.uint64) ^ key
    x = (x ^ (x >> np.uint64(30))) * _MIX[0]
    x = (x ^ (x >> np.uint64(27))) * _MIX[1]
    x ^= x >> np.uint64(31)
    return (x % np.uint64(size)).astype(np.int64)
