from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from sedd.data import Batch
from sedd.diffusion.graphs import make_graph
from sedd.diffusion.loss import corrupt_batch, diffusion_loss, score_entropy_loss
from sedd.diffusion.noising import NoiseState, corruption_uniforms, noise_state, path_positions
from sedd.diffusion.parametrization import Network, Parametrization
from sedd.diffusion.positions import bucketed_length
from sedd.model.transformer import Transformer
from sedd.plugins.networks import Ddit
from sedd.plugins.noises import Cosine, LogLinear
from tests.toys import Toy, even_in_rate, even_in_root, process_of

KINDS = ("absorb", "uniform")
HEADS = ("normalised", "score")
SHAPES = [(2, 4), (5, 2), (3, 3)]


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("n", "length"), SHAPES)
def test_the_bound_with_exact_scores_is_the_likelihood(kind: str, head: str, n: int, length: int) -> None:
    toy, graph, model = Toy.random(n, length, seed=n, contrast=1.5), make_graph(kind, n), Parametrization(head=head)
    bound = toy.bound(graph, model, toy.network(graph, model))
    torch.testing.assert_close(bound, toy.nll, rtol=0, atol=1e-5)


@pytest.mark.parametrize("head", HEADS)
def test_counting_masks_gives_the_likelihood_too(head: str) -> None:
    toy, graph, model = Toy.random(3, 4, seed=8), make_graph("absorb", 3), Parametrization(head=head)
    torch.testing.assert_close(toy.any_order(graph, model, toy.network(graph, model)), toy.nll, rtol=0, atol=1e-5)


def test_counting_masks_and_integrating_over_noise_agree_for_any_normalised_model() -> None:
    toy, graph, model = Toy.random(3, 3, seed=8), make_graph("absorb", 3), Parametrization()
    network = toy.random_network(graph, model, seed=1)
    counted, integrated = toy.any_order(graph, model, network), toy.bound(graph, model, network)
    torch.testing.assert_close(counted, integrated, rtol=0, atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_the_bound_holds_for_two_hundred_random_models(kind: str) -> None:
    """What a model's bounds promise to all sequences together is never more than everything: it is a distribution."""
    for seed in range(200):
        n, length = ((2, 3), (3, 2), (4, 1), (5, 2))[seed % 4]
        model = Parametrization(head=HEADS[seed % 8 // 4])
        toy, graph = Toy.random(n, length, seed=seed), make_graph(kind, n)
        network = toy.random_network(graph, model, seed=seed, contrast=(0.1, 1.0, 3.0)[seed % 3])
        bound = toy.bound(graph, model, network)
        assert torch.exp(-bound).sum() <= 1.0 + 1e-5, f"model {seed}"
        assert (toy.p.flatten() * (bound - toy.nll)).sum() >= -1e-5, f"model {seed} beats the entropy"


def batch_of(tokens: torch.Tensor) -> Batch:
    return Batch(tokens, torch.ones_like(tokens, dtype=torch.bool), torch.arange(len(tokens)))


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("mode", ["scale", "truncate", "bias"])
@pytest.mark.parametrize("kind", KINDS)
def test_training_losses_average_to_the_integral(kind: str, mode: str, head: str) -> None:
    """Through path positions, corruption and loss as training does it, against the enumerated expectation."""
    toy, graph, model = Toy.random(3, 3, seed=2), make_graph(kind, 3), Parametrization(head=head)
    network, noise = toy.network(graph, model), LogLinear(sigma_min=0.05, sigma_max=3.0)
    ends = noise_state(noise, torch.tensor([0.0, 1.0]), difficulty=0.5, mode=mode)
    low, high = ends.sigma.double().tolist()
    nodes = even_in_rate(-math.expm1(-low), -math.expm1(-high)) if kind == "absorb" else even_in_root(low, high)
    wanted = float((toy.integral(graph, model, network, nodes) * toy.p.flatten()).sum())

    size, random = 128, np.random.default_rng(0)
    losses = []
    for step in range(60):
        samples = np.arange(step * size, (step + 1) * size)
        chosen = random.choice(len(toy.sequences), size, p=toy.p.flatten().numpy())
        state = noise_state(noise, torch.from_numpy(path_positions(4, samples)), difficulty=0.5, mode=mode)
        uniforms = corruption_uniforms(4, samples, np.full(size, 3), 3)
        batch = batch_of(toy.sequences[chosen])
        losses.append(
            float(diffusion_loss(network, batch, state, uniforms, process=process_of(graph, model)).total) / size
        )
    error = np.std(losses, ddof=1) / math.sqrt(len(losses))
    assert abs(np.mean(losses) - wanted) < 4.0 * error


def untrained(kind: str, head: str, n: int) -> tuple[Network, Parametrization]:
    section = Ddit(hidden_size=16, cond_dim=8, n_blocks=1, n_heads=2, length=4, head=head)
    model = Parametrization.of(section)
    graph = make_graph(kind, n)
    torch.manual_seed(0)
    return Transformer(section, states=graph.states, outputs=model.outputs(graph)).eval(), model


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("kind", KINDS)
@torch.no_grad()
def test_an_untrained_network_predicts_uniformly(kind: str, head: str) -> None:
    toy, graph = Toy.random(3, 2), make_graph(kind, 3)
    network, model = untrained(kind, head, 3)

    def called(tokens: torch.Tensor, sigma: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
        return network(tokens, sigma.float(), mask)

    bound = toy.bound(graph, model, called)
    torch.testing.assert_close(bound, torch.full_like(bound, 2 * math.log(3)), rtol=0, atol=1e-5)


@torch.no_grad()
def test_an_untrained_absorb_network_costs_ln_n_at_every_mask() -> None:
    network, model = untrained("absorb", "normalised", 20)
    tokens = torch.randint(20, (64, 4), generator=torch.Generator().manual_seed(0))
    state = noise_state(Cosine(), torch.linspace(0.05, 1.0, 64))
    uniforms = torch.rand(64, 4, 2, generator=torch.Generator().manual_seed(1))
    graph = make_graph("absorb", 20)
    loss = diffusion_loss(network, batch_of(tokens), state, uniforms, process=process_of(graph, model))
    masked = (uniforms[..., 0] < state.mask_rate[:, None]).sum(1)
    wanted = (masked * state.dsigma / torch.expm1(state.sigma)).sum() * math.log(20)
    torch.testing.assert_close(loss.total, wanted, rtol=1e-4, atol=0.0)
    assert loss.parts[2].sum() == masked.sum()


@pytest.mark.parametrize("kind", KINDS)
def test_padding_is_neither_scored_nor_counted(kind: str) -> None:
    graph, model = make_graph(kind, 5), Parametrization()
    tokens = torch.tensor([[1, 2, 3, 0], [4, 0, 0, 0]])
    mask = torch.tensor([[True, True, True, False], [True, False, False, False]])
    batch = Batch(tokens, mask, torch.arange(2))
    state = NoiseState(torch.tensor([6.0, 6.0]), torch.tensor([1.0, 2.0]))
    uniforms = torch.rand(2, 4, 2, generator=torch.Generator().manual_seed(0))
    seen: list[torch.Tensor | None] = []
    output = torch.randn(2, 4, 5, generator=torch.Generator().manual_seed(2), requires_grad=True)

    def network(tokens: torch.Tensor, sigma: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
        seen.append(mask)
        return output

    loss = diffusion_loss(network, batch, state, uniforms, process=process_of(graph, model))
    (slope,) = torch.autograd.grad(loss.total, output)
    assert (slope[~mask] == 0).all()
    assert seen[0] is mask
    assert loss.parts[2].sum() <= 4
    assert not loss.parts.requires_grad  # or the graph of a step would live until its report
    parts = [
        diffusion_loss(
            lambda *_, row=row, length=length: output[row : row + 1, :length],
            batch_of(tokens[row : row + 1, :length]),
            NoiseState(state.sigma[row : row + 1], state.dsigma[row : row + 1]),
            uniforms[row : row + 1, :length],
            process=process_of(graph, model),
        )
        for row, length in ((0, 3), (1, 1))
    ]
    torch.testing.assert_close(loss.total, parts[0].total + parts[1].total)
    assert loss.parts[2].sum() == parts[0].parts[2].sum() + parts[1].parts[2].sum()


@pytest.mark.parametrize("kind", KINDS)
def test_one_noise_state_corrupts_conditions_and_weighs(kind: str) -> None:
    graph, model = make_graph(kind, 5), Parametrization()
    batch = batch_of(torch.tensor([[0, 1, 2, 3]]))
    uniforms = torch.rand(1, 4, 2, generator=torch.Generator().manual_seed(0))
    conditioned: list[torch.Tensor] = []

    def network(tokens: torch.Tensor, sigma: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
        conditioned.append(sigma)
        assert mask is None
        assert torch.equal(tokens, graph.corrupt(batch.tokens, sigma, uniforms))
        return torch.zeros(1, 4, 5)

    sigma = torch.tensor([0.8])
    once = diffusion_loss(
        network, batch, NoiseState(sigma, torch.tensor([1.0])), uniforms, process=process_of(graph, model)
    )
    twice = diffusion_loss(
        network, batch, NoiseState(sigma, torch.tensor([2.0])), uniforms, process=process_of(graph, model)
    )
    assert all(torch.equal(sigma, corrupted) for corrupted in conditioned)
    torch.testing.assert_close(twice.total, 2.0 * once.total)


@pytest.mark.parametrize("positions", [1, 7, 31, 32, 300, 8192, 100_000])
def test_the_network_is_evaluated_at_one_of_few_numbers_of_positions(positions: int) -> None:
    sizes = {}
    for count in range(0, positions + 1, max(1, positions // 2000)):
        sizes[count] = bucketed_length(count, positions)
        assert count <= sizes[count] <= count + max(8, positions // 32)
        assert sizes[count] > 0
        assert sizes[count] <= positions
    assert len(set(sizes.values())) <= 65


@pytest.mark.parametrize("kind", KINDS)
def test_positions_are_unique_and_those_that_contribute_to_the_loss_come_first_in_order(kind: str) -> None:
    graph, generator = make_graph(kind, 20), torch.Generator().manual_seed(0)
    tokens = torch.randint(20, (16, 24), generator=generator)
    mask = torch.arange(24) < torch.randint(1, 25, (16, 1), generator=generator)
    for t in (0.001, 0.5, 0.999):
        state = noise_state(LogLinear(), torch.full((16,), t))
        uniforms = torch.rand(16, 24, 2, generator=generator)
        corrupted = corrupt_batch(Batch(tokens, mask, torch.arange(16)), state, uniforms, graph=graph)
        contributing = (graph.contributes(corrupted.x_t) & mask).flatten().nonzero()[:, 0]
        assert torch.equal(corrupted.positions[: corrupted.count], contributing)
        assert len(corrupted.positions.unique()) == len(corrupted.positions)


@pytest.mark.parametrize("kind", KINDS)
def test_a_selective_network_has_the_loss_and_gradient_of_one_evaluated_everywhere(kind: str) -> None:
    network, model = untrained(kind, "normalised", 20)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(
                0.1 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(parameter.numel()))
            )
    tokens = torch.randint(20, (6, 4), generator=torch.Generator().manual_seed(0))
    mask = torch.arange(4) < torch.tensor([4, 4, 3, 2, 1, 4])[:, None]
    state = noise_state(LogLinear(sigma_max=3.0), torch.linspace(0.2, 0.9, 6))
    graph = make_graph(kind, 20)
    uniforms = torch.rand(6, 4, 2, generator=torch.Generator().manual_seed(1))
    corrupted = corrupt_batch(Batch(tokens, mask, torch.arange(6)), state, uniforms, graph=graph)
    losses, slopes = [], []
    for selective in (False, True):
        network.zero_grad()
        loss = score_entropy_loss(network, corrupted, process=process_of(graph, model), selective=selective)
        loss.total.backward()
        losses.append(loss.parts)
        slopes.append([parameter.grad.clone() for parameter in network.parameters()])
    torch.testing.assert_close(*losses)
    torch.testing.assert_close(*slopes, rtol=1e-4, atol=1e-5)
