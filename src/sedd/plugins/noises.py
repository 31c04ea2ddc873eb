"""The built-in noise schedules: sigma(t) and its derivative, from `sigma_min` at t = 0 to `sigma_max` at t = 1."""

from __future__ import annotations

import math
from typing import Annotated, Literal, Self

import torch
from annotated_types import Interval
from pydantic import FiniteFloat, model_validator
from torch import Tensor

from sedd.plugins.contracts import Noise
from sedd.plugins.hookspecs import hookimpl


class _Builtin(Noise):
    """Base class of the built-in schedules: checks that sigma_min < sigma_max."""

    @model_validator(mode="after")
    def _noise_grows(self) -> Self:
        if self.sigma_min >= self.sigma_max:
            raise ValueError(f"sigma_min ({self.sigma_min}) must be below sigma_max ({self.sigma_max})")
        return self


class LogLinear(_Builtin):
    """The mask rate 1 - e^(-sigma) grows linearly in t (Lou et al. 2024, appendix C.1).

    SEDD writes it as -log(1 - (1 - eps) t); here eps = e^(-sigma_max), 0.001 for the default.
    """

    type: Literal["loglinear"] = "loglinear"
    sigma_min: Annotated[FiniteFloat, Interval(ge=0.0, le=20.0)] = 0.0
    sigma_max: Annotated[FiniteFloat, Interval(ge=1e-6, le=20.0)] = 6.907755

    def total(self, t: Tensor) -> Tensor:
        low, high = -math.expm1(-self.sigma_min), -math.expm1(-self.sigma_max)
        climb = high - low
        # Two writings of one formula: the first loses all digits near t = 1 in float32, the second near t = 0.
        from_start = -torch.log1p(-(low + climb * t).clamp(max=0.75))
        from_end = self.sigma_max - torch.log1p(climb * math.exp(self.sigma_max) * (1.0 - t))
        return torch.where(low + climb * t < 0.5, from_start, from_end)

    def rate(self, t: Tensor) -> Tensor:
        low, high = -math.expm1(-self.sigma_min), -math.expm1(-self.sigma_max)
        return (high - low) / (math.exp(-self.sigma_max) + (high - low) * (1.0 - t))


class Geometric(_Builtin):
    """sigma grows by a constant factor: sigma_min^(1-t) sigma_max^t (Lou et al. 2024, appendix C.1)."""

    type: Literal["geometric"] = "geometric"
    sigma_min: Annotated[FiniteFloat, Interval(ge=1e-9, le=20.0)] = 1e-4
    sigma_max: Annotated[FiniteFloat, Interval(ge=1e-6, le=20.0)] = 20.0

    def total(self, t: Tensor) -> Tensor:
        low, high = math.log(self.sigma_min), math.log(self.sigma_max)
        return torch.exp(low + (high - low) * t)

    def rate(self, t: Tensor) -> Tensor:
        return self.total(t) * (math.log(self.sigma_max) - math.log(self.sigma_min))


class Cosine(_Builtin):
    """sigma rises slowly at both ends: sigma_min + (sigma_max - sigma_min) (1 - cos(pi t)) / 2."""

    type: Literal["cosine"] = "cosine"
    sigma_max: Annotated[FiniteFloat, Interval(ge=1e-6, le=20.0)] = 6.907755

    def total(self, t: Tensor) -> Tensor:
        # 1 - cos(x) = 2 sin^2(x/2): the left side loses every digit near t = 0 in float32.
        return self.sigma_min + (self.sigma_max - self.sigma_min) * torch.sin(0.5 * math.pi * t) ** 2

    def rate(self, t: Tensor) -> Tensor:
        # sin(pi t) = sin(pi (1 - t)): the left side is negative at t = 1 in float32, where pi is rounded up.
        return (self.sigma_max - self.sigma_min) * 0.5 * math.pi * torch.sin(math.pi * torch.minimum(t, 1.0 - t))


class Linear(_Builtin):
    """sigma grows linearly: sigma_min + (sigma_max - sigma_min) t."""

    type: Literal["linear"] = "linear"
    sigma_max: Annotated[FiniteFloat, Interval(ge=1e-6, le=20.0)] = 6.907755

    def total(self, t: Tensor) -> Tensor:
        return self.sigma_min + (self.sigma_max - self.sigma_min) * t

    def rate(self, t: Tensor) -> Tensor:
        return torch.full_like(t, self.sigma_max - self.sigma_min)


@hookimpl
def sedd_noises() -> list[type[Noise]]:
    return [LogLinear, Geometric, Cosine, Linear]
