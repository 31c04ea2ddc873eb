"""The diffusion process of a run in one object: forward process, noise schedule, parametrization."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from sedd.config.config import Config
from sedd.diffusion.graphs import Graph, make_graph
from sedd.diffusion.parametrization import Parametrization
from sedd.plugins.checked import built_network, checked_sigma
from sedd.plugins.contracts import Network, Noise


@dataclass(frozen=True)
class Process:
    """What the training loss, the bound and the samplers have in common."""

    graph: Graph
    """The forward process on tokens."""
    noise: Noise
    """sigma(t) without curriculum: the noise that the model is trained for."""
    parametrization: Parametrization
    """What the network's output means."""

    @staticmethod
    def of(config: Config, n: int) -> Process:
        """The process of a configuration over an alphabet of `n` symbols."""
        return Process(make_graph(config.graph.type, n), config.noise, Parametrization.of(config.model))

    @property
    def outputs(self) -> int:
        """Numbers per residue in the network's output."""
        return self.parametrization.outputs(self.graph)

    def network(self, part: Network) -> nn.Module:
        """A new network for this process, as the `model` section asks for it.

        Raises:
            ConfigError: if the options of the network do not fit the process.
            PluginError: if the part is broken.
        """
        return built_network(part, self.graph.states, self.outputs)

    @property
    def sigma_range(self) -> tuple[float, float]:
        """The least and the largest sigma of the noise schedule."""
        low, high = checked_sigma(self.noise, torch.tensor([0.0, 1.0], dtype=torch.float64)).tolist()
        return low, high

    def log_score(self, output: Tensor, x_t: Tensor, sigma: Tensor) -> Tensor:
        """Log-scores (batch, length, n) from the network's output; see `Parametrization.log_score`."""
        return self.parametrization.log_score(output, x_t, sigma, self.graph)
