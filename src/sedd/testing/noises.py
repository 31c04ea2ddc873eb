"""The checks of noise schedules."""

from __future__ import annotations

import itertools
import math

import torch
from hypothesis import strategies as st
from torch import Tensor

from sedd.plugins.contracts import Noise
from sedd.testing.reports import Draw, call_method, fail


def _times(draw: Draw, dtype: torch.dtype = torch.float64) -> Tensor:
    """Increasing times in [0, 1], dense at both ends, and a few drawn by Hypothesis."""
    near = [10.0**-k for k in range(2, 9)]
    own = draw(st.lists(st.floats(0.0, 1.0), max_size=8))
    values = [i / 64 for i in range(65)] + near + [1.0 - x for x in near] + own
    return torch.tensor(sorted(values), dtype=torch.float64).to(dtype)


def _noise(part: Noise, method: str, t: Tensor) -> Tensor:
    label = f"t of shape {tuple(t.shape)} and {t.dtype}"
    value = call_method(part, label, "a tensor like t", method, t)
    if not isinstance(value, Tensor):
        fail(part, label, f"{method} is {value!r}, of type {type(value).__name__}", "a tensor")
    if value.shape != t.shape:
        fail(part, label, f"{method} has shape {tuple(value.shape)}", "the shape of t")
    if value.dtype != t.dtype:
        fail(part, label, f"{method} has {value.dtype}", "the dtype of t")
    return value


def _first(bad: Tensor) -> int | None:
    """The index of the first true element; None if there is none."""
    return int(bad.flatten().nonzero()[0, 0]) if bad.any() else None


def _all_finite_and_positive(part: Noise, method: str, draw: Draw) -> None:
    for dtype in (torch.float64, torch.float32):
        t = _times(draw, dtype)
        value = _noise(part, method, t)
        bad = ~torch.isfinite(value) | (value < 0)
        if (i := _first(bad)) is not None:
            fail(part, f"t = {t[i].item()!r} ({dtype})", f"{method} is {value[i].item()!r}", "a finite number >= 0")


def total_starts_at_sigma_min_and_ends_at_sigma_max(part: Noise, draw: Draw) -> None:
    """total(0) is `sigma_min` and total(1) is `sigma_max`, so that the run file has the noise of the model."""
    ends = _noise(part, "total", torch.tensor([0.0, 1.0], dtype=torch.float64))
    for t, name, value in ((0, "sigma_min", ends[0].item()), (1, "sigma_max", ends[1].item())):
        wanted = getattr(part, name)
        if not math.isclose(value, wanted, rel_tol=1e-6, abs_tol=1e-9 + 1e-7 * part.sigma_max):
            fail(part, f"t = {t}", f"total is {value!r}", f"{name}, which is {wanted!r}")


def total_is_finite_and_not_negative(part: Noise, draw: Draw) -> None:
    """sigma(t) is a finite number >= 0 at every t in [0, 1], both ends included, in float64 and float32."""
    _all_finite_and_positive(part, "total", draw)


def rate_is_finite_and_not_negative(part: Noise, draw: Draw) -> None:
    """The rate is a weight of the loss: a finite number >= 0 at every t in [0, 1], in float64 and float32."""
    _all_finite_and_positive(part, "rate", draw)


def total_never_falls(part: Noise, draw: Draw) -> None:
    """Noise accumulates: sigma(t) at a later t is never smaller."""
    t = _times(draw)
    total = _noise(part, "total", t)
    falls = total[1:] < total[:-1] - 1e-9 * part.sigma_max
    if (i := _first(falls)) is not None:
        given = f"total falls from {total[i].item()!r} at t = {t[i].item()!r} to {total[i + 1].item()!r}"
        fail(part, f"t = {t[i + 1].item()!r}", given, "one that never falls")


def rate_is_the_derivative_of_total(part: Noise, draw: Draw) -> None:
    """`rate` is the derivative of `total` by autograd, in float64: otherwise the loss has wrong weights."""
    t = _times(draw).requires_grad_()
    total = _noise(part, "total", t)
    if not total.requires_grad:
        fail(part, "every t", "autograd cannot differentiate total", "torch operations on t, without detach or item()")
    (slope,) = torch.autograd.grad(total.sum(), t)
    rate = _noise(part, "rate", t.detach())
    wrong = ~torch.isclose(rate, slope, rtol=1e-6, atol=1e-9 * part.sigma_max)
    if (i := _first(wrong)) is not None:
        expected = f"{slope[i].item()!r}, the derivative of total"
        fail(part, f"t = {t[i].item()!r}", f"rate is {rate[i].item()!r}", expected)


def shape_and_dtype_are_kept(part: Noise, draw: Draw) -> None:
    """The result has the dtype of t, float32 or float64, and any shape of t, scalars and empty tensors included."""
    for dtype, shape, method in itertools.product(
        (torch.float32, torch.float64), ((), (0,), (3,), (4, 1), (2, 0, 3)), ("total", "rate")
    ):
        _noise(part, method, torch.full(shape, 0.25, dtype=dtype))


def float32_agrees_with_float64(part: Noise, draw: Draw) -> None:
    """Training computes in float32: at equal t it agrees with float64 to three digits or better."""
    t = _times(draw, torch.float32)
    for method in ("total", "rate"):
        single, double = _noise(part, method, t), _noise(part, method, t.double())
        wrong = ~torch.isclose(single.double(), double, rtol=1e-3, atol=1e-6 * part.sigma_max)
        if (i := _first(wrong)) is not None:
            given = f"{method} is {single[i].item()!r} in float32"
            fail(part, f"t = {t[i].item()!r}", given, f"{double[i].item()!r}, as in float64")


def noise_depends_on_nothing_but_t(part: Noise, draw: Draw) -> None:
    """Repeated calls, calls with one t at a time and calls on copies agree, and `t` itself is not changed."""
    t = _times(draw)
    copy = type(part).model_validate(part.model_dump())
    for method in ("total", "rate"):
        given = t.clone()
        first = _noise(part, method, given)
        if not torch.equal(given, t):
            fail(part, "every t", f"{method} changed t in place", "t to stay unchanged")
        alone = torch.stack([_noise(part, method, one) for one in t])
        again, fresh = _noise(part, method, t), _noise(copy, method, t)
        for call, value in (("a repeated call", again), ("one t at a time", alone), ("a copy", fresh)):
            wrong = ~torch.isclose(value, first, rtol=1e-9, atol=1e-12)
            if (i := _first(wrong)) is not None:
                values = f"{method} was {first[i].item()!r}, {call} returns {value[i].item()!r}"
                fail(part, f"t = {t[i].item()!r}", values, "equal values")


CHECKS = (
    total_starts_at_sigma_min_and_ends_at_sigma_max, total_is_finite_and_not_negative,
    rate_is_finite_and_not_negative, total_never_falls, rate_is_the_derivative_of_total, shape_and_dtype_are_kept,
    float32_agrees_with_float64, noise_depends_on_nothing_but_t,
)  # fmt: skip
