"""Sample quality: each metric on cases known by hand, the comparisons, the command, and samples during training."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from rich.console import Console
from typer.testing import CliRunner

import sedd
from sedd import cli
from sedd.data import ESM, PROTEIN, open_data, text_alphabet
from sedd.errors import DataError, SeddError
from sedd.evaluation.quality import Quality, TrainingIndex, judge
from sedd.evaluation.quality.alignment import identity
from sedd.evaluation.quality.complexity import (
    CLASSES,
    EXTENSION_BITS,
    TRIGGER_BITS,
    class_share,
    low_complexity,
    repeats,
    window_bits,
)
from sedd.evaluation.quality.distances import KmerDivergence, LengthDistance
from sedd.evaluation.quality.diversity import CompositionSpread, PairDistance, uniqueness
from sedd.evaluation.quality.packed import PackedSequences
from sedd.evaluation.quality.statistic import Statistic, bootstrap_weights, mean
from sedd.evaluation.quality.table import quality_table
from sedd.report.quality_plot import quality_figure
from sedd.training.samples import SamplesAtSteps, due

LETTERS = "".join(PROTEIN.symbols)


def packed(*sequences: str) -> PackedSequences:
    return PackedSequences.of([PROTEIN.encode(text) for text in sequences], PROTEIN)


def value(statistic: Statistic, count: int) -> float:
    return float(statistic(np.ones((1, count)))[0])


def proteins(count: int, *, seed: int = 0, letters: str = LETTERS, length: int = 60) -> list[str]:
    random = np.random.default_rng(seed)
    rows = (random.integers(len(letters), size=random.integers(length // 2, length)) for _ in range(count))
    return ["".join(letters[i] for i in row) for row in rows]


# The metrics ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("here", "there", "k", "nats"),
    [
        ("AAAA", "CCCC", 1, math.log(2)),
        ("ACDE", "EDCA", 1, 0.0),
        ("ACDE", "EDCA", 2, math.log(2)),
        ("AAAA", "ACAC", 1, 0.5 * math.log(4 / 3) + 0.25 * math.log(2 / 3) + 0.25 * math.log(2)),
        ("ACACA", "ACACACACA", 2, 0.0),
        ("AC", "ACDACD", 3, math.log(2)),
    ],
)
def test_a_divergence_equals_the_value_by_hand(here, there, k, nats):
    assert value(KmerDivergence(packed(here), packed(there), k), 1) == pytest.approx(nats, abs=1e-12)


def test_kmers_do_not_reach_into_the_next_sequence():
    codes, owner = packed("AC", "CA", "D", "EFG").kmers(2)
    assert [PROTEIN.decode(divmod(code, PROTEIN.n)) for code in codes.tolist()] == ["AC", "CA", "EF", "FG"]
    assert owner.tolist() == [0, 1, 3, 3]


def test_blockwise_counting_under_weights_equals_counting_row_by_row(monkeypatch):
    sequences, reference = packed(*proteins(50)), packed(*proteins(50, seed=1))
    weights = bootstrap_weights(50, 5, seed=0, which="x")
    fast = KmerDivergence(sequences, reference, 2)(weights)
    monkeypatch.setattr("sedd.evaluation.quality.distances.CELLS", 1_000)  # blocks of a few sequences
    blocks = KmerDivergence(sequences, reference, 2)(weights)
    monkeypatch.setattr("sedd.evaluation.quality.distances.MOST_KINDS", 0)
    slow = KmerDivergence(sequences, reference, 2)(weights)
    assert fast == pytest.approx(slow, abs=1e-12)
    assert blocks == pytest.approx(slow, abs=1e-12)


def test_a_weight_of_two_is_a_sequence_given_twice():
    once, reference = packed("ACDEF", "WWYV"), packed("ACWWF", "MKL")
    twice = packed("ACDEF", "WWYV", "WWYV")
    weights = np.array([[1.0, 2.0]])
    for metric in (lambda s: KmerDivergence(s, reference, 2), lambda s: LengthDistance(s, reference)):
        assert float(metric(once)(weights)[0]) == pytest.approx(value(metric(twice), 3))


@pytest.mark.parametrize(
    ("here", "there", "distance"),
    [
        (["AA", "CC"], ["AAAA", "AAAA"], 0.5),
        (["A", "ACD"], ["AC", "AC"], 0.5),
        (["ACD", "AC"], ["WY", "WYV"], 0.0),
        (["AC"], ["AC", "ACDEFG"], 0.5),
    ],
)
def test_a_length_distance_equals_the_value_by_hand(here, there, distance):
    assert value(LengthDistance(packed(*here), packed(*there)), len(here)) == pytest.approx(distance)


def test_a_window_has_the_entropy_of_its_residues():
    bits = window_bits(packed("A" * 13, "ACACACACACAC", LETTERS[:12], "A" * 11))
    finite = np.flatnonzero(np.isfinite(bits))
    assert finite.tolist() == [0, 1, 13, 25]
    assert bits[finite] == pytest.approx([0.0, 0.0, 1.0, math.log2(12)], abs=1e-12)


def test_low_complexity_marks_monotonous_stretches_alone():
    assert low_complexity(packed("A" * 20)).all()
    assert not low_complexity(packed(LETTERS, "A" * 11)).any()
    assert not low_complexity(packed("A" * 6, "A" * 6)).any(), "a window reached over the end of a sequence"
    inside = low_complexity(packed(LETTERS + "Q" * 15 + LETTERS))
    assert inside[20:35].all()
    assert not inside[:10].any()


def test_low_complexity_equals_a_loop_over_windows():
    rows = [*proteins(30, letters="ACDE"), *proteins(30, letters="ACDEFG", seed=1), *proteins(30, seed=2)]
    found = low_complexity(packed(*rows))
    expected = np.concatenate([slow_low_complexity(text) for text in rows])
    assert expected.any()
    assert not expected.all()
    assert (found == expected).all()


def slow_low_complexity(text: str) -> np.ndarray:
    marked = np.zeros(len(text), bool)
    windows = [text[i : i + 12] for i in range(len(text) - 11)]
    bits = [-sum(w.count(a) / 12 * math.log2(w.count(a) / 12) for a in set(w)) for w in windows]
    first = 0
    while first < len(bits):
        last = first
        while last < len(bits) and bits[last] <= EXTENSION_BITS:
            last += 1
        if any(each <= TRIGGER_BITS for each in bits[first:last]):
            marked[first : last + 11] = True
        first = last + 1
    return marked


@pytest.mark.parametrize(
    ("text", "marked"),
    [
        ("CAAAAD", ".xxxx."),
        ("CAAAD", "....."),
        ("MACACACW", ".xxxxxx."),
        ("MACACAW", "......."),
        ("ACDACDACD", "xxxxxxxxx"),
        ("ACDACDAC", "........"),
        ("WACDEACDEACDEW", ".xxxxxxxxxxxx."),
        ("ACDEACDEACD", "..........."),
    ],
)
def test_repeats_are_runs_of_four_and_three_copies(text, marked):
    assert "".join("x" if each else "." for each in repeats(packed(text))) == marked


def test_repeats_do_not_reach_into_the_next_sequence():
    assert not repeats(packed("AA", "AA", "ACA", "CAC")).any()


def test_uniqueness_counts_the_second_of_two_equal_sequences():
    assert value(uniqueness(packed("AC", "AC", "CA", "AC")), 4) == 0.5


@pytest.mark.parametrize(
    ("sequences", "distance"),
    [(["ACDE", "ACDE"], 0.0), (["AAAA", "CCCC"], 1.0), (["ACDE", "ACDF"], 2 / 3), (["ACD"], 0.0), (["AC", "D"], 0.0)],
)
def test_diversity_is_one_less_the_shared_part_of_all_kmers(sequences, distance):
    assert value(PairDistance(packed(*sequences)), len(sequences)) == pytest.approx(distance)


def test_drawing_a_sequence_twice_makes_no_pair_of_equal_sequences():
    assert float(PairDistance(packed("AAAA", "CCCC", "DDDD"))(np.array([[2.0, 1.0, 0.0]]))[0]) == 1.0


def test_classes_of_residues_are_shares_of_residues():
    shares = {name: value(class_share(packed("DEKR", "FW", "GG"), letters), 3) for name, letters in CLASSES.items()}
    assert shares == pytest.approx({"hydrophobic": 0.25, "polar": 0.0, "charged": 0.5, "aromatic": 0.25})


def test_composition_spread_is_the_mutual_information_of_token_and_sequence():
    assert value(CompositionSpread(packed("AAAA", "CCCC")), 2) == pytest.approx(math.log(2))
    assert value(CompositionSpread(packed("ACAC", "CACACA")), 2) == pytest.approx(0.0, abs=1e-12)
    three_to_one = -0.75 * math.log(0.75) - 0.25 * math.log(0.25)
    assert value(CompositionSpread(packed("AAA", "C")), 2) == pytest.approx(three_to_one)
    natural = packed(*proteins(30))
    assert value(CompositionSpread(natural), 30) == value(CompositionSpread(natural.shuffled()), 30)


def test_samples_that_lose_to_shuffled_sequences_get_a_note_with_the_metrics():
    random = np.random.default_rng(0)
    drawn = (random.choice(list(LETTERS), 100, p=random.dirichlet(np.full(20, 0.4))) for _ in range(200))
    held = ["".join(sorted(row)) for row in drawn]
    samples = proteins(100, seed=1, length=120)  # all of the same composition
    found = judge(samples, held)
    assert found.row("low_complexity").against_shuffled == "loses"
    assert any("low complexity" in note for note in found.notes)


def test_shuffling_keeps_composition_and_lengths_alone():
    before = packed(*proteins(20))
    after = before.shuffled(seed=3)
    assert (before.offsets == after.offsets).all()
    assert all(sorted(before.row(i)) == sorted(after.row(i)) for i in range(20))
    assert (before.tokens != after.tokens).mean() > 0.8


def test_the_bootstrap_finds_the_standard_error_of_a_mean():
    values = np.random.default_rng(0).normal(size=400)
    drawn = mean(values)(bootstrap_weights(400, 2_000, seed=0, which="x"))
    assert drawn[0] == pytest.approx(values.mean())
    assert np.std(drawn[1:]) == pytest.approx(values.std() / 20, rel=0.1)


# Novelty -------------------------------------------------------------------------------------------------------------


def index_of(*sequences: str) -> TrainingIndex:
    return TrainingIndex.of([PROTEIN.encode(text) for text in sequences], PROTEIN)


def test_copies_and_pieces_of_training_sequences_have_no_novelty():
    near = index_of("ACDEFGHIKL", "MNPQRSTVWY").nearest(packed("MNPQRSTVWY", "CDEFGHI", "WWWWWWWW", "AC", "GHIKLMNPQR"))
    assert near.shares == pytest.approx([1.0, 1.0, 0.0, 0.0, 1 / 6])
    assert near.exact.tolist() == [True, False, False, False, False]


def test_the_nearest_neighbour_equals_that_of_an_exhaustive_search():
    training, queries = proteins(40, letters="ACD"), proteins(20, letters="ACD", seed=1)
    near = index_of(*training).nearest(packed(*queries))

    def kmers(text: str) -> set[str]:
        return {text[i : i + 5] for i in range(len(text) - 4)}

    slow = [max(len(kmers(q) & kmers(t)) for t in training) / len(kmers(q)) for q in queries]
    assert near.shares == pytest.approx(slow)


def test_the_size_of_the_index_is_limited_and_a_note_gives_it():
    index = TrainingIndex.of([PROTEIN.encode(text) for text in proteins(30)], PROTEIN, most=10)
    assert (index.searched, index.total, len(index.sequences)) == (10, 30, 10)
    found = judge(proteins(20, seed=1), proteins(40, seed=2), training=index)
    assert any("10 of 30" in note for note in found.notes)


def test_an_index_of_a_large_alphabet_does_not_overflow():
    wide = sedd.Alphabet("wide", tuple(chr(0x4E00 + i) for i in range(20_000)))
    rows = [np.arange(start, start + 30) for start in (0, 5_000, 19_970)]
    near = TrainingIndex.of(rows, wide).nearest(PackedSequences.of([rows[2], rows[2] - 100], wide))
    assert near.shares.tolist() == [1.0, 0.0]


def test_identity_is_that_of_the_alignment():
    pytest.importorskip("Bio", reason="the extra `align` is not installed")
    index = index_of(LETTERS * 2, "MKVLAAGIVGLLLAQWERTY")
    sequences = packed("MKVLAAGIVGLLLAQWERTY", "MKVLAAGIVCLLLAQWERTY")
    assert value(identity(sequences, index.nearest(sequences), index), 2) == pytest.approx(39 / 40)


def test_without_biopython_aligning_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "Bio.Align", None)
    with pytest.raises(SeddError, match=r"\[align\]"):
        judge(proteins(20), proteins(40, seed=1), training=index_of("ACDEFGH"), align=True)


# Comparisons ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def natural(real_data: Path) -> list[np.ndarray]:
    options = sedd.load_config("small", f"data.train={real_data / 'uniref_10k.fasta.gz'}").data
    data = open_data(options, seed=0).train
    return [np.asarray(data[int(i)]) for i in np.random.default_rng(0).permutation(len(data))[:2_500]]


def test_natural_sequences_equal_natural_ones_and_shuffled_ones_do_not(natural):
    held, rest = natural[:400], natural[400:]
    found = judge(held, rest)
    telling = {row.name for row in found.rows if row.differ}
    assert {"2mer_divergence", "3mer_divergence", "low_complexity", "repeats"} <= telling
    assert all(found.row(name).against_shuffled == "beats" for name in telling)
    assert sum(row.against_held_out == "loses" for row in found.rows) <= 1, "5 % of intervals miss"

    shuffled = PackedSequences.of(held, PROTEIN).shuffled(seed=5)
    found = judge([shuffled.row(i) for i in range(400)], rest)
    for name in ("2mer_divergence", "3mer_divergence", "low_complexity", "repeats"):
        assert found.row(name).against_held_out == "loses"
        assert found.row(name).against_shuffled == "cannot tell"
    assert found.row("letter_divergence").against_held_out == "cannot tell"


def test_copies_of_training_sequences_are_flagged():
    training = proteins(60)
    found = judge(training[:30], proteins(60, seed=1), training=index_of(*training))
    assert found.row("novelty").samples == 0.0
    assert found.row("copies").samples == 1.0
    assert found.row("copies").against_held_out == "loses"
    assert any(f"{found.samples} of {found.samples}" in note for note in found.notes)
    assert any("repeats its training set" in note for note in found.notes)


def test_sequences_of_one_letter_are_caught():
    found = judge(["A" * length for length in range(30, 60)], proteins(90, seed=1))
    assert found.row("low_complexity").samples == 1.0
    assert found.row("repeats").samples == 1.0
    for name in ("low_complexity", "repeats", "letter_divergence", "3mer_divergence", "diversity"):
        assert found.row(name).against_held_out == "loses", name


def test_with_few_sequences_no_difference_is_significant():
    found = judge(["WWWWWWWW"] * 3, proteins(6))
    assert {row.against_held_out for row in found.rows} == {"cannot tell"}
    assert found.notes


def test_the_same_seed_gives_the_same_numbers():
    training, samples, held = index_of(*proteins(30)), proteins(40, seed=1), proteins(80, seed=2)
    first, again, other = (judge(samples, held, training=training, seed=seed).to_dict() for seed in (0, 0, 1))
    assert first == again
    assert first != other


def test_samples_and_held_out_half_have_about_as_many_residues():
    found = judge(proteins(300, length=20), proteins(100, seed=1, length=200))
    assert found.held_out_residues <= 1.02 * found.samples_residues
    found = judge(proteins(300, length=60), proteins(100, seed=1, length=60))
    assert found.samples_residues <= 1.02 * found.held_out_residues
    assert any(f"{found.samples} of 300" in note for note in found.notes)


def test_natural_sequences_are_cut_to_what_the_model_can_make():
    found = judge(proteins(40, length=20), proteins(80, seed=1, length=200), longest=20)
    assert found.held_out_residues / found.held_out <= 20


def test_text_has_no_residue_classes_and_a_note_says_so():
    alphabet = text_alphabet("abcdefgh \n")
    random = np.random.default_rng(0)
    rows = [random.integers(10, size=50) for _ in range(80)]
    found = judge(rows[:30], rows[30:], alphabet=alphabet, training=TrainingIndex.of(rows[50:], alphabet))
    assert {"low_complexity", "repeats", "hydrophobic"}.isdisjoint(row.name for row in found.rows)
    assert any("text" in note for note in found.notes)


def test_names_of_several_characters_are_single_tokens():
    found = PackedSequences.drawn(["AC<cls>D"], ESM, most=1)
    assert ESM.decode(found.tokens) == "AC<cls>D"
    assert found.residues == 4


@pytest.mark.parametrize(
    ("samples", "held", "named"),
    [
        ([], ["AC", "CA"], "samples"),
        (["AC"], ["AC"], "1 natural"),
        (["AC", "AXC"], ["AC", "CA"], "sequence 2: 'X'"),
        (["AC", ""], ["AC", "CA"], "sequence 2"),
        ([np.array([1, 20])], ["AC", "CA"], "sequence 1"),
    ],
)
def test_an_error_names_the_sequence_that_cannot_be_judged(samples, held, named):
    with pytest.raises(DataError, match=named):
        judge(samples, held)


@settings(max_examples=40, deadline=None)
@given(
    samples=st.lists(st.text(LETTERS[:5], min_size=1, max_size=30), min_size=1, max_size=12),
    held=st.lists(st.text(LETTERS, min_size=1, max_size=30), min_size=2, max_size=12),
    training=st.lists(st.text(LETTERS[:6], min_size=1, max_size=30), min_size=1, max_size=5),
)
def test_every_number_is_finite_and_in_range(samples, held, training):
    found = judge(samples, held, training=index_of(*training), draws=5)
    for row in found.rows:
        for number in (row.samples, row.held_out, row.shuffled):
            top = {"nats": math.log(20), "share": 1.0 + 1e-9, "of the mean length": 30.0}[row.unit]
            assert 0.0 <= number <= top, row
        assert all(math.isfinite(half) for half in (row.samples_half, row.held_out_half, row.shuffled_half))
    json.dumps(found.to_dict(), allow_nan=False)


# Output --------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def outcome() -> Quality:
    training = TrainingIndex.of([PROTEIN.encode(text) for text in proteins(50)], PROTEIN)
    return judge(proteins(40, seed=1), proteins(80, seed=2), training=training)


def test_the_table_has_every_metric_and_fits_100_columns(outcome):
    console = Console(width=200, record=True, file=None, quiet=False)
    with console.capture() as captured:
        console.print(quality_table(outcome))
    lines = [line.rstrip() for line in captured.get().splitlines()]
    assert max(map(len, lines)) <= 100
    assert all(any(row.title in line for line in lines) for row in outcome.rows)


def test_the_picture_has_a_panel_for_every_metric(outcome, tmp_path):
    pytest.importorskip("matplotlib")
    figure = quality_figure(outcome)
    titles = [axes.get_title(loc="left") for axes in figure.axes if axes.get_visible()]
    assert [title.rpartition(", ")[0] for title in titles] == [row.title for row in outcome.rows]
    figure.savefig(tmp_path / "quality.png")
    assert (tmp_path / "quality.png").stat().st_size > 10_000


def test_without_matplotlib_a_picture_is_an_error_of_sedd(outcome, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(SeddError):
        quality_figure(outcome)


def fasta(file: Path, sequences: list[str]) -> Path:
    file.write_text("".join(f">s{i}\n{text}\n" for i, text in enumerate(sequences)))
    return file


def sedd_(*arguments: object) -> str:
    result = CliRunner().invoke(cli.app, [str(each) for each in arguments], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


def test_the_command_judges_a_fasta(tmp_path):
    samples, held = fasta(tmp_path / "s.fasta", proteins(30)), fasta(tmp_path / "h.fasta", proteins(80, seed=1))
    printed = sedd_("quality", samples, "--reference", held)
    for words in ("3-mer divergence", "vs shuffled", "novelty is left out"):
        assert words in printed
    found = json.loads(sedd_("quality", samples, "--reference", held, "--train", samples, "--json"))
    assert {row["name"]: row["samples"] for row in found["rows"]}["novelty"] == 0.0


def test_samples_that_are_dropped_are_said_and_those_of_the_alphabet_of_esm_are_read(tmp_path):
    samples = proteins(12)
    (tmp_path / "s.fasta").write_text("".join(f">s{i}\n{text}X\n" for i, text in enumerate(samples)) + ">bad\nM1K\n")
    command = ["quality", tmp_path / "s.fasta", "--reference", fasta(tmp_path / "h.fasta", [*proteins(20), "mkv"])]
    printed = sedd_(*command)
    assert "13 read, 12 kept, 1 dropped" in printed
    assert "lower case read as upper case" in printed
    found = json.loads(sedd_(*command, "--json"))["input"]
    assert found["samples"]["dropped"]["illegal"][0] == 1
    assert found["reference"]["repaired"]["lowercase"][0] == 1


@pytest.mark.parametrize(
    ("text", "words"),
    [(">a\nA1D\n>b\nACJ\n", "'1'"), ("", "s.fasta"), (">a\n", "no residues")],
)
def test_an_error_in_a_file_of_samples_names_the_record(tmp_path, text, words):
    (tmp_path / "s.fasta").write_text(text)
    held = fasta(tmp_path / "h.fasta", proteins(10))
    with pytest.raises(DataError, match=words):
        sedd_("quality", tmp_path / "s.fasta", "--reference", held)


def test_a_file_of_samples_needs_natural_sequences(tmp_path):
    with pytest.raises(DataError):
        sedd_("quality", fasta(tmp_path / "s.fasta", proteins(10)))
    with pytest.raises(DataError):
        sedd_("quality", tmp_path / "nothing", "--reference", tmp_path / "s.fasta")


def test_the_command_samples_from_a_run_and_draws(tiny, tmp_path):
    pytest.importorskip("matplotlib")
    sedd.Trainer(tiny(), run=tmp_path / "run").fit(progress=False)
    arguments = ("quality", tmp_path / "run", "--samples", 12, "--device", "cpu", "--json")
    found = json.loads(sedd_(*arguments, "--plot", tmp_path / "deep" / "q.png"))
    assert found["samples"] <= 12
    assert found["training"] == 200
    assert (tmp_path / "deep" / "q.png").exists()
    assert json.loads(sedd_(*arguments)) == found


# During training -----------------------------------------------------------------------------------------------------

Tiny = Callable[..., sedd.Config]
OFTEN = ("sampling.at_steps=[3]", "sampling.every=4", "sampling.count=12")
CLOCKS = {"seconds", "residues_per_second"}


def curve(run: Path, *kinds: str) -> list[dict[str, object]]:
    lines = map(json.loads, (run / "metrics.jsonl").read_text().splitlines())
    return [{key: line[key] for key in line if key not in CLOCKS} for line in lines if line["kind"] in kinds]


def test_samples_do_not_change_the_training_curve(tiny: Tiny, tmp_path):
    for name, options in (("with", OFTEN), ("without", ("sampling.at_steps=[]",))):
        sedd.Trainer(tiny("model.dropout=0.1", *options), run=tmp_path / name).fit(progress=False)
    assert curve(tmp_path / "with", "train", "bound") == curve(tmp_path / "without", "train", "bound")
    assert [line["step"] for line in curve(tmp_path / "with", "samples")] == [3, 4, 8]
    written = sorted((tmp_path / "with" / "samples").iterdir())
    assert [file.name for file in written] == [f"step-0000000{step}.fasta" for step in (3, 4, 8)]
    assert all(file.read_text().count(">") == 12 for file in written)
    assert not (tmp_path / "without" / "samples").exists()


def test_a_resumed_run_writes_no_samples_twice(tiny: Tiny, tmp_path):
    config = tiny(*OFTEN, "checkpoint.every=2")
    sedd.Trainer(config, run=tmp_path / "whole").fit(progress=False)
    trainer = sedd.Trainer(config, run=tmp_path / "halves")
    original = SamplesAtSteps.__call__

    def killed(self: SamplesAtSteps, report: sedd.StepReport) -> list[dict[str, object]]:
        lines = original(self, report)
        if report.step == 4:  # samples of step 4 are written, its lines and its checkpoint are not
            raise KeyboardInterrupt
        return lines

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(SamplesAtSteps, "__call__", killed)
        with pytest.raises(KeyboardInterrupt):
            trainer.fit(progress=False)
    sedd.Trainer(config, run=tmp_path / "halves", resume=True).fit(progress=False)
    assert curve(tmp_path / "halves", "samples") == curve(tmp_path / "whole", "samples")
    sedd.Trainer(config, run=tmp_path / "halves", resume=True).fit(progress=False)
    assert len(curve(tmp_path / "halves", "samples")) == 3


@pytest.mark.filterwarnings("ignore::sedd.SeddWarning")
def test_a_model_that_cannot_sample_unconditionally_warns_once_and_trains(tiny: Tiny, tmp_path):
    messages: list[str] = []
    trainer = sedd.Trainer(tiny(*OFTEN, "noise.sigma_max=0.5"), run=tmp_path / "run")
    samples = SamplesAtSteps(trainer, messages.append)
    assert [samples(report) for report in trainer.steps()] == [[]] * 8
    assert len(messages) == 1
    assert "noise.sigma_max" in messages[0]
    assert not (tmp_path / "run").exists()


def test_held_out_sequences_that_are_too_few_do_not_end_a_run(tiny: Tiny, tmp_path):
    rows = [[i, i + 1, i + 2] for i in range(10)]
    counts = np.bincount(np.concatenate(rows[1:]), minlength=20)
    train, valid = ([np.array(row) for row in part] for part in (rows[1:], rows[:1]))
    data = sedd.Dataset(train, valid, PROTEIN, counts, None, "")
    sedd.Trainer(tiny(*OFTEN), data=data, run=tmp_path / "run").fit(progress=False)
    assert curve(tmp_path / "run", "samples") == []
    assert len(list((tmp_path / "run" / "samples").iterdir())) == 3


def test_samples_come_at_the_steps_that_are_named_and_at_every_so_many():
    options = sedd.load_config("quickstart", "sampling.at_steps=[3]", "sampling.every=5").sampling
    assert [step for step in range(1, 12) if due(options, step)] == [3, 5, 10]


def test_training_keeps_the_samples_that_fit_wrote_at_the_last_step(tmp_path):
    from tests.conftest import TINY

    sedd_("train", "quickstart", *TINY, "sampling.at_steps=[8]", "sampling.count=12", "--run", tmp_path / "run")
    assert (tmp_path / "run" / "samples" / "step-00000008.fasta").read_text().count(">") == 12


def test_every_number_of_a_line_of_samples_is_documented(tiny: Tiny, tmp_path):
    sedd.Trainer(tiny(*OFTEN), run=tmp_path / "run").fit(progress=False)
    page = (Path(__file__).parents[2] / "docs/reference/files.md").read_text(encoding="utf-8")
    lines = curve(tmp_path / "run", "samples")
    names = {name.removesuffix("_held_out").removesuffix("_shuffled") for name in lines[0]} - {"kind", "step"}
    assert '"kind": "samples"' in page
    assert sorted(name for name in names if f"`{name}`" not in page) == []
    rest = {"kind", "quality"}
    assert all(isinstance(value, int | float) for line in lines for key, value in line.items() if key not in rest)


def test_a_line_of_samples_carries_the_whole_outcome_and_trackers_get_its_numbers(tiny: Tiny, tmp_path):
    sedd.Trainer(tiny(*OFTEN, "trackers=[{type: csv}]"), run=tmp_path / "run").fit(progress=False)
    line = curve(tmp_path / "run", "samples")[-1]
    found = Quality.from_dict(line["quality"])
    assert json.loads(json.dumps(found.to_dict())) == line["quality"]
    assert found.numbers() == {key: line[key] for key in found.numbers()}
    tracked = (tmp_path / "run" / "metrics.csv").read_text()
    assert f"8,samples_repeats_held_out,{found.row('repeats').held_out}" in tracked
    assert "quality" not in tracked
    with pytest.raises(ValidationError):
        Quality.from_dict({"samples": 3})
