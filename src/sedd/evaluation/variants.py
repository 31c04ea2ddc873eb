"""Scores of point mutations, in nats per sequence; above 0 the model prefers the mutant to the wild type.

* **log odds.** `absorb`: the masked marginal. All mutated positions are masked, the network is conditioned on the noise
  of that many masks, and the score is

      sum over mutated positions i of  log p(mutant residue | unmasked) - log p(wild-type residue | unmasked).

  For one position these are the log-odds given all other residues, exactly so for a perfect model. Several positions
  are taken as independent given the unmasked ones. `uniform` has no mask: the network's score is the ratio of the
  probabilities of two sequences that differ in one residue, here at no noise. Several positions are changed one after
  the other and the log-ratios add up, for a perfect model to log p(mutant) - log p(wild type).
* **bound difference.** The bound on -log p of the wild type minus that of the mutant. Both are evaluated with the same
  noise at the same positions, so that most of the Monte Carlo error cancels.
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
    """Scores of one variant; above 0 the model prefers the mutant."""

    mutation: str
    """As it was written, such as `A42G`."""
    log_odds: float
    """Mutant against wild type at the mutated positions given the rest of the sequence, nats."""
    bound_difference: float | None = None
    """Bound on -log p of the wild type minus that of the mutant, nats per sequence; None if it was not computed."""
    stderr: float | None = None
    """Standard error of `bound_difference` over the draw of masks; None for a single mask."""


def scores(
    estimator: Estimator, network: Network, wild: Ids, mutations: Sequence[Mutation], *, bound: bool = True
) -> Iterator[VariantScore]:
    """Score mutations of `wild`, (L,) token ids, in batches and in their order; with `bound` its difference too.

    The wild type itself, a mutation without positions, scores 0. The data of `estimator` are the wild type alone. The
    network is in eval mode.
    """
    changed = _scores(estimator, network, wild, [each for each in mutations if each.positions], bound=bound)
    unchanged = (0.0, 0.0, 0.0) if bound else (0.0,)
    for mutation in mutations:
        yield next(changed) if mutation.positions else VariantScore(mutation.text, *unchanged)


def _scores(
    estimator: Estimator, network: Network, wild: Ids, mutations: Sequence[Mutation], *, bound: bool
) -> Iterator[VariantScore]:
    """`scores` of mutations that change something."""
    log_odds = _masked_marginals if estimator.process.graph.has_mask else _score_ratios
    wild_bound = _bounds(estimator, network, [np.asarray(wild, np.int64)])[0] if bound and mutations else np.zeros(0)
    for first in range(0, len(mutations), estimator.batch_size):
        batch = mutations[first : first + estimator.batch_size]
        odds = log_odds(estimator, network, wild, batch).tolist()
        if not bound:
            yield from map(VariantScore, (mutation.text for mutation in batch), odds)
            continue
        differences = wild_bound - _bounds(estimator, network, [mutation.applied(wild) for mutation in batch])
        masks = differences.shape[1]
        errors = (np.sqrt(pair_variance(differences)) / masks).tolist() if masks > 1 else [None] * len(batch)
        for mutation, value, difference, error in zip(batch, odds, differences.mean(1).tolist(), errors, strict=True):
            yield VariantScore(mutation.text, value, difference, error)


def _masked_marginals(estimator: Estimator, network: Network, wild: Ids, mutations: Sequence[Mutation]) -> Array:
    """Log-odds of `absorb`, (variants,). Variants at the same positions share one evaluation of the network."""
    masked = sorted({mutation.positions for mutation in mutations})
    x_t = torch.from_numpy(np.array(wild, np.int64)).repeat(len(masked), 1)
    for row, positions in enumerate(masked):
        x_t[row, list(positions)] = estimator.process.graph.n
    counts = torch.tensor([len(positions) for positions in masked], dtype=torch.float64)
    sigma = -torch.log1p(-counts / len(wild))  # at this noise, that many residues are masked on average
    log_p = torch.log_softmax(estimator.scores(network, x_t, sigma), -1).double().cpu()
    return np.array([_log_odds(log_p[masked.index(mutation.positions)], wild, mutation) for mutation in mutations])


def _score_ratios(estimator: Estimator, network: Network, wild: Ids, mutations: Sequence[Mutation]) -> Array:
    """Log-odds of `uniform`, (variants,): along a path of single changes, with one evaluation for each change."""
    steps: list[tuple[int, Ids, Mutation]] = []
    for number, mutation in enumerate(mutations):
        current = np.array(wild, np.int64)
        for position, token in zip(mutation.positions, mutation.tokens, strict=True):
            change = Mutation(mutation.text, (position,), (token,))
            steps.append((number, current, change))
            current = change.applied(current)
    odds = np.zeros(len(mutations))
    for first in range(0, len(steps), estimator.batch_size):
        batch = steps[first : first + estimator.batch_size]
        tokens = torch.from_numpy(np.stack([current for _, current, _ in batch]))
        # Without noise the score is the ratio of the sequences themselves. The network is conditioned on sigma_min.
        log_s = estimator.scores(network, tokens, torch.zeros(len(batch), dtype=torch.float64)).double().cpu()
        for row, (number, current, change) in zip(log_s, batch, strict=True):
            odds[number] += _log_odds(row, current, change)
    return odds


def _log_odds(log_p: Tensor, wild: Ids, mutation: Mutation) -> float:
    """Sum over the mutated positions of the log-odds of the new tokens against those of `wild`, from `log_p` (L, n)."""
    rows = log_p[list(mutation.positions)]
    new = rows.gather(-1, torch.tensor(mutation.tokens)[:, None])
    old = rows.gather(-1, torch.from_numpy(np.asarray(wild, np.int64)[list(mutation.positions)])[:, None])
    return float((new - old).sum())


def _bounds(estimator: Estimator, network: Network, sequences: Sequence[Ids]) -> Array:
    """Bound of each sequence from each noise level, (sequences, masks), nats per sequence, with shared noise."""
    tokens = torch.from_numpy(np.stack(sequences))
    return np.asarray(estimator.with_shared_noise(network, tokens) * tokens.shape[1])
