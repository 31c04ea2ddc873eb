"""Variant scores against toys that can be enumerated, and every way in which a mutations file can be wrong."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

import sedd
from sedd.data import PROTEIN, Alphabet
from sedd.diffusion.parametrization import Network
from sedd.evaluation.estimator import Estimator
from sedd.evaluation.mutations import Mutation, parse, read_mutations, read_wild_types, wild_type
from sedd.evaluation.variants import VariantScore, scores
from sedd.plugins.backends import Cpu
from sedd.plugins.noises import Linear
from tests.evaluation.test_bound import HEADS, KINDS, real_case, toy_estimator
from tests.toys import Toy, mean_and_error

ABC = Alphabet("toy", ("A", "B", "C"))
WILD = wild_type("ABC", ABC, 3)
SINGLE = ("A1C", "A1B", "B2A", "C3B", "C3A")
SEVERAL = ("C3B:A1B", "A1B,B2C,C3A")


def world(kind: str, head: str = "normalised", *, masks: int = 4) -> tuple[Toy, Estimator, Network]:
    toy = Toy.random(3, 3, seed=5)
    estimator = replace(toy_estimator(toy, kind, head=head, masks=masks), data=[WILD], count=1, batch_size=4)
    return toy, estimator, toy.network(estimator.process.graph, estimator.process.parametrization)


def scored(estimator: Estimator, network: Network, *texts: str, bound: bool = True) -> list[VariantScore]:
    return list(scores(estimator, network, WILD, [parse(text, WILD, ABC) for text in texts], bound=bound))


def log_ratio(toy: Toy, mutation: Mutation) -> float:
    """log p(mutant) - log p(wild type)."""
    return float(torch.log(toy.p[tuple(mutation.applied(WILD))]) - torch.log(toy.p[tuple(WILD)]))


# Scores --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("kind", KINDS)
def test_of_one_position_the_log_odds_are_the_exact_conditional_ones(kind: str, head: str) -> None:
    toy, estimator, exact = world(kind, head)
    for score in scored(estimator, exact, *SINGLE, bound=False):
        # With the rest given, the conditional odds are those of the whole sequences.
        assert score.log_odds == pytest.approx(log_ratio(toy, parse(score.mutation, WILD, ABC)), abs=1e-4)
        assert score.bound_difference is None
        assert score.stderr is None


def test_of_several_positions_the_masked_marginal_adds_up_what_the_rest_says_of_each() -> None:
    toy, estimator, exact = world("absorb")
    (score,) = scored(estimator, exact, "A1B:C3A", bound=False)
    given = toy.p[:, 1, :]  # the second residue is not masked
    first, third = given.sum(1), given.sum(0)
    wanted = math.log(first[1] / first[0]) + math.log(third[0] / third[2])
    assert score.log_odds == pytest.approx(wanted, abs=1e-4)
    (everything,) = scored(estimator, exact, "A1B:B2A:C3A", bound=False)
    marginals = toy.p.sum((1, 2)), toy.p.sum((0, 2)), toy.p.sum((0, 1))
    changes = ((0, 1), (1, 0), (2, 0))
    wanted = sum(math.log(each[new] / each[old]) for each, (old, new) in zip(marginals, changes, strict=True))
    assert everything.log_odds == pytest.approx(wanted, abs=1e-4)


@pytest.mark.parametrize("head", HEADS)
def test_of_several_positions_the_score_ratios_add_up_to_the_whole_log_ratio(head: str) -> None:
    toy, estimator, exact = world("uniform", head)
    for score in scored(estimator, exact, *SEVERAL, bound=False):
        assert score.log_odds == pytest.approx(log_ratio(toy, parse(score.mutation, WILD, ABC)), abs=1e-4)


@pytest.mark.parametrize(("kind", "masks", "least"), [("absorb", 32, 0.08), ("uniform", 32, 0.5)])
def test_with_the_exact_model_the_bound_difference_is_the_log_likelihood_ratio(
    kind: str, masks: int, least: float
) -> None:
    toy, estimator, exact = world(kind, masks=masks)
    texts = ("A1C", "C3B:A1B")
    found = [scored(replace(estimator, seed=seed), exact, *texts) for seed in range(16)]
    for place, text in enumerate(texts):
        mean, error = mean_and_error(lambda seed, place=place: found[seed][place].bound_difference, len(found))
        assert abs(mean - log_ratio(toy, parse(text, WILD, ABC))) < 4.0 * error
        assert error < least


def test_the_error_of_a_bound_difference_is_what_other_seeds_show() -> None:
    _, estimator, exact = world("absorb", masks=16)
    found = [scored(replace(estimator, seed=seed), exact, *SINGLE) for seed in range(60)]
    differences = np.array([[score.bound_difference for score in row] for row in found])
    claimed = np.array([[score.stderr for score in row] for row in found])
    ratio = np.sqrt((claimed**2).mean(0)) / differences.std(0, ddof=1)
    assert (ratio > 0.75).all()
    assert (ratio < 1.4).all()


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_masks_make_the_difference_sharper_than_two_bounds(kind: str) -> None:
    estimator, network = real_case(kind, masks=8)
    wild = np.arange(18) % 6
    estimator = replace(estimator, data=[wild], count=1)
    mutant = Mutation("A1C", (0,), (2,))
    paired = [next(scores(replace(estimator, seed=s), network, wild, [mutant])).bound_difference for s in range(40)]

    def nats(tokens: np.ndarray, seed: int) -> float:
        return len(wild) * replace(estimator, data=[tokens], seed=seed)(network).nats

    apart = [nats(wild, seed) - nats(mutant.applied(wild), 1000 + seed) for seed in range(40)]
    assert np.std(paired) < 0.7 * np.std(apart)
    assert np.mean(paired) == pytest.approx(np.mean(apart), abs=4.0 * np.std(apart) / np.sqrt(40))


@pytest.mark.parametrize("kind", KINDS)
def test_the_batch_size_and_the_other_variants_change_nothing(kind: str) -> None:
    _, estimator, exact = world(kind)
    together = scored(estimator, exact, *SINGLE, *SEVERAL)
    assert [score.mutation for score in together] == [*SINGLE, *SEVERAL]
    for size in (1, 3, 100):
        again = scored(replace(estimator, batch_size=size), exact, *SINGLE, *SEVERAL)
        for one, other in zip(together, again, strict=True):
            assert vars(one) == pytest.approx(vars(other), abs=1e-5)


def test_a_mutation_to_the_same_letter_scores_nothing() -> None:
    _, estimator, exact = world("absorb")
    assert scored(estimator, exact, "A1A") == [VariantScore("A1A", 0.0, 0.0, 0.0)]


def test_variants_at_the_same_positions_share_one_evaluation_of_the_masked_sequence() -> None:
    _, estimator, exact = world("absorb")
    rows = []

    def network(tokens: torch.Tensor, sigma: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
        rows.append(len(tokens))
        return exact(tokens, sigma, mask)

    scored(estimator, network, "A1B", "A1C", "B2A", bound=False)
    assert sum(rows) == 2


def test_the_network_is_conditioned_on_the_noise_of_the_mask_count_and_for_uniform_on_its_least_noise() -> None:
    conditioned: list[float] = []
    for kind in KINDS:
        _, estimator, exact = world(kind)
        estimator = replace(estimator, process=replace(estimator.process, noise=Linear(sigma_min=0.2, sigma_max=0.9)))

        def network(
            tokens: torch.Tensor, sigma: torch.Tensor, mask: torch.Tensor | None, exact: Network = exact
        ) -> torch.Tensor:
            conditioned.extend(sigma.tolist())
            return exact(tokens, sigma, mask)

        scored(estimator, network, "A1B", bound=False)
        scored(estimator, network, "A1B:B2A", bound=False)
    # One mask of three; two of three are more than it was trained on. Then once, and along a path of two.
    assert conditioned == pytest.approx([-math.log(2 / 3), 0.9, 0.2, 0.2, 0.2])


def test_a_single_mask_has_no_error() -> None:
    _, estimator, exact = world("absorb", masks=1)
    assert scored(estimator, exact, "A1B")[0].stderr is None


def test_a_trained_model_scores_variants(tiny, tmp_path) -> None:
    for graph in KINDS:
        sedd.Trainer(tiny(f"graph.type={graph}"), run=tmp_path / graph).fit(progress=False)
        model = sedd.load(tmp_path / graph, device="cpu")
        found = model.score_variants("MKVLAAGIVG", ["M1A", "K2R:V3I"], masks=4)
        assert all(math.isfinite(score.log_odds) and math.isfinite(score.bound_difference) for score in found)
        assert model.score_variants("MKVLAAGIVG", ["M1A", "K2R:V3I"], masks=4) == found
        with pytest.raises(sedd.DataError, match="cut out a part of at most 24"):
            model.score_variants("M" * 25, ["M1A"])


def test_scores_are_not_rounded_to_bfloat16(tiny, tmp_path) -> None:
    sedd.Trainer(tiny(), run=tmp_path / "run").fit(progress=False)
    model = sedd.load(tmp_path / "run", device="cpu")
    coarse = replace(model, backend=Cpu(precision="bfloat16"))
    wild, mutations = "MKVLAAGIVG", ["M1A", "K2R", "V3I"]
    assert coarse.score_variants(wild, mutations, masks=2) == model.score_variants(wild, mutations, masks=2)
    assert coarse.nelbo([wild], masks=2) != model.nelbo([wild], masks=2)  # so that there was something to round


# What people write -----------------------------------------------------------------------------------------------


def test_mutations_are_read_from_1_and_kept_in_order_of_position() -> None:
    found = parse("C3B:A1B", WILD, ABC)
    assert (found.positions, found.letters) == ((0, 2), (1, 1))
    assert list(found.applied(WILD)) == [1, 1, 1]
    assert list(WILD) == [0, 1, 2]


WRONG = [
    ("B1A", "residue 1 of the wild type is A, not B"),
    ("A4B", "position 4 is outside the wild type, which has residues 1 to 3"),
    ("A0B", "position 0 is outside"),
    ("A1Z", "'Z' is no letter of the model's alphabet 'toy': ABC"),
    ("Z1A", "'Z' is no letter"),
    ("A1", "expected a mutation such as A42G"),
    ("", "expected a mutation such as A42G"),
    ("A1B:A1C", "names position 1 twice"),
    ("A1B;B2C", "expected a mutation such as A42G"),
]


@pytest.mark.parametrize(("text", "words"), WRONG)
def test_a_mutation_that_does_not_fit_is_explained(text: str, words: str) -> None:
    with pytest.raises(sedd.DataError, match=words):
        parse(text, WILD, ABC)


def files(tmp_path: Path, fasta: str, table: str) -> list[tuple[str, str]]:
    (tmp_path / "wild.fasta").write_text(fasta)
    (tmp_path / "some.csv").write_text(table)
    wild = read_wild_types(tmp_path / "wild.fasta", PROTEIN, 20)
    return [(row.name, row.mutation.text) for row in read_mutations(tmp_path / "some.csv", wild, PROTEIN)]


ONE, TWO = ">one words\nMKVL\n", ">one\nMKVL\n>two\nmkll*\n"


@pytest.mark.parametrize(
    ("fasta", "table", "wanted"),
    [
        (ONE, "M1A\n\nK2R:V3I\n", [("one", "M1A"), ("one", "K2R:V3I")]),
        (ONE, 'M1A\n"K2R,V3I"\n', [("one", "M1A"), ("one", "K2R,V3I")]),
        (ONE, "K2R,V3I\n", [("one", "K2R,V3I")]),
        (ONE, "mutant,DMS_score\nM1A,0.3\n", [("one", "M1A")]),
        (TWO, "id,mutation\none,M1A\ntwo,M1A\n", [("one", "M1A"), ("two", "M1A")]),
        (TWO, "mutation\tid\nL3V\ttwo\n", [("two", "L3V")]),
    ],
)
def test_mutations_come_with_and_without_a_header(tmp_path, fasta: str, table: str, wanted) -> None:
    assert files(tmp_path, fasta, table) == wanted


BROKEN = [
    (ONE, "M1A\nA2K\n", r"some.csv:2: A2K: residue 2 of the wild type is K, not A"),
    (ONE, "M1A\nM1B\n", r"some.csv:2: M1B: 'B' is no letter of the model's alphabet 'protein'"),
    (ONE, "M1A\nL40A\n", r"some.csv:2: L40A: position 40 is outside"),
    (ONE, "M1A\nK2R\nM1A\n", r"some.csv:3: M1A of one is on line 1 already"),
    (ONE, "", r"some.csv: there are no mutations in it"),
    (ONE, "mutation\n", r"some.csv: there are no mutations in it"),
    (ONE, "score,note\n1,M1A\n", r"some.csv:1: neither a mutation such as A42G nor a header"),
    (ONE, "id,mutation\none\n", r"some.csv:2: the line has 1 columns, fewer than the header"),
    (TWO, "M1A\n", r"some.csv:1: there are 2 wild types; add a column `id`"),
    (TWO, "id,mutation\ntow,M1A\n", r"some.csv:2: the FASTA has no sequence 'tow'; did you mean 'two'\?"),
    (ONE + ONE, "M1A\n", r"wild.fasta:3: a second sequence 'one'"),
    (
        ">long\n" + "M" * 21 + "\n",
        "M1A\n",
        r"wild.fasta:1: long: the wild type has 21 residues, .* takes 20 .* cut out",
    ),
    (">odd\nMXK\n", "M1A\n", r"wild.fasta:1: odd: residue 2 of the wild type is 'X', no letter"),
    (">none\n>one\nMK\n", "id,mutation\none,M1A\n", r"wild.fasta:1: none: the wild type has no residues"),
    ("", "M1A\n", r"wild.fasta:1: the file is empty"),
]


@pytest.mark.parametrize(("fasta", "table", "words"), BROKEN)
def test_a_broken_file_is_explained_with_its_line(tmp_path, fasta: str, table: str, words: str) -> None:
    with pytest.raises(sedd.DataError, match=words):
        files(tmp_path, fasta, table)


def test_a_file_that_is_not_there_is_named(tmp_path) -> None:
    with pytest.raises(sedd.DataError, match=r"nowhere\.csv: cannot be read"):
        read_mutations(tmp_path / "nowhere.csv", {}, PROTEIN)
