"""The formulas of the built-in noise schedules; tests/testing has their contract."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from sedd.plugins.contracts import Noise
from sedd.plugins.noises import Cosine, Geometric, Linear, LogLinear
from sedd.testing import parts

quick = settings(max_examples=50, derandomize=True, database=None, deadline=None)
times = st.lists(st.floats(0.0, 1.0), min_size=1, max_size=20).map(lambda t: torch.tensor(t, dtype=torch.float64))
EVERY = [LogLinear, Geometric, Cosine, Linear]


@quick
@given(t=times, sigma_max=st.floats(0.01, 20.0))
def test_loglinear_is_the_formula_of_sedd(t: torch.Tensor, sigma_max: float) -> None:
    eps = math.exp(-sigma_max)
    noise = LogLinear(sigma_max=sigma_max)
    torch.testing.assert_close(noise.total(t), -torch.log1p(-(1 - eps) * t), rtol=1e-7, atol=1e-12)
    torch.testing.assert_close(noise.rate(t), (1 - eps) / (1 - (1 - eps) * t), rtol=1e-7, atol=1e-12)


def test_loglinear_has_the_default_eps_of_sedd() -> None:
    assert math.exp(-LogLinear().sigma_max) == pytest.approx(1e-3, rel=1e-6)


@quick
@given(t=times, noise=parts(LogLinear))
def test_loglinear_makes_the_mask_rate_linear_in_t(t: torch.Tensor, noise: LogLinear) -> None:
    masked = -torch.expm1(-noise.total(t))
    low, high = -math.expm1(-noise.sigma_min), -math.expm1(-noise.sigma_max)
    torch.testing.assert_close(masked, low + (high - low) * t, rtol=1e-6, atol=1e-9)


def test_loglinear_begins_at_sigma_min_and_its_halves_meet() -> None:
    noise, t = LogLinear(sigma_min=0.2, sigma_max=3.0), torch.linspace(0, 1, 101, dtype=torch.float64)
    low, high = 1 - math.exp(-0.2), 1 - math.exp(-3.0)
    torch.testing.assert_close(noise.total(t), -torch.log(1 - low - (high - low) * t))
    assert noise.total(t[:1]).item() == pytest.approx(0.2)


@quick
@given(t=times, noise=parts(Geometric))
def test_geometric_is_linear_in_the_logarithm(t: torch.Tensor, noise: Geometric) -> None:
    expected = (1 - t) * math.log(noise.sigma_min) + t * math.log(noise.sigma_max)
    torch.testing.assert_close(noise.total(t).log(), expected, rtol=1e-7, atol=1e-9)


def test_geometric_is_the_formula_of_sedd() -> None:
    t = torch.linspace(0, 1, 33, dtype=torch.float64)
    noise = Geometric(sigma_min=1e-3, sigma_max=1.0)
    torch.testing.assert_close(noise.total(t), 1e-3 ** (1 - t) * 1.0**t)
    torch.testing.assert_close(noise.rate(t), 1e-3 ** (1 - t) * (math.log(1.0) - math.log(1e-3)))


@pytest.mark.parametrize(("t", "expected"), [(0.0, 0.1), (0.25, 0.1 + 0.8 * 0.146446609406726), (0.5, 0.5), (1.0, 0.9)])
def test_cosine_has_the_values_computed_by_hand(t: float, expected: float) -> None:
    assert Cosine(sigma_min=0.1, sigma_max=0.9).total(torch.tensor(t, dtype=torch.float64)).item() == pytest.approx(
        expected
    )


@pytest.mark.parametrize(("t", "expected"), [(0.0, 0.1), (0.25, 0.3), (1.0, 0.9)])
def test_linear_has_the_values_computed_by_hand(t: float, expected: float) -> None:
    noise = Linear(sigma_min=0.1, sigma_max=0.9)
    assert noise.total(torch.tensor(t, dtype=torch.float64)).item() == pytest.approx(expected)
    assert noise.rate(torch.tensor(t, dtype=torch.float64)).item() == pytest.approx(0.8)


@pytest.mark.parametrize("cls", EVERY, ids=lambda cls: cls.__name__)
def test_no_digit_is_lost_in_float32_near_either_end(cls: type[Noise]) -> None:
    noise = cls.model_validate({"sigma_min": 1e-4, "sigma_max": 20.0})
    near = torch.logspace(-7, -1, 25)
    t = torch.cat([near, 1 - near])
    torch.testing.assert_close(noise.total(t).double(), noise.total(t.double()), rtol=2e-5, atol=0.0)
    torch.testing.assert_close(noise.rate(t).double(), noise.rate(t.double()), rtol=2e-5, atol=0.0)


def test_the_rate_of_cosine_is_not_negative_where_pi_is_rounded_up() -> None:
    assert Cosine().rate(torch.tensor([1.0], dtype=torch.float32)).item() == 0.0


@quick
@given(st.sampled_from(EVERY).flatmap(parts))
def test_the_rate_integrates_to_the_noise_between_both_ends(noise: Noise) -> None:
    """Midpoint rule in u, with t = 1 - (1 - u)^4: the rate of loglinear is steep at t = 1."""
    u = (torch.arange(20_000, dtype=torch.float64) + 0.5) / 20_000
    t, weight = 1 - (1 - u) ** 4, 4 * (1 - u) ** 3 / 20_000
    total = (noise.rate(t) * weight).sum().item()
    assert total == pytest.approx(noise.sigma_max - noise.sigma_min, rel=0.01, abs=1e-6 * noise.sigma_max)


@pytest.mark.parametrize("cls", EVERY, ids=lambda cls: cls.__name__)
def test_sigma_max_alone_defines_every_schedule(cls: type[Noise]) -> None:
    noise = cls.model_validate({"sigma_max": 0.5})
    assert noise.total(torch.tensor(1.0, dtype=torch.float64)).item() == pytest.approx(0.5)


@pytest.mark.parametrize("cls", EVERY, ids=lambda cls: cls.__name__)
@pytest.mark.parametrize(
    ("options", "error", "key"),
    [
        ({"sigma_min": 0.5, "sigma_max": 0.5}, "value_error", ()),
        ({"sigma_min": 2.0, "sigma_max": 1.0}, "value_error", ()),
        ({"sigma_max": 21.0}, "less_than_equal", ("sigma_max",)),
        ({"sigma_max": 0.0}, "greater_than_equal", ("sigma_max",)),
        ({"sigma_max": math.inf}, "finite_number", ("sigma_max",)),
        ({"sigma_min": -0.1}, "greater_than_equal", ("sigma_min",)),
        ({"sigma": 1.0}, "extra_forbidden", ("sigma",)),
        ({"sigma_max": True}, "boolean", ("sigma_max",)),
    ],
)
def test_an_impossible_noise_is_refused(
    cls: type[Noise], options: dict[str, Any], error: str, key: tuple[str, ...]
) -> None:
    with pytest.raises(ValidationError) as caught:
        cls.model_validate(options)
    assert [(item["type"], item["loc"]) for item in caught.value.errors()] == [(error, key)]
