"""Paired differences of evaluations, against a bootstrap over sequences."""

from __future__ import annotations

import math

import numpy as np
import pytest

import sedd
from sedd.evaluation.paired import paired_difference


def test_the_error_of_a_paired_difference_is_that_of_a_bootstrap() -> None:
    random = np.random.default_rng(0)
    residues = random.integers(20, 300, 256).astype(float)
    second = 2.5 + random.normal(0.0, 0.3, 256)
    first = second - 0.005 - 0.0001 * (residues - 100) + random.normal(0.0, 0.03, 256)  # long ones gain more
    found = paired_difference(first, second, residues)
    rows = random.integers(0, 256, (4000, 256))
    difference = residues * (first - second)
    resampled = difference[rows].sum(1) / residues[rows].sum(1)
    assert found.nats == pytest.approx(float(difference.sum() / residues.sum()))
    assert found.stderr == pytest.approx(float(resampled.std()), rel=0.05)
    # The bounds themselves are an order of magnitude less certain than their difference.
    apart = (residues * second)[rows].sum(1) / residues[rows].sum(1)
    assert apart.std() > 5.0 * found.stderr
    low, high = found.interval
    assert (low + high) / 2 == pytest.approx(found.nats)
    assert (high - low) / 2 == pytest.approx(found.half_width)
    assert found.half_width == pytest.approx(1.97 * found.stderr, rel=0.01)


def test_the_interval_covers_the_truth_as_often_as_it_says() -> None:
    random = np.random.default_rng(1)
    covered = []
    for _ in range(400):
        residues = random.integers(20, 300, 64).astype(float)
        low, high = paired_difference(random.normal(0.01, 0.05, 64), np.zeros(64), residues).interval
        covered.append(low < 0.01 < high)
    assert 0.91 < np.mean(covered) < 0.985


def test_few_sequences_have_no_interval() -> None:
    single = paired_difference([1.0], [0.75], [10.0])
    assert (single.nats, single.stderr, single.sequences) == (0.25, math.inf, 1)
    assert paired_difference([1.0, 2.0], [0.0, 0.0], [1.0, 3.0]).half_width == math.inf
    assert math.isnan(paired_difference([1.0, math.nan], [0.0, 0.0], [1.0, 3.0]).nats)


@pytest.mark.parametrize("counts", [(0, 0, 0), (3, 2, 3), (3, 3, 2)])
def test_values_of_different_sequences_are_refused(counts: tuple[int, int, int]) -> None:
    with pytest.raises(sedd.DataError):
        paired_difference(*(np.ones(count) for count in counts))
