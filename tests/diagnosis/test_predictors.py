"""The loss of fixed predictors: against closed forms, matrix exponentials, and the library's own loss."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

import sedd
from sedd.diagnosis.predictors import Predictor, entropy, nearest, of_profile, unigram, untrained
from sedd.diffusion.graphs import Absorb, Graph, Uniform, make_graph
from sedd.diffusion.loss_profile import BINS, EDGES
from sedd.diffusion.parametrization import Parametrization
from sedd.plugins.networks import Ddit
from tests.toys import transitions

HEADS = ["normalised", "score"]
SKEWED = np.array([0.5, 0.3, 0.15, 0.05])


@st.composite
def frequency_vectors(draw: st.DrawFn) -> np.ndarray:
    """Token frequencies, some of which may be 0."""
    weights = draw(st.lists(st.floats(0.0, 1.0), min_size=2, max_size=12))
    total = np.array(weights) + 0.0
    total[0] += 0.01  # at least one token occurs
    return total / total.sum()


@settings(max_examples=25, deadline=None)
@given(frequency_vectors(), st.floats(0.0, 1.0), st.floats(0.0, 1.0))
def test_absorb_is_the_range_of_mask_rates_times_ln_n_or_the_token_entropy(frequencies, a, b):
    low, high = sorted((a, b))
    graph = Absorb(len(frequencies))
    assert untrained(graph, Ddit()).loss(low, high) == pytest.approx((high - low) * math.log(graph.n), abs=2e-6)
    assert unigram(graph, frequencies).loss(low, high) == pytest.approx((high - low) * entropy(frequencies), abs=2e-5)


@settings(max_examples=25, deadline=None)
@given(frequency_vectors())
def test_uniform_integrates_to_ln_n_for_the_untrained_model_and_to_the_entropy_for_the_unigram(frequencies):
    # The full bound of a predictor that is right about independent residues is exact: -log p.
    graph = Uniform(len(frequencies))
    assert untrained(graph, Ddit()).loss(0.0, 1.0) == pytest.approx(math.log(graph.n), abs=2e-3)
    assert unigram(graph, frequencies).loss(0.0, 1.0) == pytest.approx(entropy(frequencies), abs=2e-3)


@settings(max_examples=25, deadline=None)
@given(frequency_vectors(), st.sampled_from(["absorb", "uniform"]))
def test_a_predictor_never_gains_from_more_noise_and_token_frequenciesnever_hurt(frequencies, kind):
    graph = make_graph(kind, len(frequencies))
    uniform, known = untrained(graph, Ddit()), unigram(graph, frequencies)
    assert (np.diff(uniform.integral) >= -1e-7).all()
    assert (np.diff(known.integral) >= -1e-7).all()
    for low, high in pairwise(np.linspace(0.0, 1.0, 6)):
        if kind == "absorb":
            assert known.loss(low, high) <= (high - low) * math.log(graph.n) + 1e-6


def score(graph: Graph, head: str, sigma: float) -> Tensor:
    """s(y | x_t) of a network that puts out 0, by definition, (states, n): row x_t."""
    n = graph.n
    if head == "score":
        # A raw score of e^0, which for absorb SEDD divides by (e^sigma - 1) n.
        value = 1.0 / (math.expm1(sigma) * n) if isinstance(graph, Absorb) else 1.0
        return torch.full((graph.states, n), value, dtype=torch.float64)
    kernel = transitions(graph, torch.tensor([sigma]))[0][:, :n]  # p(z | a) of every clean token a
    marginal = kernel.mean(1)  # every clean token is equally likely
    return marginal[None, :n] / marginal[:, None]


def oracle(graph: Graph, head: str, sigma: float, frequencies: np.ndarray) -> float:
    """Expected score entropy per unit of sigma of a network that puts out 0, from matrix exponentials alone."""
    kernel = transitions(graph, torch.tensor([sigma]))[0]  # p(z | a)
    guess = score(graph, head, sigma)
    total = 0.0
    for a, share in enumerate(frequencies):
        for z in range(graph.states):
            for y in range(graph.n):
                # Rate of the reverse jump z -> y: that of the forward jump y -> z.
                rate = (1.0 if z == graph.n else 0.0) if isinstance(graph, Absorb) else 1.0 / graph.n
                if y == z or rate == 0.0:
                    continue
                s, r = float(guess[z, y]), float(kernel[y, a] / kernel[z, a])
                k = r * (math.log(r) - 1.0) if r > 0 else 0.0
                total += share * float(kernel[z, a]) * rate * (s - (r * math.log(s) if r > 0 else 0.0) + k)
    return total


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("kind", ["absorb", "uniform"])
@pytest.mark.parametrize("sigma", [0.02, 0.3, 1.0, 3.0])
def test_an_untrained_predictor_agrees_with_matrix_exponentials(kind, head, sigma):
    graph = make_graph(kind, 4)
    predictor = untrained(graph, Ddit(head=head))
    expected = oracle(graph, head, sigma, np.full(4, 0.25)) * math.exp(sigma)
    middle, width = -math.expm1(-sigma), 2e-3
    found = predictor.loss(middle - width, middle + width) / (2 * width)
    assert found == pytest.approx(expected, rel=0.01)


@pytest.mark.parametrize("sigma", [0.02, 0.3, 1.0, 3.0])
def test_a_unigram_predictor_for_uniform_agrees_with_matrix_exponentials(sigma):
    graph = Uniform(4)
    kernel = transitions(graph, torch.tensor([sigma]))[0].numpy()
    marginal = kernel @ SKEWED
    expected = 0.0
    for a, share in enumerate(SKEWED):
        for z in range(4):
            for y in range(4):
                s, r = marginal[y] / marginal[z], kernel[y, a] / kernel[z, a]
                if y != z:
                    expected += share * kernel[z, a] / 4 * (s - r * math.log(s) + r * (math.log(r) - 1.0))
    middle, width = -math.expm1(-sigma), 2e-3
    found = unigram(graph, SKEWED).loss(middle - width, middle + width) / (2 * width)
    assert found == pytest.approx(expected * math.exp(sigma), rel=0.01)


@pytest.mark.parametrize("kind", ["absorb", "uniform"])
def test_the_quadrature_is_fine_enough(kind, monkeypatch):
    from sedd.diagnosis import predictors

    graph = make_graph(kind, 20)
    frequencies = np.random.default_rng(0).dirichlet(np.ones(20))
    coarse = unigram(graph, frequencies)
    monkeypatch.setattr(predictors, "CELLS", 24)
    fine = unigram(graph, frequencies)
    assert [coarse.loss(0.0, m) for m in EDGES[1:]] == pytest.approx([fine.loss(0.0, m) for m in EDGES[1:]], rel=1e-4)


def test_the_score_head_has_one_output_more_than_symbols_for_absorb():
    assert Parametrization(head="score").outputs(Absorb(4)) == 5
    scaled, raw = (untrained(Absorb(4), Ddit(head="score", scale_by_sigma=scale)) for scale in (True, False))
    assert scaled.loss(0.0, 1.0) == pytest.approx(math.log(4), abs=1e-5)
    assert raw.loss(0.0, 1.0) > 2 * math.log(4)  # a score of 1 at small noise, where it should be about 1 / sigma


def test_a_profile_is_its_own_mean_in_every_bin_and_its_nearest_bin_where_it_was_not_measured():
    values = np.full(BINS, np.nan)
    values[3], values[10] = 2.0, 1.0
    predictor = of_profile(values)
    assert np.allclose(predictor.values[:7], 2.0)
    assert np.allclose(predictor.values[7:], 1.0)
    assert predictor.known is not None
    assert np.flatnonzero(predictor.known).tolist() == [3, 10]
    assert predictor.loss(0.0, 1.0) == pytest.approx(float(nearest(values) @ np.diff(EDGES)))


def test_an_empty_profile_is_refused():
    with pytest.raises(sedd.DataError):
        of_profile(np.full(BINS, np.nan))


def test_a_loss_adds_up_over_ranges():
    predictor: Predictor = unigram(Uniform(4), SKEWED)
    parts = sum(predictor.loss(low, high) for low, high in pairwise(np.linspace(0.1, 0.9, 7)))
    assert parts == pytest.approx(predictor.loss(0.1, 0.9), abs=1e-12)
