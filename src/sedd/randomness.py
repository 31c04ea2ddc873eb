"""Random generators with a key for each purpose, so that resuming, accumulating or adding workers does not change a
run, and hardly any generator state has to be saved.

Philox is counter-based: a key and a counter give a stream at once, with no state to advance (Salmon et al. 2011).
"""

from __future__ import annotations

import hashlib

import numpy as np


def generator(seed: int, purpose: str, *index: int) -> np.random.Generator:
    """An independent generator for (seed, purpose, index...); equal arguments give equal streams."""
    words = ",".join(map(str, (seed, purpose, *index)))
    key = int.from_bytes(hashlib.blake2b(words.encode(), digest_size=16).digest(), "little")
    return np.random.Generator(np.random.Philox(key=key))


def seed_for(seed: int, purpose: str, *index: int) -> int:
    """A 63-bit seed for the generators of other libraries, such as that of torch."""
    return int(generator(seed, purpose, *index).integers(2**63))
