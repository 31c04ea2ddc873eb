from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from sedd.diffusion.graphs import make_graph
from sedd.diffusion.graphs.absorb import _at_least
from sedd.diffusion.parametrization import Parametrization
from sedd.evaluation.bound import Bound
from sedd.evaluation.estimator import Estimator
from sedd.model.transformer import Transformer
from sedd.plugins.backends import Cpu
from sedd.plugins.contracts import Noise
from sedd.plugins.networks import Ddit
from sedd.plugins.noises import Geometric, Linear, LogLinear
from tests.toys import Toy, even_in_rate, even_in_root, mean_and_error, process_of

KINDS = ("absorb", "uniform")
HEADS = ("normalised", "score")
CPU = Cpu(precision="float32")
WIDE = Geometric(sigma_min=1e-9, sigma_max=20.0)


def toy_estimator(toy: Toy, kind: str, *, head: str = "normalised", noise: Noise = WIDE, masks: int = 4) -> Estimator:
    """Evaluates on every sequence of the toy once."""
    data = [row.astype(np.uint8) for row in toy.sequences.numpy()]
    process = process_of(make_graph(kind, toy.n), Parametrization(head=head), noise)
    return Estimator(data, process, CPU, CPU.device(), toy.length, count=len(data), masks=masks, batch_size=len(data))


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("kind", KINDS)
def test_the_estimate_is_unbiased(kind: str, head: str) -> None:
    toy = Toy.random(3, 3, seed=1)
    estimator = toy_estimator(toy, kind, head=head)
    exact = toy.network(estimator.process.graph, estimator.process.parametrization)
    mean, error = mean_and_error(lambda seed: replace(estimator, seed=seed)(exact).nats, 60)
    wanted = float(toy.nll.mean()) / 3
    assert abs(mean - wanted) < 4.0 * error
    assert error < (0.01 if kind == "absorb" else 0.05)


@pytest.mark.parametrize("kind", KINDS)
def test_the_estimate_is_unbiased_for_a_bad_model_too(kind: str) -> None:
    toy = Toy.random(3, 3, seed=1)
    estimator = toy_estimator(toy, kind)
    bad = toy.random_network(estimator.process.graph, estimator.process.parametrization, seed=3)
    mean, error = mean_and_error(lambda seed: replace(estimator, seed=seed)(bad).nats, 60)
    wanted = float(toy.bound(estimator.process.graph, estimator.process.parametrization, bad).mean()) / 3
    assert abs(mean - wanted) < 4.0 * error


@pytest.mark.parametrize("noise", [LogLinear(sigma_max=0.5), Linear(sigma_min=0.2, sigma_max=3.0)])
@pytest.mark.parametrize("kind", KINDS)
def test_the_trained_part_is_the_integral_over_the_trained_range(kind: str, noise: Noise) -> None:
    toy = Toy.random(3, 3, seed=1)
    wide = toy_estimator(toy, kind)
    exact = toy.network(wide.process.graph, wide.process.parametrization)
    narrow = replace(wide, process=replace(wide.process, noise=noise))

    def conditioned(tokens: torch.Tensor, sigma: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
        assert (sigma <= noise.sigma_max * (1 + 1e-6)).all()
        return exact(tokens, sigma, mask)

    low, high = noise.sigma_min, noise.sigma_max
    nodes = even_in_rate(-math.expm1(-low), -math.expm1(-high)) if kind == "absorb" else even_in_root(low, high)
    wanted = float(toy.integral(wide.process.graph, wide.process.parametrization, exact, nodes).mean()) / 3
    mean, error = mean_and_error(lambda seed: replace(narrow, seed=seed)(conditioned).trained, 60)
    assert abs(mean - wanted) < 4.0 * error


@pytest.mark.parametrize("kind", KINDS)
def test_with_a_large_sigma_max_nearly_all_of_the_bound_is_in_the_trained_range(kind: str) -> None:
    toy = Toy.random(3, 3, seed=1)
    estimator = toy_estimator(toy, kind, noise=LogLinear(sigma_max=15.0))
    bound = estimator(toy.network(estimator.process.graph, estimator.process.parametrization))
    assert bound.trained == pytest.approx(bound.nats, abs=1e-5)


def test_the_bound_of_an_untrained_network_is_ln_n() -> None:
    data = [np.arange(length) % 20 for length in (5, 9, 16, 30, 30)]
    model = Ddit(hidden_size=8, cond_dim=4, n_blocks=1, n_heads=1, length=30)
    for kind, slack in (("absorb", 1e-5), ("uniform", 0.4)):
        graph = make_graph(kind, 20)
        network = Transformer(model, states=graph.states, outputs=20).eval()
        estimator = Estimator(
            data, process_of(graph, Parametrization()), CPU, CPU.device(), 30, count=5, masks=64, batch_size=2
        )
        assert estimator(network).nats == pytest.approx(math.log(20), abs=slack)


def real_case(kind: str, **changes: int) -> tuple[Estimator, Transformer]:
    """Sequences of many lengths, some longer than the model, and a network whose parameters are not zero."""
    random = np.random.default_rng(0)
    data = [random.integers(0, 6, length) for length in random.integers(2, 30, 40)]
    graph, model = (
        make_graph(kind, 6),
        Ddit(hidden_size=16, cond_dim=4, n_blocks=1, n_heads=2, length=20, dropout=0.0),
    )
    torch.manual_seed(0)
    network = Transformer(model, states=graph.states, outputs=6).eval()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    estimator = Estimator(
        data, process_of(graph, Parametrization()), CPU, CPU.device(), 20, count=40, masks=3, batch_size=64
    )
    return replace(estimator, **changes), network


@pytest.mark.parametrize("kind", KINDS)
def test_the_batch_size_and_its_pads_change_nothing(kind: str) -> None:
    estimator, network = real_case(kind)
    complete = estimator(network)
    for size in (1, 7, 16):
        other = replace(estimator, batch_size=size)(network)
        assert other.nats == pytest.approx(complete.nats, abs=1e-6)
        assert other.trained == pytest.approx(complete.trained, abs=1e-6)
        assert other.stderr == pytest.approx(complete.stderr, abs=1e-6)
        assert (other.sequences, other.residues) == (complete.sequences, complete.residues)


@pytest.mark.parametrize("kind", KINDS)
def test_evaluating_again_gives_the_same_and_another_seed_does_not(kind: str) -> None:
    estimator, network = real_case(kind)
    first = estimator(network)
    torch.manual_seed(99)
    assert estimator(network) == first
    assert replace(estimator, seed=1)(network) != first


@pytest.mark.parametrize("kind", KINDS)
def test_sequences_are_chosen_by_key_counted_and_cropped(kind: str) -> None:
    estimator, network = real_case(kind)
    bound = estimator(network)
    assert bound.sequences == 40
    assert bound.residues == sum(min(len(row), 20) for row in estimator.data)
    few = replace(estimator, count=10)
    assert few(network).sequences == 10
    assert few(network) == few(network)
    chosen = [int(s) for batch, _ in few._batches() for s in batch.samples]
    assert len(set(chosen)) == 10
    assert chosen != sorted(range(10))
    assert replace(estimator, count=1000)(network) == bound


@pytest.mark.parametrize("masks", [1, 4])
def test_noise_levels_are_stratified_within_a_sequence_and_over_sequences(masks: int) -> None:
    estimator, _ = real_case("absorb", masks=masks)
    levels = np.stack([estimator._levels(np.arange(40), level) for level in range(masks)])
    assert (np.floor(levels * masks) == np.arange(masks)[:, None]).all()
    assert sorted(np.floor(levels.flatten() * 40 * masks).astype(int)) == list(range(40 * masks))


class Naive(Estimator):
    """Independent noise levels instead of stratified ones."""

    def _levels(self, ranks: np.ndarray, level: int) -> np.ndarray:
        return np.random.default_rng((self.seed, level)).random(min(self.count, len(self.data)))[ranks]


@pytest.mark.parametrize("kind", KINDS)
def test_stratified_levels_vary_less_than_independent_ones(kind: str) -> None:
    # Long sequences, so that the variance comes from the noise levels and hardly from the positions of masks.
    data = [np.random.default_rng(seed).integers(0, 4, 200) for seed in range(8)]

    def network(tokens: torch.Tensor, sigma: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
        sure = 3.0 * torch.exp(-sigma)[:, None, None] * torch.eye(4)[0]
        return sure.expand(*tokens.shape, 4)

    process = process_of(make_graph(kind, 4), Parametrization(), WIDE)
    estimator = Estimator(data, process, CPU, CPU.device(), 200, count=8, masks=4, batch_size=8)
    naive = Naive(**vars(estimator))
    spread = [np.std([replace(one, seed=s)(network).nats for s in range(40)]) for one in (estimator, naive)]
    assert spread[0] < 0.7 * spread[1]


def test_the_estimate_for_uniform_has_no_outliers_at_low_noise() -> None:
    """At uniform levels, a residue that changes at sigma = 1e-6 would cost a million nats; the density prevents it."""
    data = [np.random.default_rng(seed).integers(0, 20, 50) for seed in range(64)]
    estimator = Estimator(
        data, process_of(make_graph("uniform", 20), Parametrization(), WIDE), CPU, CPU.device(), 50, 64, 4, 64
    )

    def uniform_predictor(tokens: torch.Tensor, sigma: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
        return torch.zeros(*tokens.shape, 20)

    found = [replace(estimator, seed=seed)(uniform_predictor).nats for seed in range(20)]
    assert np.std(found) < 0.15
    assert abs(np.mean(found) - math.log(20)) < 0.1


def test_the_standard_error_is_that_of_the_mean_over_sequences() -> None:
    # A network that always predicts token 0 has the same cost for every masked residue.
    sure = torch.tensor([0.0, -5.0])
    data = [np.array([0]), np.array([0]), np.array([1]), np.array([1])]
    estimator = Estimator(
        data, process_of(make_graph("absorb", 2), Parametrization(), LogLinear()), CPU, CPU.device(), 1, 4, 2, 4
    )
    bound = estimator(lambda tokens, sigma, mask: sure.expand(*tokens.shape, 2))
    cost = -torch.log_softmax(sure, -1)
    assert bound.nats == pytest.approx(float(cost.mean()), rel=1e-5)
    assert bound.stderr == pytest.approx(2.5 / 2.0, rel=1e-5)


def test_a_bound_is_converted_to_bits_and_perplexity() -> None:
    bound = Bound(nats=math.log(8.0), stderr=0.0, trained=0.0, sequences=1, residues=1, cropped=0)
    assert bound.bits == pytest.approx(3.0)
    assert bound.perplexity == pytest.approx(8.0)


def test_the_probability_of_at_least_k_masks_is_binomial() -> None:
    lengths = torch.tensor([1, 3, 7])
    for rate in (0.0, 1e-9, 0.3, 1.0):
        for k in (1, 2, 3):
            found = _at_least(torch.full((3,), k), lengths, torch.tensor([rate, 0.5], dtype=torch.float64))[:, 0]
            wanted = [
                sum(math.comb(n, j) * rate**j * (1 - rate) ** (n - j) for j in range(k, n + 1)) for n in (1, 3, 7)
            ]
            assert found.tolist() == pytest.approx(wanted, rel=1e-9, abs=1e-15)
