from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from sedd.data import STRATA, Batches, Cursor, GlobalBatch, Permutation, load
from sedd.data.prepare.options import PrepareOptions
from sedd.data.prepare.preparing import prepare
from sedd.errors import DataError

START = Cursor()


@dataclass
class Lengths:
    """Sequences of which only the lengths matter."""

    lengths: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.lengths)

    def __getitem__(self, index: int, /) -> NDArray[np.uint8]:
        return np.full(self.lengths[index], index % 20, dtype=np.uint8)


def protein_like(n: int) -> Lengths:
    """Lengths like those of UniRef50: log-normal with median 250, cut at 1022."""
    drawn = np.random.default_rng(0).lognormal(np.log(250), 0.75, size=n)
    return Lengths(np.clip(drawn, 30, 1022).astype(np.int64))


def key(batch: GlobalBatch) -> tuple[list[int], list[int], list[int]]:
    return batch.samples.tolist(), batch.indices.tolist(), batch.lengths.tolist()


def stream(batches: Batches, cursor: Cursor = START) -> Iterator[tuple[GlobalBatch, Cursor]]:
    """Batches from `cursor` on, for ever, each with the cursor of the next one."""
    while True:
        batch, cursor = batches.at(cursor)
        yield batch, cursor


def first(batches: Batches, count: int, cursor: Cursor = Cursor()) -> list[GlobalBatch]:  # noqa: B008 (frozen)
    return [batch for batch, _ in itertools.islice(stream(batches, cursor), count)]


@given(st.integers(1, 3000), st.integers(0, 2**63 - 1), st.integers(0, 10**6))
def test_a_permutation_is_a_bijection(n: int, seed: int, epoch: int) -> None:
    items = Permutation(n, seed, epoch)(np.arange(n))
    assert np.array_equal(np.sort(items), np.arange(n))


@given(st.integers(1, 10**12), st.data())
def test_a_permutation_can_be_entered_anywhere(n: int, data: st.DataObject) -> None:
    positions = np.array(data.draw(st.lists(st.integers(0, n - 1), max_size=20)), dtype=np.int64)
    permutation = Permutation(n, 1, 2)
    together = permutation(positions)
    assert ((together >= 0) & (together < n)).all()
    assert together.tolist() == [permutation(positions[i : i + 1])[0] for i in range(len(positions))]
    assert len(set(together.tolist())) == len(set(positions.tolist()))


def test_permutations_differ_by_seed_and_epoch_and_look_random() -> None:
    n = 10_000
    base = Permutation(n, 0, 0)(np.arange(n))
    for other in (Permutation(n, 1, 0), Permutation(n, 0, 1)):
        assert (other(np.arange(n)) == base).mean() < 0.01
    assert abs(np.corrcoef(base, np.arange(n))[0, 1]) < 0.05
    assert abs(np.corrcoef(base[1:], base[:-1])[0, 1]) < 0.05
    # Items of one stretch of positions are spread evenly: chi-square with 9 degrees of freedom, p = 1e-6 at 46.
    counts = np.histogram(base[:2000], bins=10, range=(0, n))[0]
    assert ((counts - 200) ** 2 / 200).sum() < 46


def test_small_permutations_take_every_value_at_every_place() -> None:
    seen = {tuple(Permutation(3, seed, 0)(np.arange(3)).tolist()) for seed in range(200)}
    assert seen == set(itertools.permutations(range(3)))


def test_positions_outside_the_range_are_refused() -> None:
    with pytest.raises(IndexError):
        Permutation(5, 0, 0)(np.array([5]))


@pytest.mark.parametrize("residues", [None, 3000])
def test_the_plan_does_not_depend_on_accumulation(residues: int | None) -> None:
    source = protein_like(500)
    plans = [
        Batches(source, seed=3, batch_size=size, accum=accum, batch_residues=residues, max_length=512)
        for size, accum in ((8, 1), (4, 2), (2, 4))
    ]
    wanted = [key(batch) for batch in first(plans[0], 150)]
    for plan in plans[1:]:
        assert [key(batch) for batch in first(plan, 150)] == wanted


@settings(max_examples=30)
@given(
    n=st.integers(1, 200), size=st.integers(1, 40), window=st.integers(1, 16), residues=st.none() | st.integers(1, 5000)
)
def test_every_sequence_comes_once_per_epoch(n: int, size: int, window: int, residues: int | None) -> None:
    source = protein_like(n)
    batches = Batches(source, seed=0, batch_size=size, batch_residues=residues, max_length=600, window=window)
    windows = -(-2 * n // batches.window_samples)
    parts = [batch for number in range(windows) for batch in batches.window(number)]
    samples = np.concatenate([batch.samples for batch in parts])
    indices = np.concatenate([batch.indices for batch in parts])
    assert sorted(samples.tolist()) == list(range(windows * batches.window_samples))
    for epoch in range(2):
        assert sorted(indices[samples // n == epoch].tolist()) == list(range(n))
    assert all(len(batch) for batch in parts)
    for batch in parts:
        assert np.array_equal(batch.lengths, np.minimum(source.lengths[batch.indices], 600))
        assert batch.residues == batch.lengths.sum()


def test_every_epoch_has_an_order_of_its_own() -> None:
    batches = Batches(protein_like(50), seed=3, batch_size=5, max_length=600)
    epochs = [batches.items(np.arange(50 * epoch, 50 * (epoch + 1))) for epoch in range(3)]
    assert [sorted(epoch.tolist()) for epoch in epochs] == [list(range(50))] * 3
    for epoch, items in enumerate(epochs):
        assert np.array_equal(items, Permutation(50, 3, epoch)(np.arange(50)))
    assert len({tuple(items) for items in epochs}) == 3


@pytest.mark.parametrize("residues", [None, 4000])
def test_resuming_from_any_cursor_equals_the_undisturbed_stream(residues: int | None) -> None:
    def fresh() -> Batches:
        return Batches(protein_like(300), seed=1, batch_size=16, batch_residues=residues, max_length=512, window=4)

    undisturbed = [(key(batch), cursor) for batch, cursor in itertools.islice(stream(fresh()), 60)]
    for at in range(1, 59):
        cursor = Cursor(**json.loads(json.dumps(asdict(undisturbed[at - 1][1]))))
        assert key(fresh().at(cursor)[0]) == undisturbed[at][0]


@pytest.mark.parametrize("window", [1, 3])
def test_after_a_change_of_the_batch_size_no_sample_comes_twice_and_few_are_left_out(window: int) -> None:
    before = Batches(protein_like(200), seed=0, batch_size=8, max_length=600, window=4)
    now = Batches(protein_like(200), seed=0, batch_size=1, max_length=600, window=window)
    used: list[int] = []
    for batch, cursor in itertools.islice(stream(before), 9):
        used += batch.samples.tolist()
        (following,) = first(now, 1, now.after(cursor, before))
        begin = int(following.samples.min()) // window * window  # of the window that follows
        assert max(used) < begin
        assert begin - len(used) < before.window_samples + window


def test_hardly_any_compute_goes_to_pads() -> None:
    source = protein_like(20_000)
    batches = Batches(source, seed=0, batch_size=32, max_length=512)
    assert pads(batches, 256) < 0.03


@pytest.mark.parametrize("residues", [None, 8192])
def test_every_batch_has_short_and_long_sequences(residues: int | None) -> None:
    source = protein_like(20_000)
    batches = first(Batches(source, seed=0, batch_size=32, batch_residues=residues, max_length=512), 256)
    short, long = np.quantile(source.lengths, [0.6, 0.4])
    shortest, longest = (np.array([batch.lengths[end] for batch in batches]) for end in (0, -1))
    assert (shortest < short).all()
    assert (longest > long).all()
    # Which of them meet is random: one says nothing of the other.
    assert abs(np.corrcoef(shortest, longest)[0, 1]) < 0.25


def test_a_batch_is_cut_where_lengths_jump() -> None:
    cut = 0
    for batch in first(Batches(protein_like(5000), seed=0, batch_size=32, max_length=512), 100):
        parts = batch.parts()
        assert len(parts) <= STRATA
        cut += len(parts) > 1
        assert np.concatenate([part.samples for part in parts]).tolist() == batch.samples.tolist()
        assert all(len(part) % 8 == 0 for part in parts)
        widths = [part.lengths[-1] for part in parts]
        assert all(narrow < 0.9 * wide for narrow, wide in itertools.pairwise(widths))
    assert cut > 90


@pytest.mark.parametrize(
    ("source", "size"),
    [(Lengths(np.full(500, 256)), 64), (protein_like(500), 15), (Lengths(np.arange(460, 512)), 32)],
    ids=["of one length", "few", "of similar length"],
)
def test_nothing_is_cut_where_it_saves_little(source: Lengths, size: int) -> None:
    for batch in first(Batches(source, seed=0, batch_size=size, max_length=512), 20):
        assert [key(part) for part in batch.parts()] == [key(batch)]


def pads(batches: Batches, count: int) -> float:
    """Share of the positions computed."""
    cells = residues = 0
    for batch in first(batches, count):
        for part in batch.parts():
            loaded = load(batches.source, part, seed=0, max_length=batches.max_length)
            cells, residues = cells + loaded.tokens.numel(), residues + loaded.residues
    return 1 - residues / cells


def test_batches_come_in_no_order_of_length() -> None:
    longest = [
        int(batch.lengths[-1])
        for batch in first(Batches(protein_like(5000), seed=0, batch_size=32, max_length=512), 64)
    ]
    assert abs(np.corrcoef(longest, np.arange(64))[0, 1]) < 0.4


def test_a_residue_budget_is_met_on_average_and_by_each_batch_nearly() -> None:
    batches = first(Batches(protein_like(5000), seed=0, batch_size=1, batch_residues=8192, max_length=512), 200)
    sizes = np.array([batch.residues for batch in batches])
    assert abs(sizes.mean() / 8192 - 1) < 0.05
    assert (abs(sizes / 8192 - 1) < 0.13).all()


def test_a_budget_below_one_sequence_gives_batches_of_one() -> None:
    assert {
        len(b) for b in first(Batches(protein_like(50), seed=0, batch_size=1, batch_residues=1, max_length=512), 50)
    } == {1}


def test_a_small_set_has_no_copies_of_a_sequence_in_a_batch() -> None:
    for batch in first(Batches(protein_like(320), seed=0, batch_size=32, max_length=512), 10):
        assert len(set(batch.indices.tolist())) == 32


def test_seeds_give_different_streams() -> None:
    one, two = (first(Batches(protein_like(500), seed=s, batch_size=8, max_length=512), 1)[0] for s in (0, 1))
    assert key(one) != key(two)


def test_lengths_are_read_from_the_sequences_where_nothing_states_them() -> None:
    source = [np.zeros(n, dtype=np.int64) for n in (3, 7, 5)]
    stated = Lengths(np.array([3, 7, 5]))
    plans = [first(Batches(s, seed=0, batch_size=2, max_length=6), 6) for s in (source, stated)]
    assert [key(batch) for batch in plans[0]] == [key(batch) for batch in plans[1]]


def test_a_split_keeps_every_sample_in_nearly_equal_parts() -> None:
    batch = first(Batches(protein_like(500), seed=0, batch_size=30, max_length=512), 1)[0]
    parts = batch.split(4)
    assert [len(part) for part in parts] == [8, 8, 7, 7]
    assert np.concatenate([part.samples for part in parts]).tolist() == batch.samples.tolist()
    assert sum(part.residues for part in parts) == batch.residues
    assert len(batch.split(100)) == 30


def test_a_cursor_outside_its_window_is_refused() -> None:
    with pytest.raises(DataError):
        Batches(protein_like(30), seed=0, batch_size=10, max_length=512).at(Cursor(0, 3))


def test_nothing_to_train_on_is_an_error() -> None:
    with pytest.raises(DataError):
        Batches([], seed=0, batch_size=1, max_length=5)


def test_real_proteins_hardly_need_pads(tmp_path: Path) -> None:
    path = Path(__file__).parents[3] / "shared/data/uniref_10k.fasta.gz"
    if not path.exists():
        pytest.skip(f"{path} is not there")
    store = prepare(path, tmp_path / "store", options=PrepareOptions()).train
    assert pads(Batches(store, seed=0, batch_size=32, max_length=512), 128) < 0.03
