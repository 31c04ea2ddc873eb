"""Running the network, but not where its answer is known already.

The answer is known where neither the tokens of a sequence nor the noise level that the network sees have changed since
it was asked. A time-free head (`model.time_conditioning: false`) sees no noise level. So this changes what sampling
costs, never what is drawn.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from sedd.config.sections import Sampling
from sedd.diffusion.parametrization import Network
from sedd.diffusion.process import Process
from sedd.errors import SamplingError
from sedd.plugins.contracts import Backend
from sedd.sampling.reshaping import reshaped
from sedd.sampling.rows import SampleBatch


@dataclass(frozen=True)
class CachedScoreModel:
    """Log-scores of a network at the tokens of a batch.

    Args:
        network: called as `network(tokens, sigma, mask)`.
        process: forward process and parametrization.
        backend: where it runs.
        options: temperature and top-p.
        reuse: whether known answers are used again.
    """

    network: Network
    process: Process
    backend: Backend
    options: Sampling
    reuse: bool = True

    def __call__(self, rows: SampleBatch, sigma: Tensor) -> Tensor:
        """(B, width, n) log-scores at noise `sigma`, (B,) float64 on the host; counts the evaluations in `rows.nfe`."""
        asked = rows.stale.copy()
        level_seen = sigma.float() if self.process.parametrization.time_conditioning else torch.zeros(len(rows))
        asked |= (rows.output_sigma != level_seen).numpy()
        if not self.reuse:
            asked[:] = True
        if asked.any():
            self._ask(rows, sigma, np.flatnonzero(asked))
            rows.output_sigma = torch.where(torch.from_numpy(asked), level_seen, rows.output_sigma)
            rows.nfe += asked
            rows.stale[:] = False
        assert rows.output is not None  # noqa: S101  # asked at the latest now
        level = sigma.float().to(rows.device)
        scores = self.process.log_score(rows.output, rows.tokens, level)
        options = self.options
        return reshaped(
            scores, rows.tokens, level, graph=self.process.graph, temperature=options.temperature, top_p=options.top_p
        )

    def _ask(self, rows: SampleBatch, sigma: Tensor, which: np.ndarray) -> None:
        every = len(which) == len(rows)
        index = torch.from_numpy(which).to(rows.device)
        tokens, seen = (rows.tokens, rows.seen) if every else (rows.tokens[index], rows.seen[index])
        level = sigma[torch.from_numpy(which)].float().to(rows.device)
        with self.backend.autocast():
            output = self.network(tokens, level, None if rows.lengths[which].min() == rows.width else seen)
        if bool(torch.isnan(output).any()):
            raise SamplingError(
                "the network returned NaN; try device.precision=float32, or another checkpoint of the run"
            )
        if every or rows.output is None:
            rows.output = output
        else:
            rows.output[index] = output
