"""Variant scores against toys that can be enumerated, and errors of mutation files."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

import sedd
from sedd.data import ESM, PROTEIN, Alphabet
from sedd.diffusion.parametrization import Network
from sedd.evaluation.estimator import Estimator
from sedd.evaluation.mutations import Mutation, all_singles, parse, read_mutations, read_wild_types, wild_type
from sedd.evaluation.notation import NotScoredError
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
def test_the_log_odds_of_one_position_are_the_exact_conditional_ones(kind: str, head: str) -> None:
    toy, estimator, exact = world(kind, head)
    for score in scored(estimator, exact, *SINGLE, bound=False):
        # One residue differs, so the conditional odds are the odds of the complete sequences.
        assert score.log_odds == pytest.approx(log_ratio(toy, parse(score.mutation, WILD, ABC)), abs=1e-4)
        assert score.bound_difference is None
        assert score.stderr is None


def test_the_masked_marginal_of_several_positions_is_the_sum_of_their_marginals() -> None:
    toy, estimator, exact = world("absorb")
    (score,) = scored(estimator, exact, "A1B:C3A", bound=False)
    unmasked = toy.p[:, 1, :]  # the second residue is not masked
    first, third = unmasked.sum(1), unmasked.sum(0)
    wanted = math.log(first[1] / first[0]) + math.log(third[0] / third[2])
    assert score.log_odds == pytest.approx(wanted, abs=1e-4)
    (everything,) = scored(estimator, exact, "A1B:B2A:C3A", bound=False)
    marginals = toy.p.sum((1, 2)), toy.p.sum((0, 2)), toy.p.sum((0, 1))
    changes = ((0, 1), (1, 0), (2, 0))
    wanted = sum(math.log(p[new] / p[old]) for p, (old, new) in zip(marginals, changes, strict=True))
    assert everything.log_odds == pytest.approx(wanted, abs=1e-4)


@pytest.mark.parametrize("head", HEADS)
def test_the_score_ratios_of_several_positions_add_up_to_the_log_ratio_of_the_sequences(head: str) -> None:
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


def test_the_standard_error_of_a_bound_difference_matches_the_spread_over_seeds() -> None:
    _, estimator, exact = world("absorb", masks=16)
    found = [scored(replace(estimator, seed=seed), exact, *SINGLE) for seed in range(60)]
    differences = np.array([[score.bound_difference for score in row] for row in found])
    claimed = np.array([[score.stderr for score in row] for row in found])
    ratio = np.sqrt((claimed**2).mean(0)) / differences.std(0, ddof=1)
    assert (ratio > 0.75).all()
    assert (ratio < 1.4).all()


@pytest.mark.parametrize("kind", KINDS)
def test_shared_noise_makes_the_difference_more_precise_than_that_of_two_bounds(kind: str) -> None:
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


def test_a_mutation_to_the_wild_type_residue_scores_zero() -> None:
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


def test_with_a_single_mask_there_is_no_standard_error() -> None:
    _, estimator, exact = world("absorb", masks=1)
    assert scored(estimator, exact, "A1B")[0].stderr is None


def test_a_trained_model_scores_variants(tiny, tmp_path) -> None:
    for graph in KINDS:
        sedd.Trainer(tiny(f"graph.type={graph}"), run=tmp_path / graph).fit(progress=False)
        model = sedd.load(tmp_path / graph, device="cpu")
        found = model.score_variants("MKVLAAGIVG", ["M1A", "K2R:V3I"], masks=4)
        assert all(math.isfinite(score.log_odds) and math.isfinite(score.bound_difference) for score in found)
        assert model.score_variants("MKVLAAGIVG", ["M1A", "K2R:V3I"], masks=4) == found
        with pytest.raises(sedd.DataError):
            model.score_variants("M" * 25, ["M1A"])


def test_scores_are_not_rounded_to_bfloat16(tiny, tmp_path) -> None:
    sedd.Trainer(tiny(), run=tmp_path / "run").fit(progress=False)
    model = sedd.load(tmp_path / "run", device="cpu")
    coarse = replace(model, backend=Cpu(precision="bfloat16"))
    wild, mutations = "MKVLAAGIVG", ["M1A", "K2R", "V3I"]
    assert coarse.score_variants(wild, mutations, masks=2) == model.score_variants(wild, mutations, masks=2)
    assert coarse.nelbo([wild], masks=2) != model.nelbo([wild], masks=2)  # bfloat16 does change the bound


# Notation and files --------------------------------------------------------------------------------------------------


def test_mutations_are_read_from_1_and_kept_in_order_of_position() -> None:
    found = parse("C3B:A1B", WILD, ABC)
    assert (found.positions, found.tokens) == ((0, 2), (1, 1))
    assert list(found.applied(WILD)) == [1, 1, 1]
    assert list(WILD) == [0, 1, 2]


WRONG = ["B1A", "A4B", "A0B", "A1Z", "Z1A", "A1", "", "A1B:A1C", "A1B/B2C"]


@pytest.mark.parametrize("text", WRONG)
def test_a_mutation_that_does_not_fit_is_an_error_that_quotes_it(text: str) -> None:
    with pytest.raises(sedd.DataError) as raised:
        parse(text, WILD, ABC)
    assert text in str(raised.value)


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("p.Met1Ala", "M1A"),
        ("p.(Met1Ala)", "M1A"),
        ("Met1Ala", "M1A"),
        ("p.M1A", "M1A"),
        ("NP_000001.1:p.Met1Ala", "M1A"),
        ("p.[Met1Ala;Lys2Arg]", "M1A:K2R"),
        ("p.[(Met1Ala;Lys2Arg)]", "M1A:K2R"),
        ("M1A;K2R", "M1A:K2R"),
        ("p.Met1=", "M1M"),
        *((name, None) for name in ("_wt", "WT", "p.=", "p.(=)", "_sy", "wild type")),
    ],
)
def test_hgvs_and_wild_types_are_read(text: str, wanted: str | None) -> None:
    wild = PROTEIN.encode("MKVL")
    found = parse(text, wild, PROTEIN)
    assert found.text == text
    expected = ((), ()) if wanted is None else (lambda one: (one.positions, one.tokens))(parse(wanted, wild, PROTEIN))
    assert (found.positions, found.tokens) == expected


@pytest.mark.parametrize(
    "text",
    ["p.Met1Ter", "M1*", "p.Met1*", "p.Lys2del", "p.Lys2_Val3del", "p.Lys2fs", "p.Lys2_Val3insAla", "p.?", "p.0"],
)
def test_what_is_no_substitution_has_no_score_and_says_why(tmp_path: Path, text: str) -> None:
    wild = {"one": PROTEIN.encode("MKVL")}
    with pytest.raises(NotScoredError):
        parse(text, wild["one"], PROTEIN)
    (tmp_path / "some.csv").write_text(f"{text}\nM1A\n")
    first, second = read_mutations(tmp_path / "some.csv", wild, PROTEIN)
    assert first.mutation is None
    assert first.remark
    assert second.mutation is not None


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("bound", [True, False])
def test_the_wild_type_scores_zero_among_others(kind: str, bound: bool) -> None:
    _, estimator, network = world(kind)
    found = [score.log_odds for score in scored(estimator, network, "_wt", "A1B", "p.=", bound=bound)]
    assert (found[0], found[2]) == (0.0, 0.0)
    assert found[1] == scored(estimator, network, "A1B", bound=bound)[0].log_odds != 0.0


def test_all_single_changes_are_those_of_every_position() -> None:
    rows = list(all_singles("x", ESM.encode("MKX"), ESM))
    assert len(rows) == len({row.text for row in rows}) == 19 + 19 + 20
    assert rows[0].text == "M1A"


def test_a_wild_type_residue_that_differs_is_named_with_its_position() -> None:
    with pytest.raises(sedd.DataError, match="residue 1 of the wild type is A, not B"):
        parse("B1A", WILD, ABC)


def files(tmp_path: Path, fasta: str, table: str) -> list[tuple[str, str]]:
    (tmp_path / "wild.fasta").write_text(fasta)
    (tmp_path / "some.csv").write_text(table)
    wild = read_wild_types(tmp_path / "wild.fasta", PROTEIN, 20)
    return [(row.name, row.text) for row in read_mutations(tmp_path / "some.csv", wild, PROTEIN)]


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
        (TWO, "\ufeffmutant;id;score\nL3V;two;0,1\n", [("two", "L3V")]),
        (ONE, "# MaveDB\naccession,hgvs_nt,hgvs_pro\nx#1,c.1A>G,p.Met1Ala\n", [("one", "p.Met1Ala")]),
        (ONE, "M1A;K2R\n_wt\np.=\n", [("one", "M1A;K2R"), ("one", "_wt"), ("one", "p.=")]),
    ],
)
def test_mutations_come_with_and_without_a_header(tmp_path, fasta: str, table: str, wanted) -> None:
    assert files(tmp_path, fasta, table) == wanted


BROKEN = [
    (ONE, "M1A\nA2K\n", "some.csv:2: A2K"),
    (ONE, "M1A\nM1B\n", "some.csv:2: M1B"),
    (ONE, "M1A\nL40A\n", "some.csv:2: L40A"),
    (ONE, "M1A\nK2R\nM1A\n", "some.csv:3: M1A"),
    (ONE, "", "some.csv:"),
    (ONE, "mutation\n", "some.csv:"),
    (ONE, "score,note\n1,M1A\n", "some.csv:1:"),
    (ONE, "id,mutation\none\n", "some.csv:2:"),
    (TWO, "M1A\n", "some.csv:1:"),
    (TWO, "id,mutation\ntow,M1A\n", "some.csv:2:"),
    (ONE + ONE, "M1A\n", "wild.fasta:3:"),
    (">long\n" + "M" * 21 + "\n", "M1A\n", "wild.fasta:1: long"),
    (">odd\nMXK\n", "M1A\n", "wild.fasta:1: odd"),
    (">none\n>one\nMK\n", "id,mutation\none,M1A\n", "wild.fasta:1: none"),
    ("", "M1A\n", "wild.fasta:1:"),
]


@pytest.mark.parametrize(("fasta", "table", "start"), BROKEN)
def test_a_broken_file_is_an_error_with_its_file_and_line(tmp_path, fasta: str, table: str, start: str) -> None:
    with pytest.raises(sedd.DataError) as raised:
        files(tmp_path, fasta, table)
    assert str(raised.value).startswith(f"{tmp_path / start}")


def test_an_id_that_the_fasta_lacks_gets_the_nearest_one_as_a_suggestion(tmp_path) -> None:
    with pytest.raises(sedd.DataError, match=r"'tow'; did you mean 'two'\?"):
        files(tmp_path, TWO, "id,mutation\ntow,M1A\n")


def test_a_missing_file_is_named(tmp_path) -> None:
    with pytest.raises(sedd.DataError) as raised:
        read_mutations(tmp_path / "nowhere.csv", {}, PROTEIN)
    assert str(raised.value).startswith(str(tmp_path / "nowhere.csv"))
