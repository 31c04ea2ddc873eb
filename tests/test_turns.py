"""How the benchmark of time to quality compares two curves."""

from __future__ import annotations

import math
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "benchmarks"))

from turns import over_seeds, ratio_over_seeds, reached


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        (3.0, 10.0),  # before the first point: that is the latest it can be
        (2.7, 15.0),
        (2.6, 20.0),
        (2.5, 35.0),  # the third point is worse than the second
        (2.3, math.inf),
    ],
)
def test_the_time_to_a_bound_is_read_between_the_points_of_a_curve(target, expected):
    assert reached([10.0, 20.0, 30.0, 40.0], [2.8, 2.6, 2.6, 2.4], target) == pytest.approx(expected)


def test_seeds_are_summed_up_by_students_t():
    mean, half = over_seeds([1.0, 2.0, 3.0])
    assert (mean, half) == (2.0, pytest.approx(4.303 / math.sqrt(3), rel=0.04))
    assert over_seeds([1.0]) == (1.0, math.inf)


def test_ratios_have_a_geometric_mean_unless_a_seed_never_got_there():
    assert ratio_over_seeds([2.0, 8.0], 10.0).startswith("4.0 (")
    assert ratio_over_seeds([4.0], 10.0) == "4.0"
    assert ratio_over_seeds([2.0, math.inf, math.inf], 10.0) == "more than 10 in 2 of 3"
