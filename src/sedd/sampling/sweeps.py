"""Gibbs sweeps, which make infilling with `uniform` follow the conditional distribution.

A network for `uniform` reads every residue as possibly noisy, so denoising beside fixed residues is an approximation:
these are read as if they were noisy too. At the lowest noise "noisy" and "fixed" are the same, and

    p(x_i = y | all other positions) = softmax over y of the log-scores at i.

Drawing the residues anew from it, one after the other, leaves the true conditional distribution as it is, and tends to
it as the sweeps grow. One evaluation per drawn residue and sweep.
"""

from __future__ import annotations

import numpy as np
import torch

from sedd.sampling.cached_score_model import CachedScoreModel
from sedd.sampling.categorical import categorical
from sedd.sampling.predictors.base import Report
from sedd.sampling.sample_batch import SampleBatch

MIN_SIGMA = 1e-4
"""Sigma of the sweeps, unless sigma_min is larger; few networks were trained on less."""


def gibbs_sweeps(batch: SampleBatch, score_model: CachedScoreModel, *, report: Report) -> None:
    """Draw the residues `batch.to_draw` anew, `sampling.sweeps` times, each time in a random order."""
    to_draw = [np.flatnonzero(row) for row in batch.to_draw.cpu().numpy()]
    orders = [
        np.concatenate([generator.permutation(positions) for _ in range(score_model.options.sweeps)])
        for generator, positions in zip(batch.generators, to_draw, strict=True)
    ]
    order_of = dict(zip(batch.indices.tolist(), orders, strict=True))
    longest = max(map(len, orders))
    sigma = max(score_model.process.noise.sigma_min, MIN_SIGMA)
    for step in range(longest):
        batch.remove(torch.tensor([len(order_of[index]) <= step for index in batch.indices.tolist()]))
        position = torch.tensor([[order_of[index][step]] for index in batch.indices.tolist()], device=batch.device)
        log_score = score_model(batch, torch.full((len(batch),), sigma, dtype=torch.float64))
        at_position = log_score.gather(1, position[..., None].expand(-1, -1, log_score.shape[-1]))[:, 0]
        symbols = categorical(score_model.drawable(at_position), batch.uniforms(1)[:, 0])
        batch.update(batch.tokens.scatter(1, position, symbols[:, None]))
        report((step + 1) / longest)
