"""Infilling draws from the conditional distribution, and never changes fixed residues."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

import sedd
from sedd.config.sections import Sampling
from sedd.data import ESM, PROTEIN, text_alphabet
from sedd.diffusion.graphs import make_graph
from sedd.diffusion.parametrization import Parametrization
from sedd.errors import DataError, SamplingError
from sedd.plugins.backends import Cpu
from sedd.plugins.contracts import Noise
from sedd.plugins.noises import LogLinear
from sedd.sampling.levels import check_template, max_drawn_share, noise_levels, start_mask_rates
from sedd.sampling.sampler import Sampler
from sedd.sampling.templates import parse_sequence, parse_template, read_templates
from tests.conftest import TINY
from tests.laws import distance, law, sweep_law
from tests.toys import Toy, chi_square, counts, process_of

KINDS = ("absorb", "uniform")
TOY = Toy.random(3, 3, seed=4, contrast=1.5)
DRAW = 3


@dataclass(frozen=True)
class Copies:
    """The same template many times."""

    template: tuple[int, ...]
    count: int

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> np.ndarray:
        return np.array(self.template)


def conditional(template: tuple[int, ...]) -> Tensor:
    """p(x | the fixed residues), (n^L,)."""
    p = TOY.p.double().clone()
    for position, value in enumerate(template):
        if value != DRAW:
            other = [index for index in range(TOY.n) if index != value]
            p.index_fill_(position, torch.tensor(other), 0.0)
    return (p / p.sum()).flatten()


def toy_sampler(kind: str, *, noise: Noise | None = None, **options: object) -> Sampler:
    sampling = Sampling.model_validate({"steps": 60, "batch_size": 10_000, **options})
    schedule = LogLinear(sigma_max=9.0) if noise is None else noise
    process = process_of(make_graph(kind, 3), Parametrization(time_conditioning=kind == "uniform"), schedule)
    return Sampler(process, Cpu(precision="float32"), torch.device("cpu"), sampling, 3)


def filled(
    kind: str, template: tuple[int, ...], count: int, *, noise: Noise | None = None, **options: object
) -> Tensor:
    sampler = toy_sampler(kind, noise=noise, **options)
    samples = sampler(
        TOY.network(sampler.process.graph, sampler.process.parametrization), Copies(template, count), seed=0
    )
    return counts(torch.from_numpy(np.stack([sample.tokens for sample in samples])), 3)


TEMPLATES = [(DRAW, 1, DRAW), (0, DRAW, 1), (2, DRAW, DRAW), (DRAW, DRAW, 0)]


# What is drawn -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("draws", [5_000, pytest.param(50_000, marks=pytest.mark.long)])
@pytest.mark.parametrize("template", TEMPLATES)
def test_first_hitting_fills_in_from_the_exact_conditional(template: tuple[int, ...], draws: int) -> None:
    found = filled("absorb", template, draws, predictor="first_hitting")
    assert chi_square(found, draws * conditional(template)) > 1e-3
    assert chi_square(found, draws * TOY.p.flatten()) < 1e-3


@pytest.mark.parametrize("predictor", ["euler", "analytic", "ancestral"])
@pytest.mark.parametrize("template", [TEMPLATES[0], TEMPLATES[2]])
def test_the_law_of_infilling_by_steps_tends_to_the_conditional_of_absorb(
    template: tuple[int, ...], predictor: str
) -> None:
    laws = [law(toy_sampler("absorb", predictor=predictor, steps=steps), TOY, template) for steps in (50, 100, 200)]
    errors = [distance(each, conditional(template)) for each in laws]
    assert errors[2] < 0.004
    for more, less in pairwise(errors):
        assert 1.8 < more / less < 2.2


@pytest.mark.parametrize("template", TEMPLATES)
def test_the_law_of_infilling_by_sweeps_tends_to_the_conditional_of_uniform(template: tuple[int, ...]) -> None:
    sampler, truth = toy_sampler("uniform"), conditional(template)
    now, sweep = law(sampler, TOY, template), sweep_law(sampler, TOY, template)
    assert float(now.sum()) == pytest.approx(1.0)
    errors = [distance(now, truth)]
    for _ in range(12):
        now = now @ sweep
        errors.append(distance(now, truth))
    assert errors[0] > 0.05, "without sweeps it is an approximation"
    # Each sweep takes a fixed share of the error away; what is left in the end is the noise of the sweeps.
    assert all(less < 0.72 * more for more, less in pairwise(errors) if more > 2e-3)
    assert errors[-1] < 4e-4


@pytest.mark.parametrize("predictor", ["euler", "analytic", "ancestral"])
def test_steps_fill_in_from_the_conditional_of_absorb(predictor: str) -> None:
    for template in TEMPLATES[:2]:
        found = filled("absorb", template, 3_000, predictor=predictor, steps=100)
        assert chi_square(found, 3_000 * conditional(template)) > 1e-3


@pytest.mark.parametrize(
    "template", [*TEMPLATES[:1], *(pytest.param(t, marks=pytest.mark.long) for t in TEMPLATES[1:])]
)
def test_uniform_comes_to_the_conditional_by_sweeps(template: tuple[int, ...]) -> None:
    truth = conditional(template)

    def distance(sweeps: int, count: int) -> float:
        return float((filled("uniform", template, count, sweeps=sweeps) / count - truth).abs().sum() / 2)

    assert distance(0, 5_000) > 0.025, "without sweeps it is an approximation"
    assert distance(2, 10_000) < 0.03
    assert chi_square(filled("uniform", template, 10_000, sweeps=8), 10_000 * truth) > 1e-3


def test_a_model_whose_noise_stops_early_fills_in_exactly_within_its_reach() -> None:
    noise = LogLinear(sigma_max=0.5)
    for predictor in ("first_hitting", "ancestral"):
        found = filled("absorb", (0, DRAW, 1), 5_000, noise=noise, predictor=predictor)
        assert chi_square(found, 5_000 * conditional((0, DRAW, 1))) > 1e-3
    with pytest.raises(SamplingError) as refused:
        filled("absorb", (DRAW, DRAW, 1), 10, noise=noise)
    assert refused.value.about == "sequence 1"


def test_steps_start_at_the_noise_at_which_as_many_residues_are_masked_as_are_drawn() -> None:
    noise = LogLinear(sigma_min=1e-4, sigma_max=6.9)
    levels = noise_levels(noise, torch.tensor([0.25, 0.5], dtype=torch.float64), steps=4, removal=True)
    assert levels.shape == (2, 6)
    assert torch.allclose(-torch.expm1(-levels[:, 0]), torch.tensor([0.25, 0.5], dtype=torch.float64))
    assert levels[:, -1].tolist() == [0.0, 0.0]
    assert (levels.diff(dim=1) < 0).all()


@pytest.mark.parametrize(("graph", "expected"), [("absorb", [0.25, 1.0 - math.exp(-2.0)]), ("uniform", [0.864665] * 2)])
def test_sampling_starts_at_the_share_to_draw_but_not_beyond_the_noise_of_the_model(graph, expected) -> None:
    process = process_of(make_graph(graph, 4), Parametrization(), LogLinear(sigma_max=2.0))
    rates = start_mask_rates(process, torch.tensor([2, 8]), torch.tensor([8, 8]))
    assert rates.tolist() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("sigma_max", [0.05, 0.5, 2.0, 6.9])
def test_a_model_draws_up_to_its_largest_mask_rate_and_not_one_residue_more(sigma_max: float) -> None:
    noise = LogLinear(sigma_max=sigma_max)
    process = process_of(make_graph("absorb", 20), Parametrization(), noise)
    most = math.floor(100 * max_drawn_share(noise))
    assert most == (100 if sigma_max == 6.9 else math.floor(100 * (1 - math.exp(-sigma_max))))

    def template(hidden: int) -> np.ndarray:
        return np.array([20] * hidden + [0] * (100 - hidden))

    check_template(template(most), "x", process=process, max_length=100)
    if most < 100:
        with pytest.raises(SamplingError) as refused:
            check_template(template(most + 1), "x", process=process, max_length=100)
        assert refused.value.about == "x"


# Fixed residues stay -------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, sedd.Pretrained]:
    """A barely trained model of each graph."""
    loaded = {}
    for kind in KINDS:
        config = sedd.load_config("quickstart", *TINY, f"graph.type={kind}", "sampling.sweeps=1")
        path = tmp_path_factory.mktemp("runs") / kind
        sedd.Trainer(config, run=path).fit(progress=False)
        loaded[kind] = sedd.load(path, device="cpu")
    return loaded


TEXTS = st.text(alphabet="ACDEFGHIKLMNPQRSTVWY_?.", min_size=1, max_size=16).filter(lambda text: set(text) & set("_?."))


@settings(max_examples=25, deadline=None)
@given(templates=st.lists(TEXTS, min_size=1, max_size=4), kind=st.sampled_from(KINDS), seed=st.integers(0, 99))
def test_fixed_residues_never_change(
    models: dict[str, sedd.Pretrained], templates: list[str], kind: str, seed: int
) -> None:
    predictors = ("euler", "analytic", "ancestral", *(("first_hitting",) if kind == "absorb" else ()))
    for predictor in predictors:
        made = models[kind].infill(
            templates,
            num_samples=2,
            seed=seed,
            predictor=predictor,
            constraint=lambda tokens, to_draw: torch.zeros_like(tokens),  # a constraint that replaces everything
        )
        assert len(made) == 2 * len(templates)
        for text, template in zip(made, [each for each in templates for _ in range(2)], strict=True):
            assert len(text) == len(template)
            assert all(new == old for new, old in zip(text, template, strict=True) if old not in "_?.")
        plain = models[kind].infill(templates, seed=seed, predictor=predictor)
        for text, template in zip(plain, templates, strict=True):
            assert all(new == old for new, old in zip(text, template, strict=True) if old not in "_?.")
            assert "_" not in text


@pytest.mark.parametrize("kind", KINDS)
def test_a_redesign_draws_its_share_and_another_one_for_each_sample(
    models: dict[str, sedd.Pretrained], kind: str
) -> None:
    sequence = "ACDEFGHIKL"
    made = models[kind].redesign([sequence, "MKV"], share=0.3, num_samples=20, seed=1, temperature=50.0)
    assert len(made) == 40
    changed = [[a != b for a, b in zip(text, sequence, strict=True)] for text in made[:20]]
    assert max(map(sum, changed)) == 3
    assert len({tuple(row) for row in changed}) > 5
    assert all(sum(a != b for a, b in zip(text, "MKV", strict=True)) <= 1 for text in made[20:])
    assert made == models[kind].redesign(
        [sequence, "MKV"], share=0.3, num_samples=20, seed=1, temperature=50.0, batch_size=3
    )


@pytest.mark.parametrize("kind", KINDS)
def test_a_constraint_holds_for_all_drawn_residues(models: dict[str, sedd.Pretrained], kind: str) -> None:
    model = models[kind]
    cysteine, alanine = PROTEIN.encode("CA").tolist()

    def without_cysteine(tokens: Tensor, to_draw: Tensor) -> Tensor:
        assert tokens.shape == to_draw.shape
        assert to_draw.dtype == torch.bool
        return torch.where(to_draw & (tokens == cysteine), alanine, tokens)

    made = model.infill(["C" + "_" * 12 + "C"], num_samples=30, seed=0, constraint=without_cysteine)
    assert {text[0] + text[-1] for text in made} == {"CC"}
    assert not any("C" in text[1:-1] for text in made)
    assert not any("C" in text for text in model.sample(30, length=12, constraint=without_cysteine))
    assert any("C" in text for text in model.sample(30, length=12))


def test_a_constraint_that_masks_everything_again_ends_in_an_error(models: dict[str, sedd.Pretrained]) -> None:
    with pytest.raises(SamplingError) as refused:
        models["absorb"].sample(
            1, length=4, predictor="first_hitting", constraint=lambda tokens, to_draw: torch.full_like(tokens, 20)
        )
    assert refused.value.about == "constraint"


@pytest.mark.parametrize(
    "constraint",
    [
        lambda tokens, to_draw: None,
        lambda tokens, to_draw: tokens[:, 1:],
        lambda tokens, to_draw: tokens.float(),
        lambda tokens, to_draw: tokens + 100,
    ],
    ids=["no tensor", "another shape", "no integers", "no ids"],
)
def test_a_constraint_that_returns_something_else_is_refused(
    models: dict[str, sedd.Pretrained], constraint: object
) -> None:
    with pytest.raises(SamplingError) as refused:
        models["absorb"].sample(2, length=5, constraint=constraint)  # type: ignore[arg-type]
    assert refused.value.about == "constraint"


# Templates -----------------------------------------------------------------------------------------------------------


def test_every_mark_is_read_and_lower_case_is_a_letter() -> None:
    m, k, a, c = PROTEIN.encode("MKAC").tolist()
    assert parse_template("MK_?.<mask>aC", PROTEIN, "x").tolist() == [m, k, 20, 20, 20, 20, a, c]
    assert parse_template("___", PROTEIN, "x").tolist() == [20, 20, 20]
    assert parse_sequence("mkac", PROTEIN, "x").tolist() == [m, k, a, c]


def test_a_symbol_of_the_alphabet_is_no_mark() -> None:
    assert parse_template("L._", ESM, "x").tolist() == [4, 29, 32]
    text = text_alphabet("ab?. ")
    assert parse_template("a?._", text, "x").tolist() == [*text.encode("a?."), text.n]


@pytest.mark.parametrize("template", ["", "MKAC"])
def test_a_template_with_nothing_to_draw_is_refused(template: str) -> None:
    with pytest.raises(SamplingError) as refused:
        parse_template(template, PROTEIN, "x")
    assert refused.value.about == "x"


@pytest.mark.parametrize(
    ("template", "symbol", "position"), [("MK_JA", "J", 4), ("MK_*", "*", 4), ("<mask>A1", "1", 8)]
)
def test_an_unknown_symbol_is_refused_with_its_position(template: str, symbol: str, position: int) -> None:
    with pytest.raises(DataError, match=rf"x: {re.escape(repr(symbol))}.* {position} "):
        parse_template(template, PROTEIN, "x")


def test_templates_are_read_from_fasta(tmp_path) -> None:
    file = tmp_path / "templates.fasta"
    file.write_text(">one first\nMK__\nAC?\n>two\n<mask>A..\n")
    assert read_templates(file, PROTEIN) == [("one", "MK__AC?"), ("two", "<mask>A..")]
    lines = tmp_path / "templates.txt"
    lines.write_text("the _____ sat\n\n_ b\n")
    assert read_templates(lines, text_alphabet("abehst ")) == [("line-1", "the _____ sat"), ("line-3", "_ b")]
    for content in ("", "\n"):
        file.write_text(content)
        with pytest.raises(DataError):
            read_templates(file, PROTEIN)


def test_what_cannot_be_drawn_is_refused_by_name(models: dict[str, sedd.Pretrained]) -> None:
    model = models["absorb"]
    requests: dict[str, Callable[[], object]] = {
        "template 2": lambda: model.infill(["A_", "_" * 25]),
        "templates": lambda: model.infill([]),
        "num_samples": lambda: model.infill(["A_"], num_samples=0),
        "share": lambda: model.redesign(["ACD"], share=1.5),
        "sequence 1": lambda: model.redesign(["A_D"]),
        "temperature": lambda: model.sample(1, length=4, temperature=-1.0),
        "predictor": lambda: model.sample(1, length=4, predictor="eular"),
        "count": lambda: model.sample(-1),
    }
    for about, request in requests.items():
        with pytest.raises(SamplingError) as refused:
            request()
        assert refused.value.about == about
    with pytest.raises(SamplingError):
        model.infill("MK__")  # type: ignore[arg-type]
