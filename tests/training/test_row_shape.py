"""Packed rows of a run have one shape, whatever the sequences."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

import sedd
from sedd.data.batch import Batch
from sedd.data.random_batches import RandomBatch
from sedd.diffusion.graphs import make_graph
from sedd.diffusion.loss import CorruptedBatch, corrupt_batch
from sedd.diffusion.noising import NoiseState
from sedd.diffusion.packing import RowShape, pack

PACKED = ("device.layout=packed", "training.n_iters=40")


def shapes(trainer: sedd.Trainer, steps: int) -> set[tuple[object, ...]]:
    """The shapes of all tensors of the rows of some steps, but for the positions that are evaluated."""
    found: set[tuple[object, ...]] = set()
    cursor = trainer.state.cursor
    for step in range(steps):
        inputs = trainer.loader(step, cursor)
        cursor = inputs.next_cursor
        for micro_step in inputs.micro_steps:
            corrupted = micro_step.corrupted
            segments = corrupted.batch.segments
            assert segments is not None
            tensors = (corrupted.x_t, corrupted.noise.sigma, corrupted.residues, micro_step.dropout_keys, *segments[:5])
            found.add((*(tensor.shape for tensor in tensors), segments.longest))
            tokens = corrupted.x_t.shape[1]
            assert len(corrupted.positions) % (tokens // 8) == 0
            assert len(corrupted.positions) == corrupted.count
    return found


@pytest.mark.parametrize(
    "options",
    [
        ("training.batch_size=16",),
        ("training.batch_residues=300",),
        ("training.batch_residues=600", "training.accum=3"),
        ("training.batch_size=8", "training.accum=2", "graph.type=uniform"),
    ],
)
def test_the_rows_of_a_run_have_one_shape(tiny, options):
    assert len(shapes(sedd.Trainer(tiny(*PACKED, *options)), 20)) == 1


def test_batches_of_so_many_residues_fill_their_rows(tiny):
    trainer = sedd.Trainer(tiny(*PACKED, "training.batch_residues=640", "data.synthetic.sequences=4000"))
    shape = trainer.loader.row_shape
    assert shape is not None
    assert shape.tokens == 640
    plans = trainer.batches.window(0)
    assert np.mean([plan.residues for plan in plans]) > 0.95 * shape.tokens


def test_a_batch_that_does_not_fit_gets_a_longer_row_by_quarters():
    shape = RowShape.of(250, 10, longest=30)
    assert shape == RowShape(256, 10, 30)
    assert shape.holding(256, 10) == shape
    assert shape.holding(257, 10) == RowShape(320, 13, 30)
    assert shape.holding(256, 14) == RowShape(384, 15, 30)
    assert shape.holding(3, 1) == shape


@given(
    lengths=st.lists(st.integers(1, 40), min_size=1, max_size=12),
    name=st.sampled_from(["absorb", "uniform"]),
    tokens=st.sampled_from([64, 128, 1024]),
)
def test_a_row_holds_the_sequences_and_nothing_else(lengths, name, tokens):
    corrupted = padded(lengths, name)
    packed = pack(corrupted, RowShape(tokens, 4, 40))
    rows, row, segments = corrupted.batch, packed.batch, packed.batch.segments
    assert segments is not None
    count, total = len(lengths), sum(lengths)
    assert torch.equal(row.tokens[row.mask], rows.tokens[rows.mask])
    assert torch.equal(packed.x_t[row.mask], corrupted.x_t[rows.mask])
    assert row.mask[0, :total].all()
    assert not row.mask[0, total:].any()
    assert torch.equal(packed.noise.sigma[:count], corrupted.noise.sigma)
    assert torch.equal(packed.noise.dsigma[count:], torch.zeros(len(packed.noise.dsigma) - count))
    assert packed.residues.tolist()[:count] == lengths
    assert int(packed.residues.sum()) == total
    assert segments.sequence[:total].tolist() == [i for i, length in enumerate(lengths) for _ in range(length)]
    assert (segments.sequence[total:] == len(packed.residues) - 1).all()
    sizes = segments.cu_seqlens.diff()
    assert sizes.min() >= 0
    assert sizes.max() <= 40
    assert segments.cu_seqlens[-1] == row.tokens.shape[1] == segments.starts[-1]
    graph = make_graph(name, 20)
    chosen = packed.positions[(graph.contributes(packed.x_t) & row.mask).flatten()[packed.positions]]
    assert len(chosen) == corrupted.count
    assert len(packed.positions.unique()) == len(packed.positions)


def padded(lengths: list[int], name: str) -> CorruptedBatch:
    """A batch of random sequences of these lengths, with noise."""
    mask = torch.arange(max(lengths)) < torch.tensor(lengths)[:, None]
    tokens = torch.randint(20, mask.shape) * mask
    noise = NoiseState(torch.rand(len(lengths)) + 0.1, torch.ones(len(lengths)))
    batch = Batch(tokens, mask, torch.arange(len(lengths)))
    return corrupt_batch(batch, noise, torch.rand(*mask.shape, 2), graph=make_graph(name, 20))


@given(lengths=st.lists(st.integers(1, 50), min_size=1, max_size=30), parts=st.integers(1, 6))
def test_a_random_batch_is_split_by_residues(lengths, parts):
    numbers = np.arange(len(lengths), dtype=np.int64)
    batch = RandomBatch(numbers, numbers, np.array(lengths, np.int64))
    split = batch.split(parts)
    assert 1 <= len(split) <= parts
    assert np.concatenate([part.samples for part in split]).tolist() == numbers.tolist()
    assert all(len(part) for part in split)
    assert max(part.residues for part in split) <= batch.residues / parts + max(lengths)


def test_a_network_that_is_wild_where_nothing_contributes_changes_nothing(tiny):
    """The raw score of an unmasked position is not trained: it may be anything."""
    config = tiny(*PACKED, "model.head=score", "graph.type=absorb")
    trainer = sedd.Trainer(config)
    network, mask = trainer.network, trainer.process.graph.n

    def wild(tokens: Tensor, sigma: Tensor, *_: object, positions: Tensor, **options: object) -> Tensor:
        out: Tensor = type(network).forward(network, tokens, sigma, positions=positions, **options)
        return torch.where((tokens.flatten()[positions] == mask)[:, None], out, 1e30)

    expected = [report.loss for report in sedd.Trainer(config).steps(until=3)]
    network.forward = wild
    reports = list(trainer.steps(until=3))
    assert [report.loss for report in reports] == expected
    assert not any(report.skipped for report in reports)
