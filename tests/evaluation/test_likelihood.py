"""The bound with its interval, parts and controls, against enumeration, counts by hand, and repeated draws."""

from __future__ import annotations

import csv
import math
from collections.abc import Callable
from dataclasses import replace
from itertools import islice

import numpy as np
import pytest
import torch

import sedd
from sedd.config.sections import Data, Residues
from sedd.data import PROTEIN, SyntheticSource, open_whole
from sedd.data.prepare.bytestream import ByteStream
from sedd.data.prepare.readers import read_fasta
from sedd.data.prepare.source_records import SourceRecord, source_records
from sedd.data.prepare.sources import find
from sedd.diffusion.graphs import make_graph
from sedd.diffusion.loss_profile import EDGES
from sedd.diffusion.parametrization import Network, Parametrization
from sedd.evaluation.controls import Shuffled, composition, count_tokens, smoothed, unigram
from sedd.evaluation.estimator import Estimator
from sedd.evaluation.intervals import half_width
from sedd.evaluation.likelihood import MASK_RATES, SequenceBound, likelihood
from sedd.evaluation.sequence_table import sequence_table
from sedd.evaluation.statistics import mask_variance, pair_variance
from tests.evaluation.test_bound import CPU, KINDS, real_case, toy_estimator
from tests.learners import Bag, compositions
from tests.toys import Toy, process_of

# The bound itself ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("masks", [1, 2, 5])
@pytest.mark.parametrize("kind", KINDS)
def test_the_bound_is_that_of_the_estimator_in_one_part_or_many(kind: str, masks: int) -> None:
    estimator, network = real_case(kind, masks=masks)
    wanted, found = estimator(network), likelihood(estimator, network).bound
    for name in ("nats", "stderr", "trained", "up_to", "up_to_stderr"):
        assert getattr(found, name) == pytest.approx(getattr(wanted, name), rel=1e-9, abs=1e-12), name
    for name in ("sequences", "residues", "cropped"):
        assert getattr(found, name) == getattr(wanted, name)
    assert found.cropped > 0
    complete = next(estimator.in_parts(network))
    parts = list(estimator.in_parts(network, size=7))
    assert len(parts) == 6
    assert np.concatenate([part.values for part in parts]) == pytest.approx(complete.values, abs=1e-5)
    assert np.array_equal(np.concatenate([part.items for part in parts]), complete.items)


@pytest.mark.parametrize("kind", KINDS)
def test_with_the_exact_model_the_bound_is_the_entropy(kind: str) -> None:
    """Sequences drawn from the toy, 100 repeats: only Monte Carlo error is between the mean and the entropy."""
    toy = Toy.random(3, 3, seed=4)
    estimator, exact = drawn_from(toy, kind, masks=4)
    entropy = float((toy.p.flatten() * toy.nll).sum()) / 3
    found = [likelihood(estimator(seed), exact, controls=False).bound.nats for seed in range(100)]
    error = np.std(found, ddof=1) / 10.0
    assert abs(np.mean(found) - entropy) < 4.0 * error
    assert error < (0.01 if kind == "absorb" else 0.05)


@pytest.mark.parametrize("kind", KINDS)
def test_the_parts_by_mask_rate_add_up_and_are_constant_for_the_uniform_predictor(kind: str) -> None:
    estimator, network = real_case(kind, masks=64)
    found = likelihood(estimator, network, controls=False)
    assert [rate.low for rate in found.rates] == list(MASK_RATES[:-1])
    assert sum(rate.part for rate in found.rates) == pytest.approx(found.bound.up_to[-1], rel=0.02)
    up_to = np.interp([rate.high for rate in found.rates], EDGES, [0.0, *found.bound.up_to])
    assert np.cumsum([rate.part for rate in found.rates]) == pytest.approx(up_to, rel=0.05)
    if kind == "absorb":
        empty = likelihood(estimator, lambda x, s, m: torch.zeros(*x.shape, 6), controls=False)
        assert [rate.nats for rate in empty.rates] == pytest.approx([math.log(6.0)] * len(empty.rates), rel=1e-5)
        assert max(rate.stderr for rate in empty.rates) < 1e-5


# Intervals ----------------------------------------------------------------------------------------------------------


def drawn_from(toy: Toy, kind: str, *, masks: int, sequences: int = 40) -> tuple[Callable[[int], Estimator], Network]:
    """Estimators over sequences that a seed draws from the toy, and the exact network."""
    base = toy_estimator(toy, kind, masks=masks)

    def estimator(seed: int) -> Estimator:
        random = np.random.default_rng((seed, 7))
        rows = random.choice(len(toy.sequences), sequences, p=toy.p.flatten().numpy())
        data = [toy.sequences[row].numpy().astype(np.uint8) for row in rows]
        return replace(base, data=data, count=sequences, batch_size=sequences, seed=seed)

    return estimator, toy.network(base.process.graph, base.process.parametrization)


def test_the_interval_covers_the_truth_in_about_95_of_100_repeats() -> None:
    toy = Toy.random(3, 3, seed=2)
    estimator, exact = drawn_from(toy, "absorb", masks=2, sequences=16)
    truth = float((toy.p.flatten() * toy.nll).sum()) / 3
    inside = 0
    for seed in range(400):
        low, high = likelihood(estimator(seed), exact, controls=False).interval
        inside += low <= truth <= high
    assert 0.92 <= inside / 400 <= 0.985  # 95 % and three standard errors of 400 repeats


def test_the_half_width_of_the_masks_matches_repeated_draws_of_masks() -> None:
    for kind, most in (("absorb", 1.25), ("uniform", 1.4)):
        estimator, network = real_case(kind, masks=4)
        items = [estimator.data[i][:20] for i in range(40)]  # nothing is cropped: seeds change the masks alone
        estimator = replace(estimator, data=items)
        found = [likelihood(replace(estimator, seed=s), network, controls=False) for s in range(40)]
        scatter = np.std([each.bound.nats for each in found], ddof=1)
        claimed = math.sqrt(np.mean([(each.half_width_masks / half_width(1.0, 40)) ** 2 for each in found]))
        assert 0.8 * scatter < claimed < most * scatter
        for each in found:
            assert each.half_width**2 == pytest.approx(each.half_width_sequences**2 + each.half_width_masks**2)


def test_the_error_of_single_sequences_matches_repeated_draws_of_masks() -> None:
    estimator, network = real_case("absorb", masks=8)
    estimator = replace(estimator, data=[np.resize(np.arange(6), 20) for _ in range(30)], count=30)
    parts = [next(replace(estimator, seed=seed).in_parts(network)) for seed in range(20)]
    scatter = np.var([part.values.mean(1) for part in parts], axis=0, ddof=1).mean()
    claimed = np.mean([mask_variance(part.values).mean() for part in parts])
    assert 0.8 * scatter < claimed < 1.3 * scatter


def test_variance_between_sequences_is_separated_from_variance_over_masks() -> None:
    """A network with a cost of 1 or 3 nats for all residues of a sequence: the masks change nothing."""
    p = torch.tensor([math.exp(-1.0), math.exp(-3.0)])
    logits = torch.log(torch.stack([p[0], p[1], 1.0 - p.sum()]))
    data = [np.full(10, number % 2) for number in range(20)]
    estimator = Estimator(
        data, process_of(make_graph("absorb", 3), Parametrization()), CPU, CPU.device(), 10, 20, 4, 20
    )
    found = likelihood(estimator, lambda x, s, m: logits.expand(*x.shape, 3), controls=False)
    assert found.bound.nats == pytest.approx(2.0, rel=1e-5)
    assert found.sd_sequences == pytest.approx(math.sqrt(20 / 19), rel=1e-4)
    assert found.sd_masks == pytest.approx(0.0, abs=1e-5)
    assert found.half_width_masks == pytest.approx(0.0, abs=1e-5)
    assert found.half_width == pytest.approx(2.093 / math.sqrt(19), rel=1e-3)  # Student's t with 19 degrees of freedom


def test_the_variance_of_a_sum_comes_from_pairs_and_of_three_from_the_three() -> None:
    random = np.random.default_rng(0)
    scales = np.array([5.0, 4.0, 1.0, 2.0, 0.5])
    values = random.normal(size=(20_000, 5)) * scales
    assert pair_variance(values).mean() == pytest.approx((scales**2).sum(), rel=0.03)
    assert pair_variance(values[:, :2]).mean() == pytest.approx((scales[:2] ** 2).sum(), rel=0.03)


def test_how_the_integrand_changes_with_the_noise_is_no_variance_of_the_masks() -> None:
    random, slope = np.random.default_rng(0), np.linspace(3.0, 0.0, 8)
    for sequences in (3, 2_000):
        values = slope + 0.1 * random.normal(size=(20_000 // sequences, sequences, 8))
        found = np.mean([mask_variance(each).mean() for each in values])
        assert found == pytest.approx(0.1**2 / 8, rel=0.05)  # of a mean over 8 masks


def test_students_t_is_right_for_few_sequences_and_there_is_none_for_two() -> None:
    for sequences, quantile in ((3, 4.303), (4, 3.182), (11, 2.228), (10_001, 1.960)):
        found = half_width(1.0, sequences) / math.sqrt(sequences / (sequences - 1))
        assert found == pytest.approx(quantile, rel=0.031)
    assert half_width(1.0, 2) == math.inf


def test_with_one_sequence_or_one_mask_unknown_numbers_are_left_out() -> None:
    estimator, network = real_case("absorb", masks=1)
    single = likelihood(estimator, network, controls=False).to_dict()
    assert "half_masks" not in single
    assert "interval" in single
    alone = likelihood(replace(estimator, data=[np.arange(6)], count=1, masks=4), network).to_dict()
    assert "interval" not in alone
    assert alone["half_masks"] > 0.0
    assert alone["controls"]["unigram"]["nats"] > 0.0


def test_a_trained_bound_is_the_exact_entropy_plus_its_gap_measured_elsewhere(tiny) -> None:
    config = tiny("training.n_iters=60", "optim.lr=1e-2", "data.synthetic.order=3", "evaluation.sequences=8")
    trainer = sedd.Trainer(config)
    for report in trainer.steps():
        if report.step == 60:
            break
    held = trainer.data.valid
    network = trainer.ema.network.eval()
    shared = (trainer.process, CPU, CPU.device(), config.model.length)
    options = config.data.synthetic.model_dump() | {"sequences": 2_000}
    other = SyntheticSource(**options, seed=0, part="elsewhere")
    many = Estimator(other, *shared, count=2_000, masks=16, batch_size=256, seed=5)
    gap = many(network).nats - other.nll()
    assert gap > 0.01
    found = likelihood(Estimator(held, *shared, count=len(held), masks=4, batch_size=64), network, controls=False)
    low, high = found.interval
    assert low <= held.entropy + gap <= high
    assert high - low < 0.1


# Controls -----------------------------------------------------------------------------------------------------------


def test_composition_excludes_the_residue_itself() -> None:
    # AAB over tokens A, B with training frequencies 3/4 and 1/4: n = 2 pseudo-counts, 3/2 of A and 1/2 of B.
    frequencies = np.array([0.75, 0.25])
    a = (1 + 1.5) / (2 + 2)  # of the other two, one is A
    b = (0 + 0.5) / (2 + 2)
    wanted = -(2 * math.log(a) + math.log(b)) / 3
    assert composition(np.array([[2, 1]]), frequencies) == pytest.approx([wanted])
    assert unigram(np.array([[2, 1]]), frequencies) == pytest.approx([-(2 * math.log(0.75) + math.log(0.25)) / 3])
    assert smoothed(np.array([5, 1])) == pytest.approx([0.75, 0.25])


def test_composition_equals_a_loop_over_residues() -> None:
    random = np.random.default_rng(0)
    frequencies = smoothed(np.array([7, 0, 2, 30]))
    rows = [random.integers(0, 4, length) for length in (1, 2, 9, 30)]
    wanted = []
    for row in rows:
        costs = []
        for i in range(len(row)):
            rest = np.bincount(np.delete(row, i), minlength=4)
            p = (rest + 4 * frequencies) / (len(row) - 1 + 4)
            assert p.sum() == pytest.approx(1.0)
            costs.append(-math.log(p[row[i]]))
        wanted.append(np.mean(costs))
    assert composition(np.array([np.bincount(row, minlength=4) for row in rows]), frequencies) == pytest.approx(wanted)


def test_the_shuffled_control_keeps_token_counts_and_crops() -> None:
    estimator, network = real_case("absorb")
    shuffled = Shuffled(estimator.data, 20, estimator.seed)
    items = estimator.chosen()
    same = [count_tokens(data, items, n=6, seed=estimator.seed, max_length=20) for data in (estimator.data, shuffled)]
    assert np.array_equal(*same)
    assert same[0].sum() == estimator(network).residues
    assert list(shuffled.lengths_at(items)) == [len(shuffled[i]) for i in items]
    long = [i for i in items if len(estimator.data[i]) > 10]
    assert any(not np.array_equal(shuffled[i], estimator.data[i][:20]) for i in long)
    assert all(np.array_equal(shuffled[i], shuffled[i]) for i in items)
    assert any(not np.array_equal(shuffled[i], Shuffled(estimator.data, 20, 1)[i]) for i in long)


def test_a_model_of_composition_is_no_better_than_on_shuffled_sequences() -> None:
    """Its bound does not depend on the order, so shuffling costs nothing, and it is below the unigram control."""
    data = [PROTEIN.encode(text) for text in compositions(60)]
    bag = Bag("absorb").eval()
    with torch.no_grad():
        bag.linear.weight[:, :20] = 2.0 * torch.eye(20)
    estimator = Estimator(
        data, process_of(make_graph("absorb", 20), Parametrization()), CPU, CPU.device(), 24, 60, 8, 60
    )
    controls = likelihood(estimator, bag).controls
    assert abs(controls["shuffled"].difference) < 4.0 * controls["shuffled"].difference_stderr
    assert controls["unigram"].difference + 4.0 * controls["unigram"].difference_stderr < 0.0
    assert controls["uniform"].nats == pytest.approx(math.log(20.0))


def test_controls_and_the_bound_are_of_the_same_residues() -> None:
    """The bound of a unigram model is the value of the unigram control."""
    estimator, _ = real_case("absorb", count=13, masks=400)
    token_counts = np.array([50, 10, 5, 5, 20, 10])
    logits = torch.from_numpy(np.log(smoothed(token_counts))).float()

    def network(tokens: torch.Tensor, sigma: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
        return logits.expand(*tokens.shape, 6)

    found = likelihood(estimator, network, token_counts=token_counts)
    assert found.controls["unigram"].difference == pytest.approx(0.0, abs=0.01)
    assert found.controls["unigram"].difference_stderr < 0.2 * found.bound.stderr
    assert likelihood(estimator, network).token_counts_source != found.token_counts_source


def test_composition_is_worth_four_hundredths_of_a_nat_on_proteins(real_data) -> None:
    records = islice(read_fasta(ByteStream(real_data / "proteins_train.fasta.gz")), 4_000)
    counts = np.array([np.bincount(PROTEIN.encode(record.sequence), minlength=20) for record in records])
    frequencies, held, residues = smoothed(counts[1::2].sum(0)), counts[::2], counts[::2].sum(1)
    worth = residues @ (unigram(held, frequencies) - composition(held, frequencies)) / residues.sum()
    assert 0.03 < worth < 0.05


# Sequence by sequence -----------------------------------------------------------------------------------------------


def bounds(estimator: Estimator, network: Network) -> list[SequenceBound]:
    rows: list[SequenceBound] = []
    likelihood(estimator, network, controls=False, on_sequences=rows.extend)
    return rows


def test_single_sequences_come_in_order_and_average_to_the_bound() -> None:
    estimator, network = real_case("absorb")
    rows = bounds(replace(estimator, count=10), network)
    assert [row.index for row in rows] == sorted(row.index for row in rows)
    assert len(rows) == 10
    mean = sum(row.nats * row.residues for row in rows) / sum(row.residues for row in rows)
    assert mean == pytest.approx(replace(estimator, count=10)(network).nats)
    assert rows[0].bits == pytest.approx(rows[0].nats / math.log(2.0))
    assert rows[0].perplexity == pytest.approx(math.exp(rows[0].nats))


FASTA = ">one some words\nMKVL\n>two\nAC\nDE\n>bad\nM1K\n>three\nMKVLXXACDEF\n>\nGGGG\n>tiny\nM\n>last\nWWYY\n"


@pytest.mark.parametrize("policy", ["drop", "split"])
def test_records_follow_the_order_of_the_store(tmp_path, policy: str) -> None:
    path = tmp_path / "some.fasta"
    path.write_text(FASTA)
    data = Data(train=str(path), residues=Residues(ambiguous=policy))
    records = list(source_records(find(path), data, PROTEIN))
    split = 2 * (policy == "split")
    assert [record.sequences for record in records] == [1, 1, 0, split, 1, 0, 1]
    names = [name for record in records for name in record.names()]
    assert names == ["one", "two", *["three/1", "three/2"][:split], f"sequence_{3 + split}", "last"]
    assert [bool(record.remark) for record in records] == [False, False, True, True, False, True, False]
    assert "'1'" in records[2].remark
    assert len(open_whole(data, str(path), PROTEIN)) == len(names)


def test_the_table_has_names_and_remarks_and_a_file_that_changed_is_an_error(tmp_path) -> None:
    rows = [SequenceBound(1, 10, 2.0, 0.1), SequenceBound(3, 5, 1.0, math.nan)]
    records = [SourceRecord("a", 1), SourceRecord("x", 0, "short"), SourceRecord("b", 1, "gaps"), SourceRecord("c", 2)]
    with sequence_table(tmp_path / "deep" / "some.csv", iter([*records, records[1]]), lambda i: [f"at {i}"]) as write:
        write(rows)
    read = list(csv.DictReader((tmp_path / "deep" / "some.csv").read_text().splitlines()))
    assert [(row["id"], row["remark"]) for row in read] == [
        ("x", "dropped: short"), ("b", "gaps; at 1"), ("c/2", "at 3"), ("x", "dropped: short"),
    ]  # fmt: skip
    assert [(row["nats"], row["stderr"]) for row in read] == [("", ""), ("2", "0.1"), ("1", ""), ("", "")]
    with sequence_table(tmp_path / "some.csv", None) as write:
        write(rows)
    assert [row["id"] for row in csv.DictReader((tmp_path / "some.csv").read_text().splitlines())] == ["2", "4"]
    with sequence_table(tmp_path / "some.csv", iter(records[:3])) as write, pytest.raises(sedd.DataError):
        write(rows)
