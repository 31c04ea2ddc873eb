"""Generate sequences by walking the noise back from t = 1 to t = 0.

* `ancestral` draws each residue from its posterior p(x_s | x_t) under the network (Lou et al. 2024, theorem 4.2, as
  a proper distribution): exact for one residue; residues of one step are drawn independently given x_t, so the
  distribution is that of the model in the limit of many steps.
* `euler` takes tau-leaping steps (section 4.1): first order in the step size.

Cost: `steps` evaluations of the network, and one more for `noise_removal`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor

from sedd.config import Config
from sedd.contracts import Backend, Noise
from sedd.errors import SamplingError
from sedd.graphs import Graph
from sedd.heads import Network, log_score
from sedd.randomness import generator
from sedd.sections import Model, Sampling


@dataclass(frozen=True)
class Sampler:
    """Draws sequences from a model.

    Args:
        graph: the forward process.
        model: which head the network has.
        noise: the schedule to walk back; its `sigma_max` is where sampling starts.
        backend: where to run.
        options: the sampling section.
    """

    graph: Graph
    model: Model
    noise: Noise
    backend: Backend
    options: Sampling

    @torch.no_grad()
    def __call__(self, network: Network, lengths: np.ndarray, *, seed: int) -> list[np.ndarray]:
        """Draw one sequence of tokens for each length. The same seed gives the same samples, whatever the batch size.

        Raises:
            SamplingError: if the noise stops too early to start from nothing, or a length is impossible.
        """
        self._check(lengths)
        result: list[np.ndarray] = []
        for first in range(0, len(lengths), self.options.batch_size):
            chunk = np.asarray(lengths[first : first + self.options.batch_size])
            tokens = self._batch(network, chunk, [generator(seed, "sample", first + i) for i in range(len(chunk))])
            result += [row[:length] for row, length in zip(tokens.cpu().numpy(), chunk, strict=True)]
        return result

    def _check(self, lengths: np.ndarray) -> None:
        kept = math.exp(-self.noise.sigma_max)
        if kept > Config.GENERATES_BELOW:
            raise SamplingError(
                f"this model was trained up to sigma_max={self.noise.sigma_max:g}, where {kept:.0%} of the residues "
                f"are still visible: it has never seen an empty sequence and cannot generate from nothing. Train with "
                "noise.sigma_max=6.9 (preset `uniref50`) to generate"
            )
        wrong = [int(length) for length in lengths if not 1 <= length <= self.model.length]
        if wrong:
            raise SamplingError(f"length {wrong[0]} is impossible: this model makes 1 to {self.model.length} residues")

    def _batch(self, network: Network, lengths: np.ndarray, random: list[np.random.Generator]) -> Tensor:
        device = self.backend.device()
        longest = int(lengths.max())
        rows = torch.from_numpy(lengths).to(device)
        mask = torch.arange(longest, device=device)[None] < rows[:, None]

        def uniforms() -> Tensor:
            # Each sequence has its own stream and takes as many numbers as it is long: batching cannot change it.
            drawn = np.zeros((len(lengths), longest), np.float64)
            for row, (stream, length) in enumerate(zip(random, lengths, strict=True)):
                drawn[row, :length] = stream.random(length)
            return torch.from_numpy(drawn)

        x = self.graph.start((len(lengths), longest), uniforms()).to(device)
        seen = None if int(lengths.min()) == longest else mask
        for sigma_t, sigma_s in pairwise(self._grid()):
            x = self._step(network, x, seen, float(sigma_t), float(sigma_s), uniforms())
        return x

    def _grid(self) -> Tensor:
        """Noise levels from sigma_max down to sigma_min, and to 0 with `noise_removal`."""
        t = torch.linspace(1.0, 0.0, self.options.steps + 1, dtype=torch.float64)
        grid = self.noise.total(t).clamp(min=0.0)
        if self.options.noise_removal and grid[-1] > 0:
            grid = torch.cat([grid, torch.zeros(1, dtype=torch.float64)])
        return grid

    def _step(
        self, network: Network, x: Tensor, mask: Tensor | None, sigma_t: float, sigma_s: float, u: Tensor
    ) -> Tensor:
        now, then = (torch.full((len(x),), sigma, device=x.device) for sigma in (sigma_t, sigma_s))
        with self.backend.autocast():
            output = network(x, now, mask)
        scores = log_score(output, x, now, graph=self.graph, model=self.model)
        # An Euler step onto sigma = 0 could leave masks behind; noise removal is the exact posterior in both cases.
        if self.options.predictor == "euler" and sigma_s > 0:
            weights = self.graph.euler(scores, x, torch.full_like(now, sigma_t - sigma_s))
        else:
            weights = self.graph.posterior(scores, x, now, then)
        return categorical(weights, u)


def categorical(weights: Tensor, u: Tensor) -> Tensor:
    """Draw an index along the last axis with probability proportional to `weights`, by inversion of `u` in [0, 1).

    In float64: cumulative sums in float32 lose the tail once a symbol's share is below about 1e-7.
    """
    there = weights.cpu() if weights.device.type == "mps" else weights  # Apple GPUs have no float64
    cumulative = there.double().cumsum(-1)
    u = u.to(there.device, torch.float64)
    drawn = torch.searchsorted(cumulative, (u * cumulative[..., -1])[..., None].contiguous(), right=True)[..., 0]
    return drawn.clamp(max=weights.shape[-1] - 1).to(weights.device)
