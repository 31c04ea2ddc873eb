"""Samplers draw from the distribution they promise, at the promised cost, whatever the batch."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace
from typing import get_args

import numpy as np
import pytest
import torch
from torch import Tensor

from sedd.config.sections import Sampling
from sedd.diffusion.graphs import make_graph
from sedd.diffusion.parametrization import Parametrization
from sedd.errors import SamplingError
from sedd.model.transformer import Transformer
from sedd.plugins.backends import Cpu
from sedd.plugins.contracts import Noise
from sedd.plugins.networks import Ddit
from sedd.plugins.noises import Cosine, Geometric, Linear, LogLinear
from sedd.sampling.categorical import categorical
from sedd.sampling.lengths import LengthDistribution
from sedd.sampling.predictors import PREDICTORS, StepPredictor
from sedd.sampling.sample_batch import Sample
from sedd.sampling.sampler import Sampler
from sedd.sampling.temperature import nucleus
from sedd.sampling.templates import BlankTemplates
from tests.laws import distance, law
from tests.toys import Toy, chi_square, counts, process_of

KINDS = ("absorb", "uniform")
STEPPING = tuple(name for name, predictor in PREDICTORS.items() if isinstance(predictor, StepPredictor))
EVERY = [(kind, name) for kind in KINDS for name in PREDICTORS if kind == "absorb" or not PREDICTORS[name].needs_mask]
CPU = Cpu(precision="float32")
FAR = LogLinear(sigma_max=9.0)


def toy_sampler(
    toy: Toy,
    kind: str,
    *,
    head: str = "normalised",
    time: bool = True,
    noise: Noise = FAR,
    reuse_scores: bool = True,
    **options: object,
) -> Sampler:
    sampling = Sampling.model_validate({"steps": 100, "batch_size": 25_000, **options})
    process = process_of(make_graph(kind, toy.n), Parametrization(head=head, time_conditioning=time), noise)
    return Sampler(process, CPU, CPU.device(), sampling, toy.length, reuse_scores=reuse_scores)


def blanks(lengths: np.ndarray | list[int], sampler: Sampler) -> BlankTemplates:
    return BlankTemplates(np.asarray(lengths), sampler.process.graph.n)


def drawn(sampler: Sampler, toy: Toy, count: int, *, seed: int = 0) -> Tensor:
    """How often each sequence came."""
    network = toy.network(sampler.process.graph, sampler.process.parametrization)
    samples = sampler(network, blanks(np.full(count, toy.length), sampler), seed=seed)
    return counts(torch.from_numpy(np.stack([sample.tokens for sample in samples])), toy.n)


# What is drawn -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("predictor", STEPPING)
@pytest.mark.parametrize("kind", KINDS)
def test_the_law_of_the_steps_tends_to_the_model_and_its_error_halves_as_the_steps_double(
    kind: str, predictor: str
) -> None:
    toy = Toy.random(3, 3, seed=4, contrast=1.5)
    laws = [law(toy_sampler(toy, kind, predictor=predictor, steps=steps), toy) for steps in (50, 100, 200)]
    assert [float(each.sum()) for each in laws] == pytest.approx([1.0, 1.0, 1.0])
    errors = [distance(each, toy.p) for each in laws]
    # What is wrong is that residues of one step are drawn independently: first order in the step.
    assert errors[2] < 0.0035
    for more, less in itertools.pairwise(errors):
        assert 1.85 < more / less < 2.15
    # If the error is c / steps, this combination has none of it left: the limit is the truth and not something near it.
    assert distance(2 * laws[2] - laws[1], toy.p) < errors[2] / 10


@pytest.mark.parametrize("predictor", STEPPING)
@pytest.mark.parametrize("kind", KINDS)
def test_samples_follow_the_law_of_the_steps(kind: str, predictor: str) -> None:
    toy = Toy.random(3, 3, seed=4, contrast=1.5)
    sampler = toy_sampler(toy, kind, predictor=predictor, steps=25)
    found, exact = drawn(sampler, toy, 30_000), law(sampler, toy)
    assert chi_square(found, 30_000 * exact) > 1e-3
    assert chi_square(found, 30_000 * toy.p.flatten()) < 1e-3, "the test would not see that order is lost"


@pytest.mark.parametrize("options", [{}, {"noise_removal": False}, {"temperature": 0.7, "top_p": 0.95}, {"steps": 1}])
@pytest.mark.parametrize(("kind", "predictor"), EVERY)
@pytest.mark.parametrize("head", ["normalised", "score"])
def test_symbols_that_no_training_sequence_has_are_never_drawn(
    kind: str, predictor: str, head: str, options: dict[str, object]
) -> None:
    toy = Toy.random(5, 4, seed=2, contrast=1.0)
    never = torch.tensor([False, True, False, True, False])
    sampler = replace(toy_sampler(toy, kind, head=head, predictor=predictor, **{"steps": 12} | options), never=never)
    network = toy.network(sampler.process.graph, sampler.process.parametrization)
    templates = [np.full(4, toy.n)] * 300 + [np.array([1, toy.n, 3, toy.n])] * 300
    tokens = np.stack([sample.tokens for sample in sampler(network, templates, seed=1)])
    real = tokens < toy.n
    assert not np.isin(tokens[:300], [1, 3]).any()
    assert (tokens[300:, [0, 2]] == [1, 3]).all(), "what is fixed stays"
    assert not np.isin(tokens[300:, [1, 3]], [1, 3]).any()
    assert set(tokens[real].tolist()) >= {0, 2, 4}


EXACT = [
    {},
    {"batch_size": 999},
    {"steps": 1},
    {"time": False},
    {"time": False, "batch_size": 4_000},
    {"head": "score"},
    {"noise": Cosine(sigma_max=12.0)},
    {"noise": Linear(sigma_min=0.3, sigma_max=9.0)},
    {"reuse_scores": False},
    {"time": False, "reuse_scores": False, "batch_size": 333},
]


@pytest.mark.parametrize("draws", [20_000, pytest.param(200_000, marks=pytest.mark.long)])
def test_first_hitting_draws_exactly_the_distribution_of_the_model(draws: int) -> None:
    toy, each_draws = Toy.random(3, 3, seed=4, contrast=1.5), draws // len(EXACT)
    found = [
        drawn(toy_sampler(toy, "absorb", predictor="first_hitting", **how), toy, each_draws, seed=seed)
        for seed, how in enumerate(EXACT)
    ]
    for how, each in zip(EXACT, found, strict=True):
        assert chi_square(each, each_draws * toy.p.flatten()) > 1e-3 / len(EXACT), how
    assert chi_square(sum(found), each_draws * len(EXACT) * toy.p.flatten()) > 1e-3


ONE_RESIDUE = [
    {"predictor": predictor, "steps": steps, "time": time, "reuse_scores": reuse_scores, "batch_size": size}
    for predictor in ("analytic", "ancestral")
    for steps in (1, 3)
    for time, reuse_scores, size in (
        (True, True, 25_000),
        (False, True, 997),
        (False, False, 4_000),
        (True, False, 999),
    )
]


@pytest.mark.parametrize("draws", [32_000, pytest.param(200_000, marks=pytest.mark.long)])
@pytest.mark.parametrize("kind", KINDS)
def test_one_residue_is_exact_with_any_number_of_steps_in_many_draws_of_each_graph(kind: str, draws: int) -> None:
    toy, each_draws = Toy.random(4, 1, seed=4, contrast=2.0), draws // len(ONE_RESIDUE)
    found = [drawn(toy_sampler(toy, kind, **how), toy, each_draws, seed=seed) for seed, how in enumerate(ONE_RESIDUE)]
    for how, each in zip(ONE_RESIDUE, found, strict=True):
        assert chi_square(each, each_draws * toy.p.flatten()) > 1e-3 / len(ONE_RESIDUE), how
    assert chi_square(sum(found), each_draws * len(ONE_RESIDUE) * toy.p.flatten()) > 1e-3


@pytest.mark.parametrize("head", ["normalised", pytest.param("score", marks=pytest.mark.long)])
@pytest.mark.parametrize("kind", KINDS)
def test_ancestral_samples_of_an_exact_model_follow_its_distribution(kind: str, head: str) -> None:
    toy = Toy.random(3, 3, seed=4, contrast=1.5)
    found = drawn(toy_sampler(toy, kind, head=head, steps=200), toy, 8_000)
    assert chi_square(found, 8_000 * toy.p.flatten()) > 1e-3


@pytest.mark.parametrize("noise", [Geometric(sigma_max=12.0), Linear(sigma_max=9.0)])
@pytest.mark.parametrize("kind", KINDS)
def test_ancestral_samples_do_not_depend_on_the_schedule(kind: str, noise: Noise) -> None:
    toy = Toy.random(3, 2, seed=4)
    found = drawn(toy_sampler(toy, kind, noise=noise, steps=200), toy, 5_000)
    assert chi_square(found, 5_000 * toy.p.flatten()) > 1e-3


def test_several_tokens_per_step_cost_less_and_lose_the_order_between_them() -> None:
    toy = Toy.random(3, 3, seed=4, contrast=1.5)
    sampler = toy_sampler(toy, "absorb", predictor="first_hitting", tokens_per_step=3)
    found = drawn(sampler, toy, 20_000)
    marginals = [toy.p.sum(tuple(j for j in range(3) if j != i)) for i in range(3)]
    independent = marginals[0][:, None, None] * marginals[1][None, :, None] * marginals[2][None, None, :]
    assert chi_square(found, 20_000 * independent.flatten()) > 1e-3
    assert chi_square(found, 20_000 * toy.p.flatten()) < 1e-3
    network = toy.network(sampler.process.graph, sampler.process.parametrization)
    for count, nfe in ((1, 3), (2, 2), (3, 1), (50, 1)):
        other = replace(sampler, options=sampler.options.model_copy(update={"tokens_per_step": count}))
        assert {sample.nfe for sample in other(network, blanks([3] * 20, sampler), seed=0)} == {nfe}


def test_the_analytic_predictor_takes_the_scores_as_they_are_and_ancestral_normalises_them() -> None:
    graph, model = make_graph("absorb", 3), Parametrization(head="score")
    x = torch.full((1, 2), 3)
    now, then = torch.tensor([1.0], dtype=torch.float64), torch.tensor([0.5], dtype=torch.float64)
    exact = model.log_score(torch.zeros(1, 2, 4), x, now, graph)
    for wrong, same in ((0.0, True), (0.5, False)):
        a, b = (PREDICTORS[name].transition(graph, exact + wrong, x, now, then) for name in ("analytic", "ancestral"))
        assert torch.allclose(a.double(), b.double(), atol=1e-6) is same
    # Scores that are e^0.5 too high unmask e^0.5 times as often.
    assert float(a[0, 0, :3].sum() / b[0, 0, :3].sum()) == pytest.approx(math.exp(0.5), rel=1e-5)


@pytest.mark.parametrize(("kind", "predictor"), [pair for pair in EVERY if pair[1] != "euler"])
def test_temperature_and_top_p_change_the_distribution_of_one_residue(kind: str, predictor: str) -> None:
    toy = Toy.random(4, 1, seed=4, contrast=1.0)
    p = toy.p.double()
    cold = p**2 / (p**2).sum()
    found = drawn(toy_sampler(toy, kind, predictor=predictor, steps=5, temperature=0.5), toy, 20_000)
    assert chi_square(found, 20_000 * cold) > 1e-3
    top = torch.where(p >= p.sort(descending=True).values[1], p, 0.0)
    share = float(top.sum()) - 0.01
    found = drawn(toy_sampler(toy, kind, predictor=predictor, steps=5, top_p=share), toy, 20_000)
    assert chi_square(found, 20_000 * top / top.sum()) > 1e-3


def test_a_nucleus_has_the_likeliest_symbols_and_never_none() -> None:
    p = torch.tensor([0.1, 0.5, 0.15, 0.25])
    assert nucleus(p, 0.6).tolist() == pytest.approx([0, 2 / 3, 0, 1 / 3])
    assert nucleus(p, 1e-6).tolist() == [0, 1, 0, 0]
    assert torch.allclose(nucleus(p, 1.0), p)


@pytest.mark.parametrize(("kind", "predictor"), EVERY)
@pytest.mark.parametrize("noise", [FAR, Linear(sigma_min=0.3, sigma_max=9.0)])
def test_noise_removal_leaves_no_mask(kind: str, predictor: str, noise: Noise) -> None:
    toy = Toy.random(3, 3, seed=4)
    sampler = toy_sampler(toy, kind, noise=noise, predictor=predictor, steps=3, noise_removal=True)
    samples = sampler(
        toy.network(sampler.process.graph, sampler.process.parametrization), blanks([3] * 200, sampler), seed=0
    )
    assert max(int(sample.tokens.max()) for sample in samples) < 3


@pytest.mark.parametrize("predictor", ["ancestral", "first_hitting"])
def test_without_noise_removal_the_noise_that_is_left_is_sigma_min(predictor: str) -> None:
    toy = Toy.random(3, 3, seed=4)
    noise = Linear(sigma_min=0.7, sigma_max=9.0)
    sampler = toy_sampler(toy, "absorb", predictor=predictor, noise=noise, noise_removal=False, steps=8)
    samples = sampler(
        toy.network(sampler.process.graph, sampler.process.parametrization), blanks([3] * 2000, sampler), seed=0
    )
    tokens = np.stack([sample.tokens for sample in samples])
    assert abs((tokens == 3).mean() - (1 - np.exp(-0.7))) < 0.03


# What it costs, and that saving changes nothing ----------------------------------------------------------------------


def real_sampler(kind: str, *, time: bool = True, **options: object) -> tuple[Sampler, Transformer]:
    """A random network in float64, so that another batch does not round another way."""
    graph = make_graph(kind, 6)
    model = Ddit(hidden_size=16, cond_dim=4, n_blocks=1, n_heads=2, length=20, dropout=0.0, time_conditioning=time)
    torch.manual_seed(0)
    network = Transformer(model, states=graph.states, outputs=6).eval()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    process, sampling = process_of(graph, Parametrization.of(model)), Sampling.model_validate({"steps": 40, **options})
    return Sampler(process, CPU, CPU.device(), sampling, 20), network


def same(a: list[Sample], b: list[Sample]) -> bool:
    return all(np.array_equal(x.tokens, y.tokens) and x.index == y.index for x, y in zip(a, b, strict=True))


@pytest.mark.parametrize(("kind", "predictor"), EVERY)
def test_the_same_seed_gives_the_same_samples_for_any_batch_size(kind: str, predictor: str) -> None:
    lengths = [3, 20, 1, 7, 7, 12]
    runs = []
    for size in (1, 4, 64):
        sampler, network = real_sampler(kind, predictor=predictor, batch_size=size)
        runs.append(list(sampler(network, blanks(lengths, sampler), seed=5)))
    assert [len(sample.tokens) for sample in runs[0]] == lengths
    assert [sample.nfe for sample in runs[0]] == [sample.nfe for sample in runs[2]]
    assert all(same(runs[0], other) for other in runs[1:])
    assert not same(runs[0], list(sampler(network, blanks(lengths, sampler), seed=6)))


@pytest.mark.parametrize("size", [1, 3, 64])
@pytest.mark.parametrize(("kind", "predictor"), EVERY)
def test_reusing_scores_changes_no_sample(kind: str, predictor: str, size: int) -> None:
    lengths = [3, 20, 1, 7, 7, 12]
    sampler, network = real_sampler(kind, time=False, predictor=predictor, batch_size=size)
    saving = list(sampler(network, blanks(lengths, sampler), seed=5))
    spending = list(replace(sampler, reuse_scores=False)(network, blanks(lengths, sampler), seed=5))
    assert same(saving, spending)
    if kind == "absorb":  # a residue changes once; the first look costs one
        assert all(sample.nfe <= len(sample.tokens) for sample in saving)
    if predictor != "first_hitting":
        assert {sample.nfe for sample in spending} == {40}
        assert all(a.nfe <= b.nfe for a, b in zip(saving, spending, strict=True))


def test_samples_that_were_drawn_before_are_left_out_and_change_nothing() -> None:
    sampler, network = real_sampler("absorb", batch_size=4)
    lengths = blanks([5, 9, 3, 4, 8, 8, 2, 6, 11], sampler)
    whole = list(sampler(network, lengths, seed=1))
    for first in (1, 4, 6, 8):
        assert same(list(sampler(network, lengths, seed=1, first=first)), whole[first:])
    assert list(sampler(network, lengths, seed=1, first=9)) == []


@pytest.mark.parametrize(("removal", "calls"), [(True, 7), (False, 6)])
def test_each_step_costs_at_most_one_evaluation_and_noise_removal_one_more(removal: bool, calls: int) -> None:
    toy = Toy.random(3, 3)
    sampler = toy_sampler(toy, "uniform", noise=Linear(sigma_max=9.0), steps=6, noise_removal=removal)
    exact, sigmas = toy.network(sampler.process.graph, sampler.process.parametrization), []

    def network(tokens: Tensor, sigma: Tensor, mask: Tensor | None) -> Tensor:
        sigmas.append(float(sigma[0]))
        return exact(tokens, sigma, mask)

    samples = list(sampler(network, blanks([3] * 4, sampler), seed=0))
    assert len(sigmas) == calls
    assert {sample.nfe for sample in samples} == {calls}
    assert sigmas == sorted(sigmas, reverse=True)
    assert sigmas[0] == pytest.approx(9.0)


def test_256_residues_take_a_quarter_of_the_evaluations_of_1024_steps_and_less_with_two_at_a_time() -> None:
    process = process_of(make_graph("absorb", 20), Parametrization(time_conditioning=False))

    def nfe(reuse_scores: bool, **options: object) -> list[int]:
        sampler = Sampler(process, CPU, CPU.device(), Sampling.model_validate(options), 256)
        network = torch.nn.Identity()
        network.forward = lambda tokens, sigma, mask: torch.zeros(*tokens.shape, 20)  # type: ignore[assignment]
        chosen = replace(sampler, reuse_scores=reuse_scores)
        return [sample.nfe for sample in chosen(network, blanks([256, 256], sampler), seed=0)]

    assert nfe(False, predictor="euler", steps=1024) == [1024, 1024]
    assert nfe(True, predictor="first_hitting") == [256, 256]
    assert nfe(True, predictor="first_hitting", tokens_per_step=2) == [128, 128]
    assert max(nfe(True, predictor="euler", steps=1024)) <= 256


def test_nfe_is_the_number_of_evaluations_of_the_network() -> None:
    for kind, predictor in EVERY:
        sampler, network = real_sampler(kind, time=False, predictor=predictor, batch_size=2)
        evaluated = 0

        def counting(tokens: Tensor, sigma: Tensor, mask: Tensor | None, network: Transformer = network) -> Tensor:
            nonlocal evaluated
            evaluated += len(tokens)
            out: Tensor = network(tokens, sigma, mask)
            return out

        samples = list(sampler(counting, blanks([3, 20, 1, 7], sampler), seed=5))
        assert sum(sample.nfe for sample in samples) == evaluated, (kind, predictor)


def test_progress_ends_at_the_number_of_samples() -> None:
    sampler, network = real_sampler("absorb", batch_size=2)
    for predictor in ("ancestral", "first_hitting"):
        reported: list[float] = []
        chosen = replace(sampler, options=sampler.options.model_copy(update={"predictor": predictor}))
        list(chosen(network, blanks([3, 4, 5], sampler), seed=0, report=reported.append))
        assert reported == sorted(reported)
        assert reported[-1] <= 3.0


# What is refused -----------------------------------------------------------------------------------------------------


def test_a_model_that_never_saw_an_empty_sequence_refuses_to_start_from_nothing() -> None:
    toy = Toy.random(3, 3)
    sampler = toy_sampler(toy, "absorb", noise=LogLinear(sigma_max=0.5))
    with pytest.raises(SamplingError) as refused:
        sampler(toy.network(sampler.process.graph, sampler.process.parametrization), blanks([3], sampler), seed=0)
    assert refused.value.about == "sequence 1"


@pytest.mark.parametrize("length", [0, 21])
def test_impossible_lengths_are_refused(length: int) -> None:
    sampler, network = real_sampler("absorb")
    with pytest.raises(SamplingError) as refused:
        sampler(network, blanks([5, length], sampler), seed=0)
    assert refused.value.about == "sequence 2"


@pytest.mark.parametrize("tokens", [1, 3])
def test_first_hitting_evaluates_the_drawn_positions_only_and_draws_the_same(tokens: int) -> None:
    sampler, network = real_sampler("absorb", predictor="first_hitting", tokens_per_step=tokens)
    counts: list[tuple[int, ...]] = []
    network.output_layer.register_forward_hook(lambda layer, inputs, output: counts.append(tuple(output.shape[:-1])))
    templates = blanks([9, 5, 12], sampler)
    selected = list(sampler(network, templates, seed=1))
    assert counts[0] == (3 * tokens,)
    complete = list(sampler(lambda tokens, sigma, mask: network(tokens, sigma, mask), templates, seed=1))
    assert counts[-1] == (1, 12)
    assert same(selected, complete)
    assert [sample.nfe for sample in selected] == [-(-length // tokens) for length in (9, 5, 12)]


def test_first_hitting_needs_masks() -> None:
    sampler, network = real_sampler("uniform", predictor="first_hitting")
    with pytest.raises(SamplingError) as refused:
        sampler(network, blanks([5], sampler), seed=0)
    assert refused.value.about == "predictor"


def test_the_predictors_are_those_of_the_configuration() -> None:
    assert get_args(Sampling.model_fields["predictor"].annotation) == tuple(PREDICTORS)


def test_a_network_that_returns_nan_is_refused() -> None:
    sampler, network = real_sampler("absorb")
    torch.nn.init.constant_(network.output_layer.linear.bias, math.nan)
    with pytest.raises(SamplingError) as refused:
        list(sampler(network, blanks([5], sampler), seed=0))
    assert refused.value.about == "network"


def test_no_lengths_give_no_samples() -> None:
    sampler, network = real_sampler("absorb")
    assert list(sampler(network, blanks([], sampler), seed=0)) == []


# Drawing a symbol ----------------------------------------------------------------------------------------------------


def test_categorical_follows_the_weights_down_to_tiny_ones() -> None:
    weights = torch.tensor([0.5, 1e-9, 0.3, 0.0, 0.2 - 1e-9], dtype=torch.float64)
    logs = torch.log(weights).float()
    u = torch.rand(100_000, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    found = torch.bincount(categorical(logs.expand(len(u), 5) + 300.0, u), minlength=5)
    assert found[3] == 0
    assert chi_square(found, 1e5 * weights) > 1e-3
    inside = torch.tensor([0.5 + 0.5e-9], dtype=torch.float64)
    assert categorical(torch.log(weights)[None], inside).tolist() == [1]
    tiny = torch.full((100,), 1e-3).index_fill(0, torch.tensor([0]), 0.901)
    found = torch.bincount(categorical(torch.log(tiny).expand(len(u), 100) - 300.0, u), minlength=100)
    assert chi_square(found, 1e5 * tiny.double() / tiny.double().sum()) > 1e-3


def test_categorical_never_draws_what_has_no_weight() -> None:
    ends = torch.tensor([0.0, 1.0 - 2.0**-53], dtype=torch.float64)
    for weights in ([0.0, 1.0, 0.0], [0.0, 0.3, 0.0], [0.0, 7.7, 0.0]):
        logs = torch.log(torch.tensor([weights, weights]))
        assert categorical(logs, ends).tolist() == [1, 1]


def test_gumbel_noise_in_float32_draws_rare_symbols_too_rarely_and_inversion_does_not() -> None:
    """Tryptophan, 1.1 % of residues, beside staying masked, in one of 131,072 steps; exact, over all 2^24 uniforms."""
    weight = 0.011 / 131_072
    u = np.arange(2**24, dtype=np.float32) * np.float32(2.0**-24)
    with np.errstate(divide="ignore"):
        gumbel = -np.log(-np.log(u)).astype(np.float64)
    loses = np.ceil(2.0**24 * np.exp(-np.exp(-(gumbel + np.log(weight))))) / 2**24
    assert loses.mean() / (weight / (1 + weight)) < 0.75, "float32 noise draws it a quarter too rarely"
    logs = torch.log(torch.tensor([[1.0, weight]]))
    edge = torch.tensor([1.0 / (1.0 + weight)], dtype=torch.float64)  # above it are the numbers that draw it
    assert categorical(logs, edge - 1e-6 * weight).tolist() == [0]
    assert categorical(logs, edge + 1e-6 * weight).tolist() == [1]


def test_lengths_are_drawn_like_those_of_the_training_set() -> None:
    random = np.random.default_rng(0)
    data = [np.zeros(n, np.uint8) for n in random.integers(10, 60, 3000)]
    distribution = LengthDistribution.of(data, longest=50)
    lengths = distribution.draw(20_000, seed=1)
    assert (lengths.min(), lengths.max()) == (10, 50)
    assert abs(lengths.mean() - np.mean([min(len(row), 50) for row in data])) < 0.5
    assert abs((lengths == 50).mean() - 0.2) < 0.02
    assert np.array_equal(lengths, distribution.draw(20_000, seed=1))
    assert LengthDistribution.from_dict(distribution.to_dict()) == distribution
