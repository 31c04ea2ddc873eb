"""The exact distribution of what samplers draw on a toy, by pushing all sequences through their steps."""

from __future__ import annotations

import itertools
import math

import torch
from torch import Tensor

from sedd.sampling.levels import grid, start_rates
from sedd.sampling.sampler import Sampler
from sedd.sampling.sweeps import LEAST
from sedd.sampling.walk import KERNELS
from tests.toys import Toy, codes, every_sequence


def distance(law: Tensor, truth: Tensor) -> float:
    """Total variation, in [0, 1]."""
    return float((law - truth.flatten()).abs().sum() / 2)


def law(sampler: Sampler, toy: Toy, template: tuple[int, ...] | None = None) -> Tensor:
    """Of the walk of `sampler` that fills in `template` (n: to be drawn; by default, all are), (n^L,)."""
    process, options = sampler.process, sampler.options
    graph, network = process.graph, toy.network(process.graph, process.parametrization)
    given = torch.tensor([toy.n] * toy.length if template is None else template)
    free = given == toy.n
    x = every_sequence(graph.states, toy.length)
    starts = toy.sequences if graph.states == toy.n else torch.full((1, toy.length), toy.n)
    starts = torch.unique(torch.where(free, starts, given), dim=0)
    chance = torch.zeros(len(x), dtype=torch.float64)
    chance[codes(starts, graph.states)] = 1.0 / len(starts)
    rate = start_rates(process, free.sum()[None], torch.tensor([toy.length]))
    for t, s in itertools.pairwise(grid(process.noise, rate, steps=options.steps, removal=options.noise_removal)[0]):
        now, then = t.expand(len(x)), s.expand(len(x))
        scores = process.log_score(network(x, now.float(), None), x, now.float())
        kernel = KERNELS[options.predictor if s > 0 else "ancestral"]
        move = kernel(graph, scores, x, now, then).double()
        move = move / move.sum(-1, keepdim=True)
        step = torch.ones(len(x), len(x), dtype=torch.float64)
        for i in range(toy.length):
            step *= move[:, i][:, x[:, i]] if free[i] else (x[:, i, None] == x[None, :, i])
        chance = chance @ step
    return chance[(x < toy.n).all(1)]


def sweep_law(sampler: Sampler, toy: Toy, template: tuple[int, ...]) -> Tensor:
    """What one sweep does to a distribution over clean sequences, for `uniform`: (n^L, n^L), rows sum to 1."""
    x = toy.sequences
    sigma = torch.full((len(x),), max(sampler.process.noise.sigma_min, LEAST))
    output = toy.network(sampler.process.graph, sampler.process.parametrization)(x, sigma, None)
    scores = sampler.process.log_score(output, x, sigma)
    letters = torch.softmax(scores.double(), -1)
    draw = {}
    for i in (place for place, value in enumerate(template) if value == toy.n):
        others = [place for place in range(toy.length) if place != i]
        same = (x[:, None, others] == x[None, :, others]).all(-1)
        draw[i] = letters[:, i][:, x[:, i]] * same
    total = torch.zeros(len(x), len(x), dtype=torch.float64)
    for order in itertools.permutations(draw):
        swept = torch.eye(len(x), dtype=torch.float64)
        for i in order:
            swept = swept @ draw[i]
        total += swept / math.factorial(len(draw))
    return total
