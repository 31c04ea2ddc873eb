"""Intervals of differences over seeds."""

from __future__ import annotations

import math

import numpy as np
import pytest

from sedd.sweeps.contrasts import OWN, Contrast, contrasts, paired_errors, simulated
from sedd.sweeps.tasks import Measurement


def measured(nats: float) -> Measurement:
    return Measurement(nats, 0.0, 1, 1, True)


@pytest.mark.parametrize(("seeds", "t"), [(3, 4.303), (6, 2.571), (11, 2.228)])
def test_two_settings_have_the_quantiles_of_students_t(seeds: int, t: float) -> None:
    found = simulated(2, seeds)
    assert (OWN * found.to_one, OWN * found.all_pairs) == pytest.approx((t, t), rel=0.04)


def test_many_settings_have_intervals_little_wider_than_those_of_dunnett_and_tukey() -> None:
    # So many seeds that sigma is known, here 1: Dunnett's t(9 treatments) = 2.70, q(10) / sqrt(2) = 3.16.
    tables = np.random.default_rng(0).standard_normal((20, 10, 30))
    for all_pairs, quantile in ((False, 2.70), (True, 4.47 / math.sqrt(2.0))):
        widths = [one.half_width for table in tables for one in claims(table, all_pairs=all_pairs).values()]
        assert 1.0 < np.mean(widths) / (quantile * math.sqrt(2.0 / 30)) < 1.15


def test_the_error_of_each_pair_is_that_of_its_differences() -> None:
    values = np.random.default_rng(1).standard_normal((2, 4, 5))
    expected = (values[1, 2] - values[1, 3]).std(ddof=1) / math.sqrt(5)
    assert paired_errors(values)[1, 2, 3] == pytest.approx(expected)


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


@pytest.mark.parametrize("noisy", [0, 3])
@pytest.mark.parametrize("seeds", [3, 8])
def test_a_setting_that_varies_ten_times_as_much_is_named_the_winner_of_equals_in_one_table_of_twenty(
    noisy: int, seeds: int
) -> None:
    deviations = np.array([10.0 if setting == noisy else 1.0 for setting in range(4)])[:, None]
    tables = deviations * np.random.default_rng(seeds).standard_normal((400, 4, seeds))
    winners = sum(any(one.better for one in claims(table, all_pairs=False).values()) for table in tables)
    assert winners <= 20


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
