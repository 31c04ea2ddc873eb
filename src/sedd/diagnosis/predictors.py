"""The loss of a fixed predictor at each mask rate: an untrained model, the unigram model, a trained model.

The training loss at any difficulty is the integral of P(m), the loss per unit of mask rate, over the mask rates that
the difficulty draws (`sedd.diffusion.loss_profile`). For `absorb` with the normalised head P is the cross-entropy, ln n
and H1 for the first two; in every other case P is computed here from the library's own score entropy, exactly, by
summing over all pairs of a clean and a corrupted token.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sedd.diffusion.graphs import Graph
from sedd.diffusion.loss_profile import EDGES
from sedd.diffusion.parametrization import Parametrization
from sedd.errors import DataError
from sedd.plugins.contracts import Network

Array = NDArray[np.float64]

CELLS = 6
"""Cells of the quadrature in each bin of mask rate."""
MOST_SYMBOLS = 256
"""Largest alphabet for which the sum over all pairs is computed; a closed form has no limit."""
MOST_AT_ONCE = 4_000_000
"""Elements in one chunk of the quadrature."""


@dataclass(frozen=True, eq=False)
class Predictor:
    """The loss of a fixed predictor, as a function of the mask rate."""

    mask_rates: Array
    """Points from 0 to 1, increasing."""
    integral: Array
    """Integral of P from 0 to each point, nats per residue."""
    known: Array | None = None
    """(BINS,) of a trained model: whether each bin was measured; the others have the value of the nearest bin."""

    def loss(self, low: float, high: float) -> float:
        """Expected training loss with mask rates between `low` and `high`, nats per residue."""
        ends = np.interp([low, high], self.mask_rates, self.integral)
        return float(ends[1] - ends[0])

    @property
    def values(self) -> Array:
        """Mean of P in each bin of mask rate, nats per unit of mask rate."""
        values: Array = np.diff(np.interp(EDGES, self.mask_rates, self.integral)) / np.diff(EDGES)
        return values


def untrained(graph: Graph, model: Network) -> Predictor:
    """The uniform predictor: a new network, whose output is 0."""
    even = np.full(graph.n, 1.0 / graph.n)
    parametrization = Parametrization.of(model)
    if _starts_uniform(graph, parametrization):
        parametrization = Parametrization()  # an output of 0 is the same distribution, with a closed form
    return _constant(graph, parametrization, torch.zeros(parametrization.outputs(graph)), even)


def unigram(graph: Graph, frequencies: Array) -> Predictor:
    """The unigram model: predicts the token frequencies (n,), the best predictor that sees no other residue."""
    known = np.maximum(frequencies, 1e-12)
    return _constant(graph, Parametrization(), torch.from_numpy(np.log(known)).float(), frequencies)


def predictable(graph: Graph, model: Network) -> bool:
    """Whether `both_predictors` takes no longer than moments: the alphabet is small, or there is a closed form."""
    return graph.n <= MOST_SYMBOLS or _starts_uniform(graph, Parametrization.of(model))


def both_predictors(graph: Graph, model: Network, frequencies: Array) -> dict[str, Predictor]:
    """The predictors `untrained` and `unigram`, by name."""
    return {"untrained": untrained(graph, model), "unigram": unigram(graph, frequencies)}


def of_profile(values: Array) -> Predictor:
    """A model with the loss profile `values`, (BINS,); NaN, not measured, is replaced by the nearest bin.

    Raises:
        DataError: if no bin was measured.
    """
    known = np.isfinite(values)
    if not known.any():
        raise DataError("the profile is empty: nothing was trained yet")
    return Predictor(EDGES, np.concatenate([[0.0], np.cumsum(nearest(values) * np.diff(EDGES))]), known)


def nearest(values: Array) -> Array:
    """`values` with each NaN replaced by the nearest finite value, the lower one of two equally near."""
    finite = np.flatnonzero(np.isfinite(values))
    distance = np.abs(np.arange(len(values))[:, None] - finite)
    filled: Array = values[finite[distance.argmin(1)]]
    return filled


def entropy(frequencies: Array) -> float:
    """H1, the entropy of the token frequencies, nats per residue."""
    positive = frequencies[frequencies > 0]
    return float(-(positive * np.log(positive)).sum())


def _is_cross_entropy(graph: Graph, parametrization: Parametrization) -> bool:
    """Whether P is the cross-entropy of masked residues, which does not depend on the mask rate."""
    return graph.has_mask and parametrization.head == "normalised"


def _starts_uniform(graph: Graph, parametrization: Parametrization) -> bool:
    """Whether an output of 0 is p(x0 | x_t) = 1/n of a mask: with the score head, where it is scaled by sigma."""
    return graph.has_mask and (parametrization.head == "normalised" or parametrization.scale_by_sigma)


def _constant(graph: Graph, parametrization: Parametrization, output: Tensor, frequencies: Array) -> Predictor:
    """A network whose output is always `output`, on tokens drawn with `frequencies`."""
    if _is_cross_entropy(graph, parametrization):
        cross_entropy = -float(frequencies @ torch.log_softmax(output.double(), -1).numpy())
        return Predictor(EDGES, cross_entropy * EDGES)
    # Within a cell P is smooth, but at 0 it may grow like log(1/m): cells shrink towards it.
    first = EDGES[1] * np.linspace(0.0, 1.0, 25)[:-1] ** 4
    rest = [np.linspace(a, b, CELLS, endpoint=False) for a, b in pairwise(EDGES[1:])]
    points = np.concatenate([first, *rest, [1.0]])
    middle, half = (points[1:] + points[:-1]) / 2, (points[1:] - points[:-1]) / 2
    offsets = np.array([-1.0, 1.0]) / math.sqrt(3.0)  # Gauss-Legendre with two nodes
    nodes = middle[:, None] + half[:, None] * offsets
    values = _integrand(graph, parametrization, output, frequencies, nodes.ravel()).reshape(nodes.shape)
    return Predictor(points, np.concatenate([[0.0], np.cumsum(values.sum(1) * half)]))


@torch.no_grad()
def _integrand(
    graph: Graph, parametrization: Parametrization, output: Tensor, frequencies: Array, mask_rates: Array
) -> Array:
    """P at each mask rate: the expected score entropy over all pairs (x0, x_t), over d(mask rate) / d sigma."""
    n = graph.n
    x0, x_t = graph.transition_pairs()
    probability = torch.from_numpy(frequencies)[x0]
    chunks = []
    for rates in torch.split(torch.from_numpy(mask_rates), max(1, MOST_AT_ONCE // (len(x0) * n))):
        sigma = -torch.log1p(-rates)
        rows = len(rates)
        noise = sigma.float()
        noisy, clean = x_t.expand(rows, -1), x0.expand(rows, -1)
        scores = parametrization.log_score(output.expand(rows, len(x0), -1), noisy, noise, graph)
        per_pair = graph.score_entropy(scores, noise, noisy, clean).double()
        transition = graph.transition_probability(x_t, x0, rates)
        chunks.append((per_pair * transition * probability).sum(1) * torch.exp(sigma))
    result: Array = torch.cat(chunks).numpy()
    return result
