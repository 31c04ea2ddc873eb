"""Scores of point mutations: does the model prefer the mutant or the wild type? Above 0 it is the mutant.

Two scores, both in nats per sequence:

* **log odds.** `absorb`: the masked marginal. The mutated positions are masked together, the network is told the noise
  of so many masks, and the score is the sum over them of log p(mutant letter | rest) - log p(wild-type letter | rest).
  For one position that is the log-odds given all other residues, exactly so for a perfect model; several positions are
  taken as independent given the rest. `uniform` has no mask; its score is by definition the ratio of the probabilities
  of two sequences that differ in one letter, here taken without noise. Several positions are changed one after the
  other, and the log-ratios add up: for a perfect model to the log-ratio of mutant to wild type, together.
* **bound difference.** The bound on -log p of the wild type less that of the mutant. Both are evaluated under the same
  noise at the same places, so that most of what scatters drops out.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sedd.data.alphabet import Ids
from sedd.diffusion.parametrization import Network
from sedd.evaluation.estimator import Estimator
from sedd.evaluation.mutations import Mutation
from sedd.evaluation.statistics import pair_variance

Array = NDArray[np.float64]


@dataclass(frozen=True)
class VariantScore:
    """What a model says of one variant; above 0 it prefers the mutant."""

    mutation: str
    """As it was written."""
    log_odds: float
    """Mutant against wild type at the mutated positions given the rest of the sequence, nats."""
    bound_difference: float | None = None
    """Bound on -log p of the wild type less that of the mutant, nats per sequence; None if it was not asked for."""
    stderr: float | None = None
    """Standard error of `bound_difference` over the draw of masks; None for a single mask."""


def scores(
    estimator: Estimator, network: Network, wild: Ids, mutations: Sequence[Mutation], *, bound: bool = True
) -> Iterator[VariantScore]:
    """Score mutations of `wild` in batches, in their order.

    Args:
        estimator: says how to evaluate; its data, the wild type alone.
        network: in eval mode.
        wild: (L,) token ids.
        mutations: of `wild`.
        bound: whether to compute the difference of the bounds.
    """
    size = estimator.batch_size
    log_odds = _masked_marginal if estimator.process.graph.has_mask else _score_ratio
    base = _by_level(estimator, network, [np.asarray(wild, np.int64)])[0] if bound and mutations else np.zeros(0)
    for first in range(0, len(mutations), size):
        some = mutations[first : first + size]
        odds = log_odds(estimator, network, wild, some)
        if not bound:
            yield from (VariantScore(each.text, float(odd)) for each, odd in zip(some, odds, strict=True))
            continue
        gaps = base - _by_level(estimator, network, [each.applied(wild) for each in some])
        errors = np.sqrt(pair_variance(gaps)) / gaps.shape[1] if gaps.shape[1] > 1 else [None] * len(some)
        for each, odd, gap, error in zip(some, odds, gaps.mean(1), errors, strict=True):
            yield VariantScore(each.text, float(odd), float(gap), None if error is None else float(error))


def _masked_marginal(estimator: Estimator, network: Network, wild: Ids, some: Sequence[Mutation]) -> Array:
    """(variants,): variants at the same positions share one evaluation."""
    places = sorted({each.positions for each in some})
    x_t = torch.from_numpy(np.array(wild, np.int64)).repeat(len(places), 1)
    for row, positions in enumerate(places):
        x_t[row, list(positions)] = estimator.process.graph.n
    masked = torch.tensor([len(positions) for positions in places], dtype=torch.float64)
    sigma = -torch.log1p(-masked / len(wild))
    log_p = torch.log_softmax(estimator.scores(network, x_t, sigma), -1).double().cpu()
    return np.array([_sum(log_p[places.index(each.positions)], wild, each) for each in some])


def _score_ratio(estimator: Estimator, network: Network, wild: Ids, some: Sequence[Mutation]) -> Array:
    """(variants,): along a path of single changes, one evaluation for every step of it."""
    steps: list[tuple[int, Ids, Mutation]] = []
    for number, each in enumerate(some):
        now = np.array(wild, np.int64)
        for position, letter in zip(each.positions, each.letters, strict=True):
            one = Mutation(each.text, (position,), (letter,))
            steps.append((number, now, one))
            now = one.applied(now)
    found = np.zeros(len(some))
    for first in range(0, len(steps), estimator.batch_size):
        part = steps[first : first + estimator.batch_size]
        tokens = torch.from_numpy(np.stack([now for _, now, _ in part]))
        # Without noise the ratio is that of the sequences themselves; the network is told its least noise.
        log_s = estimator.scores(network, tokens, torch.zeros(len(part), dtype=torch.float64)).double().cpu()
        for row, (number, now, one) in zip(log_s, part, strict=True):
            found[number] += _sum(row, now, one)
    return found


def _sum(log_p: Tensor, wild: Ids, mutation: Mutation) -> float:
    """Log-odds of the new letters against those of `wild`, at the mutated positions."""
    rows = log_p[list(mutation.positions)]
    new = rows.gather(-1, torch.tensor(mutation.letters)[:, None])
    old = rows.gather(-1, torch.from_numpy(np.asarray(wild, np.int64)[list(mutation.positions)])[:, None])
    return float((new - old).sum())


def _by_level(estimator: Estimator, network: Network, sequences: Sequence[Ids]) -> Array:
    """(sequences, masks): bound of each from every noise level, nats per sequence; the noise is the same for all."""
    tokens = torch.from_numpy(np.stack(sequences))
    found: Array = estimator.with_shared_noise(network, tokens) * tokens.shape[1]
    return found
