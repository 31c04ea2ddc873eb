"""Gibbs sweeps: what makes infilling with `uniform` follow the conditional distribution.

A network for `uniform` knows what a noisy residue says, not what a given one says while the others are noisy. So
walking the noise back beside given residues is an approximation: they are read as if they were noisy too. At the lowest
noise both are the same, and p(y at i | all others) is the softmax of the log-scores at i. Drawing every free residue
anew from it, one after the other, leaves the true conditional distribution as it is and tends to it as the sweeps grow.

Costs one evaluation per free residue and sweep.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch

from sedd.plugins.contracts import Noise
from sedd.sampling.categorical import categorical
from sedd.sampling.evaluations import CachedScoreModel
from sedd.sampling.rows import SampleBatch

LEAST = 1e-4
"""Noise of the sweeps, unless sigma_min is larger; a network has rarely seen less."""


def sweep(
    rows: SampleBatch, evaluate: CachedScoreModel, *, noise: Noise, sweeps: int, report: Callable[[float], None]
) -> None:
    """Draw the free residues of all rows anew, `sweeps` times, each time in a random order."""
    free = [np.flatnonzero(row) for row in rows.free.cpu().numpy()]
    orders = [
        np.concatenate([stream.permutation(places) for _ in range(sweeps)])
        for stream, places in zip(rows.random, free, strict=True)
    ]
    orders_of = dict(zip(rows.places.tolist(), orders, strict=True))
    longest = max(map(len, orders))
    for step in range(longest):
        rows.retire(torch.tensor([len(orders_of[place]) <= step for place in rows.places.tolist()]))
        at = torch.tensor([[orders_of[place][step]] for place in rows.places.tolist()], device=rows.device)
        scores = evaluate(rows, torch.full((len(rows),), max(noise.sigma_min, LEAST), dtype=torch.float64))
        here = scores.gather(1, at[..., None].expand(-1, -1, scores.shape[-1]))[:, 0]
        drawn = categorical(here, rows.uniforms(1)[:, 0])
        rows.advance(rows.tokens.scatter(1, at, drawn[:, None]))
        report((step + 1) / longest)
