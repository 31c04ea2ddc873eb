"""The probe: training sequences on which a run is evaluated exactly as it is on held-out ones.

The training loss and the held-out bound differ in three ways: the noise of the curriculum, the network (dropout, and
weights before averaging) and the data. The bound on training sequences differs from the held-out bound in the data
alone.
"""

from __future__ import annotations

import numpy as np

from sedd.data.order import Sequences
from sedd.data.selection import Selection
from sedd.randomness import generator, seed_for

PROBE_SEED = seed_for(0, "probe")
"""Keys the choice of the sequences and their noise: the same in every evaluation of every run on the same data."""


def probe_sequences(train: Sequences, count: int) -> Selection:
    """A fixed choice of at most `count` training sequences, in the order of the data."""
    total = len(train)
    # `choice` without replacement does not list all items if few are chosen: there may be 60 million of them.
    chosen = generator(PROBE_SEED, "probe-sequences").choice(total, min(count, total), replace=False, shuffle=False)
    return Selection(train, np.sort(chosen).astype(np.int64))
