"""The 95 % intervals of the attribution hold the true parts, where these are known, in 95 % of simulated runs."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest

from sedd.diagnosis.attribution import Attribution, attribute, between
from sedd.diagnosis.cumulative import cumulative
from sedd.diagnosis.scatter import FEWEST, Lines, _variance
from sedd.diagnosis.unmeasured import fill
from sedd.diffusion.loss_profile import BINS, EDGES, LossProfile, bin_of, widths
from sedd.runs.metrics import TrainRecord

MIDDLE = (EDGES[1:] + EDGES[:-1]) / 2
RUNS = 300
SEQUENCES, LENGTH = 64, 50
Values = Callable[[int], np.ndarray]
"""(BINS,): the true loss per unit of mask rate at a line."""


def line(step: int, bins: LossProfile) -> TrainRecord:
    loss = float(bins.loss.sum()) / bins.residues
    return TrainRecord(step, loss, bins, bins.values, 1.0, 1.0, 0.0, 0.0, 0.0, 0, 0.0, 0, None)


def drawn_line(random: np.random.Generator, values: np.ndarray, high: float, spread: float) -> LossProfile:
    """The sums of one line of `absorb`: every masked residue has the loss of its bin and an error of size `spread`."""
    rates = (random.permutation(SEQUENCES) + random.random(SEQUENCES)) / SEQUENCES * high
    masked = random.binomial(LENGTH, rates)
    weight = high * masked / rates
    error = random.standard_t(5, SEQUENCES) / math.sqrt(5 / 3) * spread / np.sqrt(np.maximum(masked, 1))
    where = bin_of(rates)
    sums = (np.bincount(where, part, BINS) for part in (weight * (values[where] + error), weight))
    corrupted = np.bincount(where, masked, BINS).astype(float)
    residues = SEQUENCES * LENGTH
    return LossProfile(residues, *sums, widths(0.0, high) * residues, corrupted)


def run(seed: int, values: Values, highs: list[float], spread: float = 0.8) -> list[TrainRecord]:
    random = np.random.default_rng(seed)
    return [line(10 * (i + 1), drawn_line(random, values(i), high, spread)) for i, high in enumerate(highs)]


def truth(values: Values, highs: list[float], before: range, after: range) -> tuple[float, float]:
    """Difficulty and learning: means over both orders, of networks and difficulties that are means over their lines."""
    networks = [np.mean([values(i) for i in pool], axis=0) for pool in (before, after)]
    allowed = [np.mean([widths(0.0, highs[i]) for i in pool], axis=0) for pool in (before, after)]
    loss = np.array([[network @ e for e in allowed] for network in networks])
    return float((loss[:, 1] - loss[:, 0]).mean()), float((loss[1] - loss[0]).mean())


def binomial_tail(hits: int, count: int, chance: float) -> float:
    """Chance of at most `hits` of `count`."""
    terms = (
        math.lgamma(count + 1) - math.lgamma(k + 1) - math.lgamma(count - k + 1)
        + k * math.log(chance) + (count - k) * math.log1p(-chance)
        for k in range(hits + 1)
    )  # fmt: skip
    return min(1.0, sum(math.exp(term) for term in terms))


def assert_covers(hits: list[bool], least: float = 0.93, most: float = 0.985) -> None:
    """Neither a coverage below `least` nor one above `most` explains the hits, at a level of 0.1 %."""
    count, number = len(hits), sum(hits)
    assert binomial_tail(number, count, least) > 1e-3, f"{number} of {count}"
    assert 1.0 - binomial_tail(number - 1, count, most) > 1e-3, f"{number} of {count}"


def holds(interval: tuple[float, float], value: float) -> bool:
    return interval[0] <= value <= interval[1]


def shape(step: int) -> np.ndarray:
    """A model that learns, most at small mask rates."""
    return 2.9 - 0.4 * (1.0 - MIDDLE) * (1.0 - math.exp(-step / 15.0))


# Coverage ------------------------------------------------------------------------------------------------------------


def test_without_a_curriculum_the_interval_of_learning_covers_and_difficulty_is_exactly_zero():
    highs = [1.0] * 30
    _, learning = truth(shape, highs, range(2, 3), range(25, 26))
    found = [between(run(seed, shape, highs), 30, 260, span=0) for seed in range(RUNS)]
    assert_covers([holds(split.learning_interval, learning) for split in found])
    assert {split.difficulty for split in found} == {0.0}
    assert {split.difficulty_interval for split in found} == {(0.0, 0.0)}


def test_pools_of_several_lines_have_narrower_intervals_that_cover():
    highs = [1.0] * 30
    _, learning = truth(shape, highs, range(3, 8), range(20, 25))
    runs = [run(seed, shape, highs) for seed in range(1000, 1000 + RUNS)]
    found = [between(records, 60, 230, span=40) for records in runs]
    assert_covers([holds(split.learning_interval, learning) for split in found])
    single = [between(records, 60, 230, span=0).learning_error for records in runs[:40]]
    ratio = np.median(single) / np.median([split.learning_error for split in found])
    assert ratio == pytest.approx(math.sqrt(5.0), rel=0.1)


def test_lines_in_both_pools_are_counted_once():
    highs = [1.0] * 30
    _, learning = truth(shape, highs, range(8, 17), range(11, 20))
    runs = [run(seed, shape, highs) for seed in range(2000, 2000 + RUNS)]
    found = [between(records, 130, 160, span=80) for records in runs]
    assert_covers([holds(split.learning_interval, learning) for split in found])
    apart = np.median([between(records, 100, 230, span=80).learning_error for records in runs[:40]])
    # Six of nine lines are shared: a third of the independent variance is left.
    assert np.median([split.learning_error for split in found]) / apart == pytest.approx(math.sqrt(1 / 3), rel=0.1)


def test_where_all_mask_rates_were_measured_the_difficulty_covers():
    highs = [*np.linspace(0.5, 0.9, 20), *[0.9] * 10]
    difficulty, learning = truth(shape, highs, range(6, 9), range(24, 27))
    found = [between(run(seed, shape, highs), 80, 260, span=20) for seed in range(3000, 3000 + RUNS)]
    assert_covers([holds(split.learning_interval, learning) for split in found], most=0.995)
    assert_covers([holds(split.difficulty_interval, difficulty) for split in found], most=0.995)


def walking(seed: int) -> Values:
    """What is learnt, as a share of the loss, is a random walk over the mask rates, which the lines do not reach."""
    walk = 0.15 + np.cumsum(np.random.default_rng([seed, 1]).normal(0.0, 0.01, BINS))
    return lambda i: np.full(BINS, 2.9) * (1.0 - walk * min(i, 12) / 12)


def test_mask_rates_that_were_not_reached_are_part_of_the_error():
    highs = [*[0.3] * 12, *[1.0] * 18]
    hits, of_difficulty, extrapolated = [], [], []
    for seed in range(4000, 4000 + RUNS):
        values = walking(seed)
        split = between(run(seed, values, highs), 30, 250, span=20)
        difficulty, learning = truth(values, highs, range(1, 4), range(23, 26))
        hits.append(holds(split.learning_interval, learning))
        extrapolated.append(split.extrapolation_error / split.learning_error)
        of_difficulty.append(holds(split.difficulty_interval, difficulty))
    for found in (hits, of_difficulty):
        assert binomial_tail(sum(found), RUNS, 0.92) > 1e-3, f"{sum(found)} of {RUNS}"
    assert np.median(extrapolated) > 0.5  # what lies at mask rates that were not measured is most of it


def test_the_bands_along_a_run_cover_at_its_end():
    highs = [*np.linspace(0.6, 1.0, 20), *[1.0] * 10]
    pieces = [truth(shape, highs, window(i), window(i + 1)) for i in range(29)]
    difficulty, learning = np.sum(pieces, axis=0)
    found = [cumulative(run(seed, shape, highs)) for seed in range(5000, 5000 + RUNS // 3)]
    for name, value in (("difficulty", difficulty), ("learning", learning)):
        hits = [getattr(c, f"{name}_low")[-1] <= value <= getattr(c, f"{name}_high")[-1] for c in found]
        assert binomial_tail(sum(hits), len(hits), 0.93) > 1e-3


def window(i: int) -> range:
    return range(max(0, i - 2), min(30, i + 3))


# Properties ----------------------------------------------------------------------------------------------------------


def test_the_parts_still_sum_to_the_change_and_each_lies_in_the_middle_of_its_interval():
    split = between(run(1, shape, [*np.linspace(0.2, 1.0, 20), *[1.0] * 10]), 30, 280)
    assert split.difficulty + split.learning + split.draw == pytest.approx(split.change, abs=1e-12)
    for name in ("difficulty", "learning", "draw"):
        low, high = getattr(split, f"{name}_interval")
        assert (low + high) / 2 == pytest.approx(getattr(split, name))
        assert split.to_dict()[f"{name}_interval"] == [low, high]


def test_the_variance_of_each_bin_is_that_of_its_residues():
    records = run(2, lambda _: np.full(BINS, 2.9), [1.0] * 200, spread=0.8)
    lines = Lines.of(records)
    masked = np.stack([record.bins.corrupted for record in records])
    unit = (lines.variance * (masked + 0.5))[:, 10:][masked[:, 10:] > 0]
    assert np.sqrt(unit.mean()) == pytest.approx(0.8, rel=0.1)


def test_one_spike_does_not_decide_the_error():
    records = run(3, shape, [1.0] * 40)
    quiet = between(records, 20, 60, span=0).learning_error
    bins = records[30].bins
    records[30] = line(310, LossProfile(bins.residues, 50.0 * bins.loss, bins.drawn, bins.expected, bins.corrupted))
    assert between(records, 20, 60, span=0).learning_error < 4.0 * quiet


@pytest.mark.parametrize(("highs", "known"), [([1.0] * 3, True), ([0.2] * 2, False), ([0.05, 0.05, 1.0], False)])
def test_with_too_few_lines_the_error_is_not_known(highs, known):
    records = run(4, shape, highs)
    split, curve = between(records, 0, 1000), cumulative(records)
    assert split.known == known
    assert math.isfinite(split.learning_error) == known
    assert np.isfinite(curve.learning_low[1:]).all() == known


def test_without_lines_nothing_is_claimed():
    before, after = (run(seed, shape, [1.0])[0].bins for seed in (5, 6))
    split = attribute(before, after, first=0, last=1)
    assert not split.known
    assert split.to_dict()["learning_interval"] is None
    assert "±" not in str(split)


def test_printed_decimals_follow_the_error():
    made = {name: np.zeros(BINS) for name in ("difficulty_by_bin", "draw_by_bin", "learning_by_bin")}
    made["learning_by_bin"] = np.full(BINS, -0.123456 / BINS)
    for error, text in ((0.0213, "-0.123 ± 0.021"), (0.213, "-0.12 ± 0.21"), (0.00213, "-0.1235 ± 0.0021")):
        split = Attribution(0, 1, 2.0, 1.876544, **made, assumed=np.zeros(BINS, bool), learning_error=error)
        assert text in str(split)


# Bins that were not measured ------------------------------------------------------------------------------------------


def test_a_measured_profile_is_left_alone():
    filled = fill(MIDDLE, MIDDLE + 1.0, np.zeros(BINS), np.zeros(BINS), np.ones(BINS))
    assert np.array_equal(filled.values, MIDDLE)
    assert not filled.stderr.any()


def test_the_error_of_an_extrapolation_grows_with_the_distance_and_with_the_roughness_of_what_was_learnt():
    later = np.full(BINS, 2.5)
    earlier = np.where(np.arange(BINS) < 20, 2.9, np.nan)
    smooth = fill(earlier, later, np.zeros(BINS), np.zeros(BINS), np.ones(BINS))
    assert (np.diff(smooth.stderr[20:]) > 0).all()
    rough = fill(earlier + 0.1 * (-1.0) ** np.arange(BINS), later, np.zeros(BINS), np.zeros(BINS), np.ones(BINS))
    assert (rough.stderr[20:] > smooth.stderr[20:]).all()
    # Half-way to mask rate 1 in nats, constant as a factor: between the two.
    assert 2.5 < smooth.values[-1] < 2.9


def test_bins_that_both_times_lack_have_the_shape_of_the_run():
    level = np.linspace(3.0, 1.0, BINS)
    seen = np.arange(BINS) < 30
    earlier, later = np.where(seen, 1.1 * level, np.nan), np.where(seen, level, np.nan)
    filled = fill(earlier, later, np.zeros(BINS), np.zeros(BINS), level)
    assert (np.diff(filled.values) < 0).all()
    assert (filled.stderr[30:] > 0).all()


def test_lines_of_one_bin_each_have_no_known_variance_and_no_warning():
    one = np.zeros(BINS)
    one[7] = 1.0
    lines = np.tile(one, (8, 1))
    with np.errstate(all="raise"):
        variance, drift, squares = _variance(2.0 * lines, lines, 30.0 * lines, np.arange(8.0))
    assert squares < FEWEST
    assert np.isnan(variance).all()
    assert np.isfinite(drift).all()
