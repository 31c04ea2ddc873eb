from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sedd.diffusion.graphs import make_graph
from sedd.diffusion.parametrization import Parametrization
from tests.toys import Toy, every_sequence

KINDS = ("absorb", "uniform")
HEADS = ("normalised", "score")
cheap = settings(max_examples=40, deadline=None, derandomize=True, database=None)


def model(head: str, **changes: bool) -> Parametrization:
    return Parametrization(head=head, **changes)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "options", [{"head": "normalised"}, {"head": "score"}, {"head": "score", "scale_by_sigma": False}]
)
@pytest.mark.parametrize("sigma", [1e-3, 0.2, 1.0, 5.0])
def test_a_perfect_network_gives_the_ratios_of_the_definition(kind: str, options: dict, sigma: float) -> None:
    graph, toy, head = make_graph(kind, 3), Toy.random(3, 3, seed=1), Parametrization(**options)
    x_t = every_sequence(graph.states, 3)
    levels = torch.full((len(x_t),), sigma, dtype=torch.float64)
    wanted = toy.true_log_score(graph, x_t, levels)
    output = toy.network(graph, head)(x_t, levels, None)
    assert output.shape[-1] == head.outputs(graph)
    found = head.log_score(output, x_t, levels.float(), graph)
    assert found.dtype == torch.float32
    known = (x_t == 3) if kind == "absorb" else torch.ones_like(x_t, dtype=torch.bool)
    torch.testing.assert_close(found[known], wanted[known].float(), rtol=1e-5, atol=2e-5)


@given(sigma=st.floats(1e-4, 20.0), seed=st.integers(0, 99), size=st.floats(0.0, 10.0))
@cheap
def test_a_residue_against_itself_is_one_in_uniform(sigma: float, seed: int, size: float) -> None:
    graph, x_t = make_graph("uniform", 5), torch.tensor([[0, 3, 4]])
    output = size * torch.randn(1, 3, 5, generator=torch.Generator().manual_seed(seed))
    for head in HEADS:
        scores = model(head).log_score(output, x_t, torch.tensor([sigma]), graph)
        assert (scores.gather(-1, x_t[..., None]) == 0).all()


@given(sigma=st.floats(1e-4, 20.0), seed=st.integers(0, 99), size=st.floats(0.0, 10.0))
@cheap
def test_normalised_scores_are_the_closed_form(sigma: float, seed: int, size: float) -> None:
    output = size * torch.randn(1, 3, 5, generator=torch.Generator().manual_seed(seed))
    p = torch.softmax(output.double(), -1)
    absorbing, uniform = make_graph("absorb", 5), make_graph("uniform", 5)
    found = model("normalised").log_score(output, torch.full((1, 3), 5), torch.tensor([sigma]), absorbing)
    torch.testing.assert_close(found.double(), torch.log(p / math.expm1(sigma)), rtol=1e-5, atol=1e-5)
    x_t = torch.tensor([[0, 3, 4]])
    found = model("normalised").log_score(output, x_t, torch.tensor([sigma]), uniform)
    above = 5 * p + math.expm1(sigma)
    wanted = torch.log(above / above.gather(-1, x_t[..., None]))
    torch.testing.assert_close(found.double(), wanted, rtol=1e-5, atol=2e-5)


def test_uniform_scores_keep_their_digits_at_high_noise() -> None:
    graph, x_t = make_graph("uniform", 5), torch.tensor([[0]])
    output = torch.tensor([[[0.0, 1.0, 2.0, -1.0, -30.0]]])
    p = torch.softmax(output.double(), -1)
    wanted = torch.log1p(5 * p / math.expm1(18.0)) - torch.log1p(5 * p[..., :1] / math.expm1(18.0))
    found = model("normalised").log_score(output, x_t, torch.tensor([18.0]), graph)
    torch.testing.assert_close(found.double(), wanted, rtol=1e-4, atol=1e-14)


def test_scale_by_sigma_makes_zero_the_empty_prediction() -> None:
    graph, x_t = make_graph("absorb", 7), torch.full((2, 3), 7)
    sigma = torch.tensor([0.3, 4.0])
    zero = torch.zeros(2, 3, 8)
    scaled = model("score").log_score(zero, x_t, sigma, graph)
    empty = model("normalised").log_score(zero[..., :7], x_t, sigma, graph)
    torch.testing.assert_close(scaled, empty)
    assert (model("score", scale_by_sigma=False).log_score(zero, x_t, sigma, graph) == 0).all()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("n", [2, 20, 151_936])
def test_loss_and_gradients_are_finite_for_any_vocabulary_and_noise(kind: str, head: str, n: int) -> None:
    graph, network = make_graph(kind, n), model(head)
    random = torch.Generator().manual_seed(n)
    x0 = torch.randint(n, (1, 3), generator=random)
    x_t = x0.clone()
    x_t[0, 0] = graph.states - 1
    x_t[0, 1] = (int(x0[0, 1]) + 1) % n
    for sigma in (1e-4, 1e-2, 1.0, 20.0):
        for size in (0.0, 1.0, 20.0 if head == "normalised" else 8.0):
            output = size * torch.randn(1, 3, network.outputs(graph), generator=random)
            output.requires_grad_()
            level = torch.tensor([sigma])
            scores = network.log_score(output, x_t, level, graph)
            loss = graph.score_entropy(scores, level, x_t, x0)
            assert torch.isfinite(loss).all()
            assert (loss >= -1e-6 / min(1.0, sigma)).all()
            (slope,) = torch.autograd.grad(loss.sum(), output)
            assert torch.isfinite(slope).all()


def test_half_precision_outputs_are_scored_in_float32() -> None:
    graph = make_graph("absorb", 4)
    output, x_t = torch.zeros(1, 2, 4, dtype=torch.bfloat16), torch.full((1, 2), 4)
    scores = model("normalised").log_score(output, x_t, torch.tensor([1.0]), graph)
    assert scores.dtype == torch.float32
