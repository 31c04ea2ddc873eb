"""What noise schedules promise."""

from __future__ import annotations

import itertools
import math

import torch
from hypothesis import strategies as st
from torch import Tensor

from sedd.plugins.contracts import Noise
from sedd.testing.reports import Draw, ask, fail


def _times(draw: Draw, dtype: torch.dtype = torch.float64) -> Tensor:
    """Times all over [0, 1], crowded at both ends, and a few of Hypothesis's own; in order."""
    near = [10.0**-k for k in range(2, 9)]
    own = draw(st.lists(st.floats(0.0, 1.0), max_size=8))
    values = [i / 64 for i in range(65)] + near + [1.0 - x for x in near] + own
    return torch.tensor(sorted(values), dtype=torch.float64).to(dtype)


def _noise(part: Noise, method: str, t: Tensor) -> Tensor:
    label = f"t of shape {tuple(t.shape)} and {t.dtype}"
    value = ask(part, label, "a tensor like t", method, t)
    if not isinstance(value, Tensor):
        fail(part, label, f"{method} is {value!r}, of type {type(value).__name__}", "a tensor")
    if value.shape != t.shape:
        fail(part, label, f"{method} has shape {tuple(value.shape)}", "the shape of t")
    if value.dtype != t.dtype:
        fail(part, label, f"{method} has {value.dtype}", "the dtype of t")
    return value


def _first(bad: Tensor) -> int:
    return int(bad.flatten().nonzero()[0, 0])


def _all_finite_and_positive(part: Noise, method: str, draw: Draw) -> None:
    for dtype in (torch.float64, torch.float32):
        t = _times(draw, dtype)
        value = _noise(part, method, t)
        bad = ~torch.isfinite(value) | (value < 0)
        if bad.any():
            i = _first(bad)
            fail(part, f"t = {t[i].item()!r} ({dtype})", f"{method} is {value[i].item()!r}", "a finite number >= 0")


def total_starts_at_sigma_min_and_ends_at_sigma_max(part: Noise, draw: Draw) -> None:
    """total(0) is `sigma_min` and total(1) is `sigma_max`: what the run file says is what the model sees."""
    ends = _noise(part, "total", torch.tensor([0.0, 1.0], dtype=torch.float64))
    for t, name, value in ((0, "sigma_min", ends[0].item()), (1, "sigma_max", ends[1].item())):
        wanted = getattr(part, name)
        if not math.isclose(value, wanted, rel_tol=1e-6, abs_tol=1e-9 + 1e-7 * part.sigma_max):
            fail(part, f"t = {t}", f"total is {value!r}", f"{name}, which is {wanted!r}")


def total_is_finite_and_not_negative(part: Noise, draw: Draw) -> None:
    """sigma(t) is a finite number >= 0 at every t in [0, 1], both ends included, in float64 and float32."""
    _all_finite_and_positive(part, "total", draw)


def rate_is_finite_and_not_negative(part: Noise, draw: Draw) -> None:
    """The rate weighs the loss: it is a finite number >= 0 at every t in [0, 1], in float64 and float32."""
    _all_finite_and_positive(part, "rate", draw)


def total_never_falls(part: Noise, draw: Draw) -> None:
    """Noise accumulates: sigma(t) at a later t is never less."""
    t = _times(draw)
    total = _noise(part, "total", t)
    falls = total[1:] < total[:-1] - 1e-9 * part.sigma_max
    if falls.any():
        i = _first(falls)
        given = f"total falls from {total[i].item()!r} at t = {t[i].item()!r} to {total[i + 1].item()!r}"
        fail(part, f"t = {t[i + 1].item()!r}", given, "one that never falls")


def rate_is_the_derivative_of_total(part: Noise, draw: Draw) -> None:
    """`rate` is what autograd finds for `total`, in float64: otherwise the loss is weighted wrongly."""
    t = _times(draw).requires_grad_()
    total = _noise(part, "total", t)
    if not total.requires_grad:
        fail(part, "every t", "autograd cannot differentiate total", "torch operations on t, without detach or item()")
    (slope,) = torch.autograd.grad(total.sum(), t)
    rate = _noise(part, "rate", t.detach())
    wrong = ~torch.isclose(rate, slope, rtol=1e-6, atol=1e-9 * part.sigma_max)
    if wrong.any():
        i = _first(wrong)
        expected = f"{slope[i].item()!r}, the derivative of total"
        fail(part, f"t = {t[i].item()!r}", f"rate is {rate[i].item()!r}", expected)


def shape_and_dtype_are_kept(part: Noise, draw: Draw) -> None:
    """float32 in, float32 out, float64 in, float64 out, and any shape, scalars and empty tensors included."""
    for dtype, shape, method in itertools.product(
        (torch.float32, torch.float64), ((), (0,), (3,), (4, 1), (2, 0, 3)), ("total", "rate")
    ):
        _noise(part, method, torch.full(shape, 0.25, dtype=dtype))


def float32_agrees_with_float64(part: Noise, draw: Draw) -> None:
    """Training computes in float32: at the same t it gives the numbers of float64 to three digits or better."""
    t = _times(draw, torch.float32)
    for method in ("total", "rate"):
        single, double = _noise(part, method, t), _noise(part, method, t.double())
        wrong = ~torch.isclose(single.double(), double, rtol=1e-3, atol=1e-6 * part.sigma_max)
        if wrong.any():
            i = _first(wrong)
            given = f"{method} is {single[i].item()!r} in float32"
            fail(part, f"t = {t[i].item()!r}", given, f"{double[i].item()!r}, as in float64")


def noise_depends_on_nothing_but_t(part: Noise, draw: Draw) -> None:
    """Asked again, one t at a time, or of a fresh copy, the answer is the same, and `t` itself is left alone."""
    t = _times(draw)
    copy = type(part).model_validate(part.model_dump())
    for method in ("total", "rate"):
        given = t.clone()
        first = _noise(part, method, given)
        if not torch.equal(given, t):
            fail(part, "every t", f"{method} changed t in place", "t to be left as it is")
        alone = torch.stack([_noise(part, method, one) for one in t])
        again, fresh = _noise(part, method, t), _noise(copy, method, t)
        for who, value in (("asked again", again), ("one t at a time", alone), ("a fresh copy", fresh)):
            wrong = ~torch.isclose(value, first, rtol=1e-9, atol=1e-12)
            if wrong.any():
                i = _first(wrong)
                answers = f"{method} was {first[i].item()!r}, {who} gives {value[i].item()!r}"
                fail(part, f"t = {t[i].item()!r}", answers, "the same answer")


CHECKS = (
    total_starts_at_sigma_min_and_ends_at_sigma_max,
    total_is_finite_and_not_negative,
    rate_is_finite_and_not_negative,
    total_never_falls,
    rate_is_the_derivative_of_total,
    shape_and_dtype_are_kept,
    float32_agrees_with_float64,
    noise_depends_on_nothing_but_t,
)
