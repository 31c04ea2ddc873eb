"""The forward processes on tokens (Lou et al. 2024, section 3.3): `absorb` masks, `uniform` resamples."""

from __future__ import annotations

from sedd.diffusion.graphs.absorb import Absorb
from sedd.diffusion.graphs.base import SIGMA_END, BoundIntegrand, Graph, divergence, log_expm1
from sedd.diffusion.graphs.uniform import Uniform

__all__ = ["SIGMA_END", "Absorb", "BoundIntegrand", "Graph", "Uniform", "divergence", "log_expm1", "make_graph"]


def make_graph(kind: str, n: int) -> Graph:
    """The graph that `graph.type` names, over `n` symbols."""
    return {"absorb": Absorb, "uniform": Uniform}[kind](n)
