"""Intervals of differences over seeds."""

from __future__ import annotations

import math

import numpy as np
import pytest

from sedd.sweeps.contrasts import Contrast, contrasts, simulated
from sedd.sweeps.tasks import Measurement


def measured(nats: float) -> Measurement:
    return Measurement(nats, 0.0, 1, 1, True)


@pytest.mark.parametrize(("seeds", "t"), [(3, 4.303), (6, 2.571), (11, 2.228)])
def test_two_settings_have_the_quantiles_of_students_t(seeds: int, t: float) -> None:
    found = simulated(2, seeds)
    assert (found.to_one, found.all_pairs) == pytest.approx((t, t), rel=0.04)


def test_many_settings_have_nearly_the_quantiles_of_dunnett_and_tukey() -> None:
    found = simulated(10, 30)  # so many seeds that sigma is known: Dunnett's t(9 treatments), q(10) / sqrt(2)
    assert found.to_one == pytest.approx(2.70, rel=0.05)
    assert found.all_pairs == pytest.approx(4.47 / math.sqrt(2.0), rel=0.05)


def claims(values: np.ndarray, *, all_pairs: bool, against: int = 0) -> dict[int, Contrast]:
    table = {number: [measured(float(value)) for value in row] for number, row in enumerate(values)}
    return contrasts(table, against=against, looked_at=len(table) - 1, all_pairs=all_pairs, shared_held_out=False)


@pytest.mark.parametrize(("settings", "seeds"), [(4, 3), (7, 2), (3, 8)])
def test_equal_settings_differ_in_one_table_of_twenty(settings: int, seeds: int) -> None:
    random = np.random.default_rng(settings)
    blocks = 0.1 * random.standard_normal((400, 1, seeds))
    tables = blocks + random.standard_normal((400, settings, seeds))
    wrong = sum(any(c.better or c.worse for c in claims(t, all_pairs=False).values()) for t in tables)
    assert 8 <= wrong <= 34  # 20 expected, three standard deviations are 13


def test_a_setting_that_nearly_diverges_does_not_hide_what_the_others_show() -> None:
    random = np.random.default_rng(0)
    values = 0.01 * random.standard_normal((5, 3)) + np.array([0.0, -0.5, 0.0, 0.0, 3.0])[:, None]
    values[4] += [0.0, 5.0, -2.0]
    assert [number for number, one in claims(values, all_pairs=False).items() if one.better] == [1]


def test_the_error_of_two_settings_is_that_of_the_paired_differences() -> None:
    values = np.array([[1.0, 2.0, 3.0], [0.5, 1.6, 2.4]])
    found = claims(values, all_pairs=False)[1]
    stderr = (values[1] - values[0]).std(ddof=1) / math.sqrt(3.0)
    assert found.nats == pytest.approx(-0.5)
    assert found.seed_error == pytest.approx(stderr, rel=0.02)
    assert found.half_width == pytest.approx(4.303 * stderr, rel=0.05)
    assert found.better


def test_a_single_seed_has_no_interval() -> None:
    table = {0: [measured(1.0)], 1: [measured(0.0)]}
    (one,) = contrasts(table, against=0, looked_at=1, all_pairs=False, shared_held_out=False).values()
    assert one.half_width == math.inf
    assert not one.better


def test_sequences_that_all_seeds_share_add_their_error_corrected_for_all_trials() -> None:
    lengths = np.full(50, 10.0)
    noise = np.random.default_rng(0).standard_normal((2, 50))
    table = {
        number: [Measurement(float(row.mean()), 0.1, 1, 1, True, by_sequence=row, lengths=lengths)] * 2
        for number, row in enumerate(noise)
    }
    alone = {
        looked_at: contrasts(table, against=0, looked_at=looked_at, all_pairs=False, shared_held_out=True)[1]
        for looked_at in (1, 30)
    }
    difference = noise[1] - noise[0]
    assert alone[1].sequence_error == pytest.approx(difference.std() / math.sqrt(50))
    assert alone[1].half_width == pytest.approx(1.96 * alone[1].sequence_error, rel=1e-3)
    assert alone[30].half_width == pytest.approx(3.144 * alone[1].sequence_error, rel=1e-3)
