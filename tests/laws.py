"""The exact distribution of what samplers draw on a toy, by pushing all sequences through their steps."""

from __future__ import annotations

import itertools
import math

import torch
from torch import Tensor

from sedd.sampling.levels import noise_levels, start_mask_rates
from sedd.sampling.predictors import PREDICTORS, StepPredictor
from sedd.sampling.sampler import Sampler
from sedd.sampling.sweeps import MIN_SIGMA
from tests.toys import Toy, codes, every_sequence


def distance(law: Tensor, truth: Tensor) -> float:
    """Total variation, in [0, 1]."""
    return float((law - truth.flatten()).abs().sum() / 2)


def law(sampler: Sampler, toy: Toy, template: tuple[int, ...] | None = None) -> Tensor:
    """Distribution of samples of a `StepPredictor`, (n^L,); in `template`, n marks what is drawn, by default all."""
    process, options = sampler.process, sampler.options
    graph, network = process.graph, toy.network(process.graph, process.parametrization)
    fixed = torch.tensor([toy.n] * toy.length if template is None else template)
    to_draw = fixed == toy.n
    x = every_sequence(graph.states, toy.length)
    starts = toy.sequences if graph.states == toy.n else torch.full((1, toy.length), toy.n)
    starts = torch.unique(torch.where(to_draw, starts, fixed), dim=0)
    chance = torch.zeros(len(x), dtype=torch.float64)
    chance[codes(starts, graph.states)] = 1.0 / len(starts)
    predictor = PREDICTORS[options.predictor]
    assert isinstance(predictor, StepPredictor)
    rate = start_mask_rates(process, to_draw.sum()[None], torch.tensor([toy.length]))
    levels = noise_levels(process.noise, rate, steps=options.steps, removal=options.noise_removal)[0]
    for t, s in itertools.pairwise(levels):
        sigma_t, sigma_s = t.expand(len(x)), s.expand(len(x))
        scores = process.log_score(network(x, sigma_t.float(), None), x, sigma_t.float())
        if s > 0:
            move = predictor.transition(graph, scores, x, sigma_t, sigma_s).double()
        else:
            move = graph.posterior(scores, x, sigma_t, sigma_s).double()
        move = move / move.sum(-1, keepdim=True)
        step = torch.ones(len(x), len(x), dtype=torch.float64)
        for i in range(toy.length):
            step *= move[:, i][:, x[:, i]] if to_draw[i] else (x[:, i, None] == x[None, :, i])
        chance = chance @ step
    return chance[(x < toy.n).all(1)]


def sweep_law(sampler: Sampler, toy: Toy, template: tuple[int, ...]) -> Tensor:
    """Transition matrix of one Gibbs sweep over clean sequences, for `uniform`: (n^L, n^L), rows sum to 1."""
    x = toy.sequences
    sigma = torch.full((len(x),), max(sampler.process.noise.sigma_min, MIN_SIGMA))
    output = toy.network(sampler.process.graph, sampler.process.parametrization)(x, sigma, None)
    scores = sampler.process.log_score(output, x, sigma)
    p = torch.softmax(scores.double(), -1)
    draw = {}
    for i in (position for position, value in enumerate(template) if value == toy.n):
        others = [position for position in range(toy.length) if position != i]
        same = (x[:, None, others] == x[None, :, others]).all(-1)
        draw[i] = p[:, i][:, x[:, i]] * same
    total = torch.zeros(len(x), len(x), dtype=torch.float64)
    for order in itertools.permutations(draw):
        swept = torch.eye(len(x), dtype=torch.float64)
        for i in order:
            swept = swept @ draw[i]
        total += swept / math.factorial(len(draw))
    return total
