from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from torch import Tensor

from sedd.backends import Cpu
from sedd.contracts import Noise
from sedd.errors import SamplingError
from sedd.graphs import make_graph
from sedd.heads import outputs
from sedd.model import Transformer
from sedd.noises import Geometric, Linear, LogLinear
from sedd.sampling.lengths import LengthDistribution
from sedd.sampling.sampler import Sampler, categorical
from sedd.sections import Model, Sampling
from tests.toys import Toy, chi_square, codes, counts, every_sequence

KINDS = ("absorb", "uniform")
HEADS = ("normalised", "score")
CPU = Cpu(precision="float32")
FAR = LogLinear(sigma_max=9.0)


def toy_sampler(toy: Toy, kind: str, *, head: str = "normalised", noise: Noise = FAR, **options: object) -> Sampler:
    sampling = Sampling.model_validate({"steps": 100, "batch_size": 5000, **options})
    return Sampler(make_graph(kind, toy.n), Model(head=head, length=toy.length), noise, CPU, sampling)


def drawn(sampler: Sampler, toy: Toy, count: int, *, seed: int = 0) -> Tensor:
    """How often each sequence came."""
    network = toy.network(sampler.graph, sampler.model)
    samples = sampler(network, np.full(count, toy.length), seed=seed)
    return counts(torch.from_numpy(np.stack(samples)), toy.n)


def law(sampler: Sampler, toy: Toy, monkeypatch: pytest.MonkeyPatch) -> Tensor:
    """The exact distribution of what the sampler draws, by pushing all sequences through its steps, (n^L,)."""
    weights: list[Tensor] = []
    graph, network = sampler.graph, toy.network(sampler.graph, sampler.model)
    x = every_sequence(graph.states, toy.length)
    chance = torch.zeros(len(x), dtype=torch.float64)
    starts = toy.sequences if graph.states == toy.n else torch.full((1, toy.length), toy.n)
    chance[codes(starts, graph.states)] = 1.0 / len(starts)
    u = torch.zeros(x.shape)
    with monkeypatch.context() as patch:
        patch.setattr("sedd.sampling.sampler.categorical", lambda w, u: weights.append(w.double()) or x)
        for t, s in itertools.pairwise(sampler._grid()):
            sampler._step(network, x, None, float(t), float(s), u)
            move = weights.pop()
            move = move / move.sum(-1, keepdim=True)
            step = torch.ones(len(x), len(x), dtype=torch.float64)
            for i in range(toy.length):
                step *= move[:, i][:, x[:, i]]
            chance = chance @ step
    return chance[(x < toy.n).all(1)]


@pytest.mark.parametrize("predictor", ["ancestral", "euler"])
@pytest.mark.parametrize("kind", KINDS)
def test_samples_follow_the_law_of_the_steps_and_the_law_tends_to_the_truth(
    kind: str, predictor: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    toy = Toy.random(3, 3, seed=4, contrast=1.5)

    def distance(steps: int) -> float:
        exact = law(toy_sampler(toy, kind, predictor=predictor, steps=steps), toy, monkeypatch)
        assert float(exact.sum()) == pytest.approx(1.0)
        return float((exact - toy.p.flatten()).abs().sum() / 2)

    # What is wrong is that residues of one step are drawn independently: half as wrong with twice as many steps.
    assert distance(100) < 0.007
    assert 1.8 < distance(50) / distance(100) < 2.3

    sampler = toy_sampler(toy, kind, predictor=predictor, steps=25)
    found, exact = drawn(sampler, toy, 20_000), law(sampler, toy, monkeypatch)
    assert chi_square(found, 20_000 * exact) > 1e-3
    assert chi_square(found, 20_000 * toy.p.flatten()) < 1e-3, "the test would not see that order is lost"


@pytest.mark.parametrize(("head", "count"), [("normalised", 8_000), ("score", 4_000)])
@pytest.mark.parametrize("kind", KINDS)
def test_ancestral_samples_of_an_exact_model_follow_its_distribution(kind: str, head: str, count: int) -> None:
    toy = Toy.random(3, 3, seed=4, contrast=1.5)
    found = drawn(toy_sampler(toy, kind, head=head, steps=200), toy, count)
    assert chi_square(found, count * toy.p.flatten()) > 1e-3


@pytest.mark.parametrize("noise", [Geometric(sigma_max=12.0), Linear(sigma_max=9.0)])
@pytest.mark.parametrize("kind", KINDS)
def test_ancestral_samples_do_not_depend_on_the_schedule(kind: str, noise: Noise) -> None:
    toy = Toy.random(3, 2, seed=4)
    found = drawn(toy_sampler(toy, kind, noise=noise, steps=200), toy, 3_000)
    assert chi_square(found, 3_000 * toy.p.flatten()) > 1e-3


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("steps", [1, 3])
def test_one_residue_is_exact_with_any_number_of_ancestral_steps(kind: str, steps: int) -> None:
    toy = Toy.random(4, 1, seed=4, contrast=2.0)
    found = drawn(toy_sampler(toy, kind, steps=steps), toy, 20_000)
    assert chi_square(found, 20_000 * toy.p.flatten()) > 1e-3


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("predictor", ["euler", "ancestral"])
@pytest.mark.parametrize("noise", [FAR, Linear(sigma_min=0.3, sigma_max=9.0)])
def test_noise_removal_leaves_no_mask(kind: str, predictor: str, noise: Noise) -> None:
    toy = Toy.random(3, 3, seed=4)
    sampler = toy_sampler(toy, kind, noise=noise, predictor=predictor, steps=3, noise_removal=True)
    samples = sampler(toy.network(sampler.graph, sampler.model), np.full(200, 3), seed=0)
    assert max(int(row.max()) for row in samples) < 3


def test_without_noise_removal_the_noise_that_is_left_is_sigma_min() -> None:
    toy = Toy.random(3, 3, seed=4)
    sampler = toy_sampler(toy, "absorb", noise=Linear(sigma_min=0.7, sigma_max=9.0), noise_removal=False, steps=8)
    samples = np.stack(sampler(toy.network(sampler.graph, sampler.model), np.full(2000, 3), seed=0))
    assert abs((samples == 3).mean() - (1 - np.exp(-0.7))) < 0.03


def real_sampler(kind: str, **options: object) -> tuple[Sampler, Transformer]:
    graph, model = make_graph(kind, 6), Model(hidden_size=16, cond_dim=4, n_blocks=1, n_heads=2, length=20, dropout=0.0)
    torch.manual_seed(0)
    network = Transformer(model, states=graph.states, outputs=outputs(graph, model)).eval()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    return Sampler(graph, model, LogLinear(), CPU, Sampling.model_validate({"steps": 6, **options})), network


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("predictor", ["euler", "ancestral"])
def test_the_same_seed_gives_the_same_samples_for_any_batch_size(kind: str, predictor: str) -> None:
    lengths = np.array([3, 20, 1, 7, 7, 12])
    runs = []
    for size in (1, 4, 64):
        sampler, network = real_sampler(kind, predictor=predictor, batch_size=size)
        runs.append(sampler(network, lengths, seed=5))
    assert [len(row) for row in runs[0]] == lengths.tolist()
    for other in runs[1:]:
        assert all(np.array_equal(a, b) for a, b in zip(runs[0], other, strict=True))
    assert any(not np.array_equal(a, b) for a, b in zip(runs[0], sampler(network, lengths, seed=6), strict=True))


@pytest.mark.parametrize(("removal", "calls"), [(True, 7), (False, 6)])
def test_each_step_costs_one_evaluation_and_noise_removal_one_more(removal: bool, calls: int) -> None:
    toy = Toy.random(3, 3)
    sampler = toy_sampler(toy, "absorb", noise=Linear(sigma_max=9.0), steps=6, noise_removal=removal)
    exact, told = toy.network(sampler.graph, sampler.model), []

    def network(tokens: Tensor, sigma: Tensor, mask: Tensor | None) -> Tensor:
        told.append(float(sigma[0]))
        return exact(tokens, sigma, mask)

    sampler(network, np.full(4, 3), seed=0)
    assert len(told) == calls
    assert told == sorted(told, reverse=True)
    assert told[0] == pytest.approx(9.0)


def test_a_model_that_never_saw_an_empty_sequence_refuses_to_start_from_nothing() -> None:
    toy = Toy.random(3, 3)
    sampler = toy_sampler(toy, "absorb", noise=LogLinear(sigma_max=0.5))
    with pytest.raises(
        SamplingError, match=r"sigma_max=0\.5, where 61% of the residues are still visible.*sigma_max=6"
    ):
        sampler(toy.network(sampler.graph, sampler.model), np.array([3]), seed=0)


@pytest.mark.parametrize("length", [0, -1, 21])
def test_impossible_lengths_are_refused(length: int) -> None:
    sampler, network = real_sampler("absorb")
    with pytest.raises(SamplingError, match=f"length {length} is impossible: this model makes 1 to 20 residues"):
        sampler(network, np.array([5, length]), seed=0)


def test_no_lengths_give_no_samples() -> None:
    sampler, network = real_sampler("absorb")
    assert sampler(network, np.array([], dtype=np.int64), seed=0) == []


def test_categorical_follows_the_weights_down_to_tiny_ones() -> None:
    weights = torch.tensor([0.5, 1e-9, 0.3, 0.0, 0.2 - 1e-9], dtype=torch.float64)
    u = torch.rand(100_000, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    found = torch.bincount(categorical(3.0 * weights.expand(len(u), 5), u), minlength=5)
    assert found[3] == 0
    assert chi_square(found, 1e5 * weights) > 1e-3
    inside = torch.tensor([0.5 + 0.5e-9], dtype=torch.float64)
    assert categorical(weights[None], inside).tolist() == [1]
    within = torch.rand(50_000, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    tiny = torch.full((100,), 1e-3).index_fill(0, torch.tensor([0]), 0.901)
    found = torch.bincount(categorical(tiny.expand(len(within), 100), within), minlength=100)
    assert chi_square(found, 50_000 * tiny.double() / tiny.double().sum()) > 1e-3


def test_categorical_never_draws_what_has_no_weight() -> None:
    ends = torch.tensor([0.0, 1.0 - 2.0**-53], dtype=torch.float64)
    for weights in ([0.0, 1.0, 0.0], [0.0, 0.3, 0.0], [0.0, 7.7, 0.0]):
        assert categorical(torch.tensor([weights, weights]), ends).tolist() == [1, 1]


def test_lengths_are_drawn_like_those_of_the_training_set() -> None:
    random = np.random.default_rng(0)
    data = [np.zeros(n, np.uint8) for n in random.integers(10, 60, 3000)]
    distribution = LengthDistribution.of(data, longest=50)
    lengths = distribution.draw(20_000, seed=1)
    assert (lengths.min(), lengths.max()) == (10, 50)
    assert abs(lengths.mean() - np.mean([min(len(row), 50) for row in data])) < 0.5
    assert abs((lengths == 50).mean() - 0.2) < 0.02
    assert np.array_equal(lengths, distribution.draw(20_000, seed=1))
    assert LengthDistribution.from_json(distribution.to_json()) == distribution
