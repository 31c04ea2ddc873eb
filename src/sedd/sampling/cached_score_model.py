"""Log-scores of a network, without evaluations whose result is known.

The result is known where neither the tokens of a sequence nor the sigma that the network sees have changed since its
last evaluation. A time-free network (`model.time_conditioning: false`) sees no sigma. So this changes what sampling
costs, never what is drawn.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from sedd.config.sections import Sampling
from sedd.diffusion.loss import is_selective
from sedd.diffusion.parametrization import Network
from sedd.diffusion.process import Process
from sedd.errors import SamplingError
from sedd.plugins.contracts import Backend
from sedd.sampling.sample_batch import SampleBatch
from sedd.sampling.temperature import apply_temperature


@dataclass(frozen=True)
class CachedScoreModel:
    """Log-scores of a network at the tokens of a batch, at the temperature and top-p of `options`.

    With `reuse`, known results are used again.
    """

    network: Network
    process: Process
    backend: Backend
    options: Sampling
    reuse: bool = True
    never: Tensor | None = None
    """(n,) bool: symbols that are never drawn."""

    def __call__(self, batch: SampleBatch, sigma: Tensor) -> Tensor:
        """Log-scores (batch, length, n) at noise `sigma`, (batch,) float64 on the host; updates `batch.nfe`.

        Raises:
            SamplingError: if the network returns NaN.
        """
        sigma_seen = sigma.float() if self.process.parametrization.time_conditioning else torch.zeros(len(batch))
        needed = batch.tokens_changed | (batch.output_sigma != sigma_seen).numpy()
        if not self.reuse:
            needed[:] = True
        if needed.any():
            self._evaluate(batch, sigma, np.flatnonzero(needed))
            batch.output_sigma = torch.where(torch.from_numpy(needed), sigma_seen, batch.output_sigma)
            batch.nfe += needed
            batch.tokens_changed[:] = False
        assert batch.output is not None  # noqa: S101  # the first call evaluates all sequences
        return self._log_score(batch.output, batch.tokens, sigma)

    def at(self, batch: SampleBatch, sigma: Tensor, positions: Tensor) -> Tensor:
        """Log-scores (batch, count, n) at `positions` (batch, count) of each sequence, at noise `sigma`.

        A network that accepts positions computes its last block and its output there only; nothing is reused then.

        Raises:
            SamplingError: if the network returns NaN.
        """
        if not is_selective(self.network):
            log_score = self(batch, sigma)
            return log_score.gather(1, positions[..., None].expand(-1, -1, log_score.shape[-1]))
        first = torch.arange(len(batch), device=batch.device)[:, None] * batch.padded_length
        no_padding = batch.lengths.min() == batch.padded_length
        mask, seen = None if no_padding else batch.padding_mask, sigma.float().to(batch.device)
        with self.backend.autocast():
            output = self.network(batch.tokens, seen, mask, positions=(first + positions).flatten())
        batch.nfe += 1
        return self._log_score(_checked(output).view(*positions.shape, -1), batch.tokens.gather(1, positions), sigma)

    def _log_score(self, output: Tensor, tokens: Tensor, sigma: Tensor) -> Tensor:
        """Log-scores of the network's output at `tokens`, at the temperature and top-p of the options."""
        sigma = sigma.float().to(output.device)
        log_score = self.process.log_score(output, tokens, sigma)
        graph, temperature, top_p = self.process.graph, self.options.temperature, self.options.top_p
        return apply_temperature(
            log_score, tokens, sigma, graph=graph, temperature=temperature, top_p=top_p, never=self.never
        )

    def drawable(self, log_weights: Tensor) -> Tensor:
        """Log-weights of states, (..., states), with -inf at the symbols that are never drawn.

        Scores alone do not ensure that with `uniform`, where noise moves residues to every symbol: a state of a sample
        that is kept is drawn from these.
        """
        if self.never is None:
            return log_weights
        never = self.never.to(log_weights.device)
        more = log_weights.shape[-1] - len(never)
        return log_weights.masked_fill(torch.cat([never, never.new_zeros(more)]), -torch.inf)

    def _evaluate(self, batch: SampleBatch, sigma: Tensor, rows: np.ndarray) -> None:
        """Update `batch.output` at `rows`."""
        index, complete = torch.from_numpy(rows).to(batch.device), len(rows) == len(batch)
        tokens, mask = batch.tokens, batch.padding_mask
        if not complete:
            tokens, mask = tokens[index], mask[index]
        no_padding = batch.lengths[rows].min() == batch.padded_length
        sigma = sigma[torch.from_numpy(rows)].float().to(batch.device)
        with self.backend.autocast():
            output = _checked(self.network(tokens, sigma, None if no_padding else mask))
        if complete or batch.output is None:
            batch.output = output
        else:
            batch.output[index] = output


def _checked(output: Tensor) -> Tensor:
    """The network's output. Raises SamplingError if it is NaN."""
    if bool(torch.isnan(output).any()):
        message = "the network returned NaN; try device.precision=float32, or another checkpoint of the run"
        raise SamplingError(message, about="network")
    return output
