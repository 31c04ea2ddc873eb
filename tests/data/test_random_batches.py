"""Random batches are the stream in its own order, cut into steps."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sedd.data import Cursor
from sedd.data.random_batches import RandomBatches, filled


def sequences(count: int) -> list[np.ndarray]:
    return [np.zeros(length, np.uint8) for length in np.random.default_rng(0).integers(3, 60, count)]


def planned(batches: RandomBatches, count: int) -> list:
    cursor, plans = Cursor(), []
    for _ in range(count):
        plan, cursor = batches.at(cursor)
        plans.append(plan)
    return plans


def test_batches_are_consecutive_samples():
    batches = RandomBatches(sequences(100), seed=0, batch_size=4, accum=2, max_length=40)
    samples = np.concatenate([plan.samples for plan in planned(batches, 30)])
    assert samples.tolist() == list(range(240))
    assert {len(plan) for plan in planned(batches, 30)} == {8}
    assert all(plan.parts()[0] is not None and len(plan.parts()) == 1 for plan in planned(batches, 3))
    first = np.concatenate([plan.indices for plan in planned(batches, 12)])[:96]
    assert len(set(first.tolist())) == 96  # an epoch does not repeat a sequence
    assert max(int(plan.lengths.max()) for plan in planned(batches, 30)) == 40


@pytest.mark.parametrize("budget", [50, 300, 1000])
def test_no_batch_has_more_residues_than_its_budget(budget):
    batches = RandomBatches(sequences(200), seed=0, batch_size=1, batch_residues=budget, max_length=40)
    plans = planned(batches, 40)
    assert all(plan.residues <= budget for plan in plans)
    samples = np.concatenate([plan.samples for plan in plans])
    assert samples.tolist() == list(range(len(samples)))
    assert np.mean([plan.residues for plan in plans]) > 0.5 * budget


@given(lengths=st.lists(st.integers(1, 20), min_size=1, max_size=60), capacity=st.integers(1, 80))
def test_parts_are_as_full_as_their_capacity_allows(lengths, capacity):
    lengths = np.array(lengths)
    parts = np.split(lengths, filled(lengths, capacity))
    assert np.concatenate(parts).tolist() == lengths.tolist()
    assert all(len(part) for part in parts)
    assert all(part.sum() <= capacity or len(part) == 1 for part in parts)
    assert all(a.sum() + b[0] > capacity for a, b in itertools.pairwise(parts))
