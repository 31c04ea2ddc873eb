"""What a plugin is: a frozen pydantic model whose fields are its options and whose methods are its behaviour.

Four kinds of part exist. Each has a *discriminator*, the key that users write in their run file to choose one:

| kind       | base class   | section and key                | must implement                     |
|------------|--------------|--------------------------------|------------------------------------|
| curriculum | `Curriculum` | `curriculum.difficulty_ramp`   | `difficulty`, or `shape` of `Ramp` |
| noise      | `Noise`      | `noise.type`                   | `total`, `rate`                    |
| backend    | `Backend`    | `device.type`                  | `available`, `device`              |
| tracker    | `Tracker`    | `trackers[].type`              | `open`, `log`, `close`             |
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, final, get_args

import torch
from annotated_types import Interval
from pydantic import BaseModel, ConfigDict, FiniteFloat, ValidationError, model_validator
from pydantic_core import InitErrorDetails, PydanticCustomError
from torch import Tensor

from sedd.errors import PluginError

Steps = Annotated[int, Interval(ge=0, le=10**9)]
"""A number of optimizer steps."""
Fraction = Annotated[FiniteFloat, Interval(ge=0.0, le=1.0)]
"""A number in [0, 1]."""
Precision = Literal["auto", "float32", "bfloat16"]


def reject_bools(cls: type[BaseModel], data: Any) -> Any:
    """Refuse `true` and `false` for a number, which Python would take as 1 and 0. A validator of all models."""
    errors: list[InitErrorDetails] = []
    for name, value in data.items() if isinstance(data, Mapping) else ():
        field = cls.model_fields.get(name)
        types = {field.annotation, *get_args(field.annotation)} if field else set()
        if isinstance(value, bool) and types & {int, float} and bool not in types:
            problem = PydanticCustomError("boolean", "expected a number, got a boolean")
            errors.append({"type": problem, "loc": (name,), "input": value})
    if errors:
        raise ValidationError.from_exception_data(cls.__name__, errors)
    return data


class Part(BaseModel, ABC):
    """Base of all parts: frozen, strict about unknown keys, finite in every number."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, use_attribute_docstrings=True)

    discriminator: ClassVar[str] = "type"
    """The field whose value names the part in a run file."""

    _no_bools = model_validator(mode="before")(reject_bools)

    @classmethod
    def part_name(cls) -> str:
        """The name users write in a run file: the default of the discriminator field."""
        return str(cls.model_fields[cls.discriminator].default)


class Curriculum(Part):
    """How hard the noise is at each optimizer step: a pure function of the step, in [0, 1].

    It must never fall, and be exactly 1 from `preschool_time` on, so that every run ends on the full objective.
    Most ramps want `Ramp`, which takes care of both.
    """

    discriminator: ClassVar[str] = "difficulty_ramp"

    mode: Literal["scale", "truncate", "bias"] = "scale"
    """What difficulty d does to the noise: `scale` multiplies sigma by d; `truncate` draws t from [0, d]; `bias`
    draws t nearer to 0 with importance weights, so that the expected loss stays the full bound."""
    preschool_time: Steps = 0
    """Optimizer steps until the difficulty is exactly 1."""
    min_difficulty: Annotated[FiniteFloat, Interval(gt=0.0, le=1.0)] = 0.1
    """Difficulty at step 0."""

    @abstractmethod
    def difficulty(self, step: int) -> float:
        """Difficulty in [0, 1] at optimizer step `step` (0 is the first); pure and monotone."""


def checked_difficulty(curriculum: Curriculum, step: int) -> float:
    """`curriculum.difficulty(step)`, held to its promise.

    Raises:
        PluginError: if it fails, or gives anything but a number in [0, 1].
    """
    name = type(curriculum).__qualname__
    try:
        difficulty = curriculum.difficulty(step)
    except Exception as error:  # a plugin may fail in any way
        raise PluginError(f"curriculum {name}: difficulty({step}) failed ({type(error).__name__}: {error})") from error
    if not isinstance(difficulty, float | int) or not 0.0 <= difficulty <= 1.0:
        raise PluginError(f"curriculum {name}: difficulty({step}) returned {difficulty!r}, expected a number in [0, 1]")
    return float(difficulty)


class Ramp(Curriculum):
    """A curriculum that climbs from `min_difficulty` to 1 along a `shape`, over `preschool_time` steps."""

    @abstractmethod
    def shape(self, progress: float) -> float:
        """Map progress in [0, 1] to [0, 1]: monotone, 0 at 0 and 1 at 1."""

    @final
    def difficulty(self, step: int) -> float:
        if step >= self.preschool_time:
            return 1.0
        climbed = min(max(self.shape(max(step, 0) / self.preschool_time), 0.0), 1.0)
        return self.min_difficulty + (1.0 - self.min_difficulty) * climbed


class Noise(Part):
    """Cumulative noise sigma(t) at time t in [0, 1] and its derivative (Lou et al. 2024, section 3.3)."""

    sigma_min: Annotated[FiniteFloat, Interval(ge=0.0, le=20.0)] = 1e-4
    """sigma(0)."""
    sigma_max: Annotated[FiniteFloat, Interval(ge=1e-6, le=20.0)]
    """sigma(1): e^(-sigma_max) of the residues are never masked."""

    @abstractmethod
    def total(self, t: Tensor) -> Tensor:
        """sigma(t), same shape as `t`; float in, float out, differentiable."""

    @abstractmethod
    def rate(self, t: Tensor) -> Tensor:
        """d sigma / dt at `t`, same shape as `t`."""


class Backend(Part):
    """A kind of device: whether it is there, how to address it, and what it can do."""

    precision: Precision = "auto"
    """Arithmetic of the network's matrix products; `auto` takes bfloat16 where the hardware gains from it.
    Loss and score algebra are float32 always."""

    priority: ClassVar[int] = 0
    """`device: auto` takes the available backend of the highest priority."""

    @abstractmethod
    def available(self) -> bool:
        """Whether this machine has such a device, now."""

    @abstractmethod
    def device(self, local_rank: int = 0) -> torch.device:
        """The device of the process with this rank on its machine."""

    def fast_bfloat16(self) -> bool:
        """Whether the hardware has instructions for bfloat16 matrix products; whether they pay is measured then."""
        return False

    def prepare(self) -> None:
        """Set up what training on this device gains from; called once before it begins."""

    def autocast(self) -> AbstractContextManager[Any]:
        """The context in which the network runs; `precision: auto` was settled by `sedd.devices.choose`."""
        if self.precision == "bfloat16" or (self.precision == "auto" and self.fast_bfloat16()):
            return torch.autocast(self.device().type, dtype=torch.bfloat16)
        return nullcontext()

    def memory(self) -> dict[str, int]:
        """Memory in bytes, by name (for example ``{"allocated": ..., "peak": ...}``); empty where unknown."""
        return {}

    def seed(self, seed: int) -> None:
        """Seed every generator that layers such as dropout draw from on this device."""
        torch.manual_seed(seed)

    def process_group(self) -> str:
        """Name of the `torch.distributed` backend for this device."""
        return "gloo"


class Tracker(Part):
    """Receives every logged step report, for example to send it to an experiment tracker.

    Frozen like every part: what `open` returns is handed back to `log` and `close`.
    """

    @abstractmethod
    def open(self, run: Path, config: Mapping[str, Any]) -> Any:
        """Start tracking a run; returns the session that `log` and `close` receive."""

    @abstractmethod
    def log(self, session: Any, step: int, metrics: Mapping[str, float]) -> None:
        """Record the numbers of one optimizer step."""

    @abstractmethod
    def close(self, session: Any) -> None:
        """Flush and end; called once, also when training fails."""
