"""The formulas of the built-in curricula; tests/testing has their contract."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from sedd.plugins.contracts import Ramp
from sedd.plugins.curricula import Constant, Cosine, Exponential, Linear, Stages
from sedd.testing import parts

quick = settings(max_examples=50, derandomize=True, database=None, deadline=None)


@pytest.mark.parametrize(
    ("step", "expected"), [(0, 0.1), (5_000, 0.325), (10_000, 0.55), (19_999, 0.999955), (20_000, 1.0), (10**9, 1.0)]
)
def test_linear_has_the_difficulties_computed_by_hand(step: int, expected: float) -> None:
    assert Linear(preschool_time=20_000, min_difficulty=0.1).difficulty(step) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize(
    ("step", "expected"), [(0, 0.2), (250, 0.2 + 0.8 * 0.146446609406726), (500, 0.6), (1000, 1.0)]
)
def test_cosine_has_the_difficulties_computed_by_hand(step: int, expected: float) -> None:
    assert Cosine(preschool_time=1000, min_difficulty=0.2).difficulty(step) == pytest.approx(expected, abs=1e-12)


def test_exponential_rises_by_63_percent_within_one_over_rate() -> None:
    ramp = Exponential(preschool_time=10_000, min_difficulty=0.1, rate=5.0)
    climbed = (ramp.difficulty(2_000) - 0.1) / 0.9
    assert climbed == pytest.approx((1 - math.exp(-1)) / (1 - math.exp(-5)), abs=1e-12)


@quick
@given(rate=st.floats(0.01, 50.0), time=st.integers(0, 10**9), low=st.floats(0.01, 1.0))
def test_exponential_is_exactly_one_at_preschool_time_whatever_its_rate(rate: float, time: int, low: float) -> None:
    ramp = Exponential(rate=rate, preschool_time=time, min_difficulty=low)
    assert ramp.difficulty(time) == 1.0
    assert ramp.shape(1.0) == 1.0
    # The last step before it is on the curve too: what is left is at most the slope there, not a jump.
    left = 1.0 - ramp.difficulty(max(time - 1, 0))
    slope = rate / math.expm1(rate)
    assert left <= 1.01 * (1.0 - low) * math.expm1(rate / max(time, 1)) / math.expm1(rate) + 1e-12 or slope == 0.0


@quick
@given(parts(Exponential))
def test_exponential_is_never_below_linear(ramp: Exponential) -> None:
    line = Linear(preschool_time=ramp.preschool_time, min_difficulty=ramp.min_difficulty)
    for i in range(17):
        step = ramp.preschool_time * i // 16
        assert ramp.difficulty(step) >= line.difficulty(step) - 1e-12


@pytest.mark.parametrize("cls", [Linear, Exponential, Cosine])
def test_every_ramp_starts_at_min_difficulty(cls: type[Ramp]) -> None:
    assert cls(preschool_time=100, min_difficulty=0.25).difficulty(0) == 0.25


@pytest.mark.parametrize("cls", [Linear, Exponential, Cosine])
def test_with_a_preschool_time_of_zero_every_step_has_full_difficulty(cls: type[Ramp]) -> None:
    assert cls(preschool_time=0).difficulty(0) == 1.0


def test_a_shape_that_overshoots_is_clipped_between_min_difficulty_and_one() -> None:
    class Wild(Ramp):
        def shape(self, progress: float) -> float:
            return 3.0 * progress - 1.0

    ramp = Wild(preschool_time=100, min_difficulty=0.2)
    assert [ramp.difficulty(step) for step in (0, 50, 99)] == [0.2, pytest.approx(0.6), 1.0]


def test_constant_accepts_the_options_of_a_ramp_and_ignores_them() -> None:
    assert Constant(preschool_time=1000, min_difficulty=0.1).difficulty(0) == 1.0


KNOTS = [{"step": 10, "difficulty": 0.2}, {"step": 20, "difficulty": 0.2}, {"step": 40, "difficulty": 1.0}]


@pytest.mark.parametrize(
    ("step", "expected"), [(0, 0.2), (10, 0.2), (15, 0.2), (20, 0.2), (25, 0.4), (30, 0.6), (40, 1.0), (10**9, 1.0)]
)
def test_stages_are_linear_between_knots(step: int, expected: float) -> None:
    ramp = Stages.model_validate({"stages": KNOTS, "preschool_time": 40})
    assert ramp.difficulty(step) == pytest.approx(expected, abs=1e-12)


def test_two_stages_one_step_apart_jump() -> None:
    knots = [{"step": 0, "difficulty": 0.3}, {"step": 9, "difficulty": 0.3}, {"step": 10, "difficulty": 1.0}]
    ramp = Stages.model_validate({"stages": knots, "preschool_time": 10})
    assert (ramp.difficulty(9), ramp.difficulty(10)) == (0.3, 1.0)


@pytest.mark.parametrize(
    ("knots", "time", "fact"),
    [
        ([(0, 0.5), (0, 1.0)], 0, "[0, 0]"),
        ([(9, 0.5), (5, 1.0)], 5, "[9, 5]"),
        ([(0, 0.5), (5, 0.4), (9, 1.0)], 9, "[0.5, 0.4, 1.0]"),
        ([(0, 0.5), (9, 0.9)], 9, "0.9"),
        ([(0, 0.5), (9, 1.0)], 10, "preschool_time"),
        ([], 0, "1"),
        ([(0, 1.5)], 0, "1.5"),
        ([(-1, 1.0)], 0, "-1"),
    ],
)
def test_stages_that_make_no_ramp_are_refused_with_the_value(knots: Any, time: int, fact: str) -> None:
    listed = [{"step": step, "difficulty": difficulty} for step, difficulty in knots]
    with pytest.raises(ValidationError) as caught:
        Stages.model_validate({"stages": listed, "preschool_time": time})
    assert fact in str(caught.value)


@pytest.mark.parametrize(
    "options",
    [
        {"rate": 0.0},
        {"rate": 51.0},
        {"rate": math.inf},
        {"min_difficulty": 0.0},
        {"min_difficulty": 1.1},
        {"mode": "x"},
    ],
)
def test_options_out_of_bounds_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Exponential.model_validate(options)
