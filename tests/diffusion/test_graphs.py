from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from sedd.diffusion.graphs import Absorb, Graph, Uniform, divergence, log_expm1, make_graph
from tests.toys import Toy, chi_square, every_sequence, rates, transitions

KINDS = ("absorb", "uniform")
cheap = settings(max_examples=40, deadline=None, derandomize=True, database=None)
sigmas = st.floats(1e-4, 12.0)


def textbook(graph: Graph, log_score: Tensor, sigma: float, x_t: int, x0: int) -> Tensor:
    """The definition of the denoising score entropy, term by term, with ratios from the matrix exponential."""
    p = transitions(graph, torch.tensor([sigma], dtype=torch.float64))[0][:, x0]
    flow = rates(graph)[x_t]  # from any y into x_t: Q(x_t, y) of the reverse process
    total = torch.zeros((), dtype=torch.float64)
    for y in range(graph.n):
        if y == x_t:
            continue
        r = p[y] / p[x_t]
        constant = r * (torch.log(r) - 1.0) if r > 0 else 0.0
        total = total + flow[y] * (torch.exp(log_score[y]) - r * log_score[y] + constant)
    return total


def true_ratios(graph: Graph, sigma: float, x_t: int, x0: int) -> Tensor:
    p = transitions(graph, torch.tensor([sigma], dtype=torch.float64))[0][:, x0]
    return torch.log(p[: graph.n] / p[x_t])


def pairs(graph: Graph) -> list[tuple[int, int]]:
    """(x_t, x0) of every kind: moved or not."""
    return [(graph.n, 0), (graph.n, 1)] if isinstance(graph, Absorb) else [(0, 0), (1, 0), (2, 1)]


def entropy_of(graph: Graph, log_score: Tensor, sigma: float, x_t: int, x0: int) -> Tensor:
    levels = torch.tensor([sigma], dtype=torch.float64)
    return graph.score_entropy(log_score[None, None], levels, torch.tensor([[x_t]]), torch.tensor([[x0]]))[0, 0]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("sigma", [0.05, 0.3, 1.0, 3.0])
def test_score_entropy_is_the_textbook_formula(kind: str, sigma: float) -> None:
    graph = make_graph(kind, 4)
    for seed, (x_t, x0) in enumerate(pairs(graph)):
        scores = torch.randn(4, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
        ours = entropy_of(graph, scores, sigma, x_t, x0)
        torch.testing.assert_close(ours, textbook(graph, scores, sigma, x_t, x0), rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("kind", KINDS)
@given(sigma=sigmas, noise=st.lists(st.floats(-5.0, 5.0), min_size=4, max_size=4))
@cheap
def test_score_entropy_is_never_negative(kind: str, sigma: float, noise: list[float]) -> None:
    graph = make_graph(kind, 4)
    for x_t, x0 in pairs(graph):
        near = true_ratios(graph, sigma, x_t, x0).nan_to_num(neginf=-30.0) + torch.tensor(noise, dtype=torch.float64)
        entropy = entropy_of(graph, near, sigma, x_t, x0)
        assert entropy >= -1e-12
        in_float32 = graph.score_entropy(
            near.float()[None, None], torch.tensor([sigma]), torch.tensor([[x_t]]), torch.tensor([[x0]])
        )
        assert in_float32 >= -1e-6 / min(1.0, sigma)


@pytest.mark.parametrize("kind", KINDS)
@given(sigma=sigmas)
@cheap
def test_score_entropy_is_zero_and_stationary_at_the_true_ratios(kind: str, sigma: float) -> None:
    graph = make_graph(kind, 4)
    for x_t, x0 in pairs(graph):
        scores = true_ratios(graph, sigma, x_t, x0).nan_to_num(neginf=-80.0).requires_grad_()
        entropy = entropy_of(graph, scores, sigma, x_t, x0)
        (slope,) = torch.autograd.grad(entropy, scores)
        assert abs(float(entropy.detach())) < 1e-8
        assert slope.abs().max() < 1e-8 / min(1.0, sigma)


def test_a_visible_residue_costs_nothing_in_absorb() -> None:
    graph = Absorb(3)
    scores = torch.randn(1, 3, 3, generator=torch.Generator().manual_seed(0), requires_grad=True)
    x0 = torch.tensor([[0, 1, 2]])
    entropy = graph.score_entropy(scores, torch.tensor([0.7]), torch.tensor([[0, 3, 2]]), x0)
    assert (entropy[0, [0, 2]] == 0).all()
    assert entropy[0, 1] > 0
    (slope,) = torch.autograd.grad(entropy.sum(), scores)
    assert (slope[0, [0, 2]] == 0).all()


def test_the_score_at_the_residue_itself_does_not_count_in_uniform() -> None:
    graph, sigma, x = Uniform(3), torch.tensor([0.7]), torch.tensor([[1]])
    scores = torch.zeros(1, 1, 3)
    other = scores.clone()
    other[0, 0, 1] = 5.0
    for x0 in (x, torch.tensor([[0]])):
        assert torch.equal(graph.score_entropy(scores, sigma, x, x0), graph.score_entropy(other, sigma, x, x0))


@pytest.mark.parametrize("kind", KINDS)
def test_an_empty_prediction_costs_what_noise_destroys(kind: str) -> None:
    """With p = 1/n everywhere the entropy, in expectation over x_t, is -d/dsigma of the information left."""
    graph, n = make_graph(kind, 5), 5
    toy = Toy(torch.full((n,), 1.0 / n, dtype=torch.float64))
    sigma = torch.tensor([1e-3, 0.1, 1.0, 4.0], dtype=torch.float64)
    noisy, chance = toy.noisy(graph, sigma)
    levels, x_t = sigma.repeat_interleave(len(noisy)), noisy.repeat(len(sigma), 1)
    scores = torch.zeros(len(x_t), 1, n, dtype=torch.float64)
    if kind == "absorb":
        scores = scores - math.log(n) - log_expm1(levels)[:, None, None]
    entropy = graph.score_entropy(scores, levels, x_t, torch.zeros_like(x_t)).reshape(len(sigma), -1)
    found = (entropy * chance[:, 0]).sum(1)
    if kind == "absorb":
        wanted = torch.exp(-sigma) * math.log(n)
    else:
        sigma.requires_grad_()
        stays = torch.exp(-sigma) * (1 - 1 / n) + 1 / n
        moves = (1 - stays) / (n - 1)
        kl = stays * torch.log(stays * n) + (n - 1) * moves * torch.log(moves * n)
        wanted = -torch.autograd.grad(kl.sum(), sigma)[0]
    torch.testing.assert_close(found, wanted, rtol=1e-8, atol=1e-12)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("sigma", [0.02, 0.5, 2.0, 9.0])
def test_corruption_follows_the_transition_matrix(kind: str, sigma: float) -> None:
    graph, draws = make_graph(kind, 4), 20_000
    kernel = transitions(graph, torch.tensor([sigma], dtype=torch.float64))[0]
    torch.testing.assert_close(kernel.sum(0), torch.ones(graph.states, dtype=torch.float64))
    random = torch.Generator().manual_seed(3)
    x0 = torch.arange(4).repeat(draws, 1)
    x_t = graph.corrupt(x0, torch.full((draws,), sigma), torch.rand(draws, 4, 2, generator=random))
    assert x_t.dtype == x0.dtype
    for a in range(4):
        found = torch.bincount(x_t[:, a], minlength=graph.states)
        assert chi_square(found, draws * kernel[:, a]) > 1e-3


@pytest.mark.parametrize("kind", KINDS)
def test_noise_zero_changes_nothing_and_each_sequence_has_its_own(kind: str) -> None:
    graph = make_graph(kind, 20)
    x0 = torch.randint(20, (3, 500), generator=torch.Generator().manual_seed(0))
    uniforms = torch.rand(3, 500, 2, generator=torch.Generator().manual_seed(1))
    x_t = graph.corrupt(x0, torch.tensor([0.0, 0.5, 20.0]), uniforms)
    changed = (x_t != x0).float().mean(1)
    assert changed[0] == 0
    assert 0.3 < changed[1] < 0.5
    assert changed[2] > 0.9


@pytest.mark.parametrize("kind", KINDS)
def test_the_largest_uniform_stays_within_the_symbols(kind: str) -> None:
    graph = make_graph(kind, 151_936)
    largest = torch.full((1, 1, 2), 1.0 - 2.0**-24)
    x_t = graph.corrupt(torch.zeros(1, 1, dtype=torch.long), torch.tensor([20.0]), largest)
    start = graph.sample_limit((1, 1), largest[..., 0])
    assert 0 <= int(x_t) < graph.states
    assert 0 <= int(start) < graph.states


@given(sigma=st.floats(1e-3, 12.0), n=st.integers(2, 12))
@cheap
def test_the_prior_term_of_uniform_is_the_divergence_from_uniform(sigma: float, n: int) -> None:
    p = transitions(Uniform(n), torch.tensor([sigma], dtype=torch.float64))[0][:, 0]
    wanted = (p * torch.log(p * n)).sum()
    found = Uniform(n).prior(torch.zeros(1, 1, dtype=torch.long), torch.tensor([sigma], dtype=torch.float64))
    assert float(found) == pytest.approx(float(wanted), rel=1e-5, abs=1e-12)


def test_the_prior_term_of_uniform_goes_from_everything_to_nothing() -> None:
    prior = Uniform(20).prior(torch.zeros(3, 1, dtype=torch.long), torch.tensor([0.0, 1.0, 20.0]))
    assert float(prior[0]) == pytest.approx(math.log(20))
    assert float(prior[2]) == pytest.approx(0.0, abs=1e-12)


def bayes(graph: Graph, toy: Toy, x_t: int, sigma_t: float, sigma_s: float) -> Tensor:
    """p(x_s | x_t) of one residue, by matrices alone."""
    earlier = transitions(graph, torch.tensor([sigma_s], dtype=torch.float64))[0][:, : toy.n] @ toy.p
    step = transitions(graph, torch.tensor([sigma_t - sigma_s], dtype=torch.float64))[0]
    joint = earlier * step[x_t]
    return joint / joint.sum()


@pytest.mark.parametrize("kind", KINDS)
@given(levels=st.tuples(st.floats(0.0, 12.0), st.floats(1e-3, 12.0)), seed=st.integers(0, 99))
@cheap
def test_the_posterior_of_one_residue_is_that_of_bayes(kind: str, levels: tuple[float, float], seed: int) -> None:
    graph, toy = make_graph(kind, 4), Toy.random(4, 1, seed=seed)
    sigma_s = min(levels)
    sigma_t = max(*levels, sigma_s + 1e-3)
    t, s = torch.tensor([sigma_t], dtype=torch.float64), torch.tensor([sigma_s], dtype=torch.float64)
    for x in range(graph.states):
        x_t = torch.tensor([[x]])
        scores = toy.true_log_score(graph, x_t, t).nan_to_num(0.0, 0.0, 0.0)
        weights = graph.posterior(scores, x_t, t, s)[0, 0].double()
        torch.testing.assert_close(weights / weights.sum(), bayes(graph, toy, x, sigma_t, sigma_s), rtol=0, atol=2e-6)
        assert (weights >= 0).all()


@pytest.mark.parametrize("kind", KINDS)
def test_the_last_step_leaves_no_noise(kind: str) -> None:
    graph, toy = make_graph(kind, 4), Toy.random(4, 1)
    t, s = torch.tensor([0.5]), torch.tensor([0.0])
    for x in range(graph.states):
        x_t = torch.tensor([[x]])
        scores = toy.true_log_score(graph, x_t, t).nan_to_num(0.0, 0.0, 0.0).float()
        weights = graph.posterior(scores, x_t, t, s)[0, 0]
        assert weights[graph.n :].sum() == 0 or x < graph.n


@pytest.mark.parametrize("kind", KINDS)
def test_euler_steps_become_posterior_steps_as_they_shrink(kind: str) -> None:
    graph, toy = make_graph(kind, 4), Toy.random(4, 1, seed=5)
    t = torch.tensor([0.8], dtype=torch.float64)
    x_t = every_sequence(graph.states, 1)
    scores = toy.true_log_score(graph, x_t, t.expand(len(x_t))).nan_to_num(0.0, 0.0, 0.0)

    def gap(step: float) -> float:
        euler = graph.euler(scores, x_t, torch.full((len(x_t),), step, dtype=torch.float64))
        assert (euler >= 0).all()
        torch.testing.assert_close(euler.sum(-1), torch.ones(len(x_t), 1, dtype=torch.float64))
        exact = torch.stack([bayes(graph, toy, x, 0.8, 0.8 - step) for x in range(graph.states)])
        return float((euler[:, 0] - exact).abs().max())

    # One step is wrong by the square of its size, so that a walk of many is wrong by its size.
    assert 3.5 < gap(0.02) / gap(0.01) < 4.5


@pytest.mark.parametrize("kind", KINDS)
@given(step=st.floats(1e-6, 12.0), size=st.floats(0.0, 20.0), seed=st.integers(0, 99))
@cheap
def test_euler_steps_are_never_negative(kind: str, step: float, size: float, seed: int) -> None:
    graph = make_graph(kind, 4)
    scores = size * torch.randn(1, 3, 4, generator=torch.Generator().manual_seed(seed))
    x_t = torch.tensor([[0, 3, graph.states - 1]])
    weights = graph.euler(scores, x_t, torch.tensor([step]))
    assert (weights >= 0).all()
    assert (weights.sum(-1) > 0).all()


def test_stationary_starts_are_all_masks_or_uniform() -> None:
    uniforms = torch.rand(2000, 5, generator=torch.Generator().manual_seed(0))
    assert (Absorb(4).sample_limit((2000, 5), uniforms) == 4).all()
    drawn = torch.bincount(Uniform(4).sample_limit((2000, 5), uniforms).flatten(), minlength=4)
    assert chi_square(drawn, torch.full((4,), 2500.0)) > 1e-3


@given(sigma=st.floats(1e-10, 20.0))
@cheap
def test_log_expm1_keeps_its_digits_in_float32(sigma: float) -> None:
    exact = math.log(math.expm1(sigma))
    assert float(log_expm1(torch.tensor([sigma]))) == pytest.approx(exact, rel=1e-6, abs=1e-6)


def test_log_expm1_is_finite_at_both_ends() -> None:
    assert torch.isfinite(log_expm1(torch.tensor([0.0, 1e-30, 1.0, 80.0, 1e30]))).all()


def test_divergence_is_zero_and_stationary_at_zero() -> None:
    a = torch.tensor([-1.0, 0.0, 1.0], requires_grad=True)
    value = divergence(a)
    value.sum().backward()
    torch.testing.assert_close(value, torch.tensor([math.exp(-1.0), 0.0, math.e - 2.0]))
    assert a.grad[1] == 0


@pytest.mark.parametrize("kind", ["absorb", "uniform"])
@pytest.mark.parametrize("sigma", [0.1, 1.0, 4.0])
def test_the_score_of_its_own_probabilities_is_the_score(kind, sigma):
    graph, generator = make_graph(kind, 5), torch.Generator().manual_seed(0)
    noise = torch.full((3,), sigma)
    x_t = torch.full((3, 4), 5) if kind == "absorb" else torch.randint(5, (3, 4), generator=generator)
    log_p = torch.log_softmax(torch.randn(3, 4, 5, generator=generator), -1)
    # Twice the rate of leaving MASK: the probabilities alone do not tell it.
    score = graph.score_from_x0(log_p, x_t, noise) + (math.log(2.0) if kind == "absorb" else 0.0)
    again = graph.score_with_x0(graph.x0_probabilities(score, noise), score, x_t, noise)
    torch.testing.assert_close(again, score, rtol=1e-3, atol=1e-3)
