"""The typed configuration of a run: frozen, with bounds in the types and one source for messages and JSON schema.

Section and key names are those of the SEDD code base and of the run files its users already have. `Config(...)` is
the only place that validates; `sedd.config.run_file` reads YAML, presets and overrides, and merges them for it.
"""

from __future__ import annotations

import math
import warnings
from typing import Annotated, Any, ClassVar

from annotated_types import Interval
from pydantic import Field, SerializeAsAny, ValidationError

from sedd.config import sections
from sedd.config.layers import long_form, merged
from sedd.config.messages import InvalidConfigError, problems
from sedd.config.plugin_sections import Installed
from sedd.config.section import Section
from sedd.errors import SeddWarning
from sedd.plugins.backends import Auto
from sedd.plugins.checked import checked_difficulty
from sedd.plugins.contracts import Backend, Curriculum, Network, Noise, Ramp, Tracker
from sedd.plugins.curricula import Linear
from sedd.plugins.effects import Effect
from sedd.plugins.networks import Ddit
from sedd.plugins.noises import LogLinear
from sedd.plugins.registry import KINDS


class Config(Section):
    """The configuration of a run: everything that defines it.

    Raises:
        ConfigError: for an unknown key, a wrong type, a value out of bounds, or a plugin that is not installed. Its
            message has a line for each, with what was given and what was expected; `keys` has their dotted keys.

    Examples:
        >>> import sedd
        >>> config = sedd.Config(noise={"type": "cosine", "sigma_max": 5.0}, training={"n_iters": 100})
        >>> config.noise.sigma_max
        5.0
    """

    GENERATES_BELOW: ClassVar[float] = 0.01
    """Largest share of residues that may stay visible at full noise in a model that generates complete sequences."""

    seed: Annotated[int, Interval(ge=0, lt=2**63)] = 0
    """Seed of every random draw of the run."""
    data: sections.Data = sections.Data()
    graph: sections.Graph = sections.Graph()
    noise: Annotated[SerializeAsAny[Noise], Installed.of("noise")] = Field(LogLinear(), validate_default=True)
    """How the noise grows with time."""
    curriculum: Annotated[SerializeAsAny[Curriculum], Installed.of("curriculum")] = Linear()
    """How the difficulty of the noise grows over the run."""
    model: Annotated[SerializeAsAny[Network], Installed.of("model")] = Ddit()
    """The network that is trained."""
    optim: sections.Optim = sections.Optim()
    lr_schedule: sections.LrSchedule = sections.LrSchedule()
    ema: sections.Ema = sections.Ema()
    training: sections.Training = sections.Training()
    monitoring: Annotated[sections.Monitoring, Effect.MONITORING] = sections.Monitoring()
    evaluation: Annotated[sections.Evaluation, Effect.EVALUATION] = sections.Evaluation()
    sampling: Annotated[sections.Sampling, Effect.NONE] = sections.Sampling()
    checkpoint: Annotated[sections.Checkpoint, Effect.NONE] = sections.Checkpoint()
    distributed: Annotated[sections.Distributed, Effect.ROUNDING] = sections.Distributed()
    device: Annotated[SerializeAsAny[Backend], Installed.of("device"), Effect.NONE] = Auto()
    """Where the run computes, and with which precision."""
    trackers: Annotated[tuple[Annotated[SerializeAsAny[Tracker], Installed.of("trackers")], ...], Effect.NONE] = ()
    """What receives the metrics besides the metrics file."""

    def __init__(self, **data: Any) -> None:
        data = long_form(data)
        try:
            super().__init__(**data)
        except ValidationError as error:
            raise InvalidConfigError.of(problems(error, type(self), data)) from None
        for advice in self.advice():
            warnings.warn(advice, SeddWarning, stacklevel=2)

    def replace(self, **changes: Any) -> Config:
        """A validated copy with some sections or keys changed: `config.replace(optim={"lr": 1e-4})`.

        A mapping changes the keys it names; a part (`curriculum=MyCurriculum()`) replaces the section.
        """
        return Config(**merged(self.to_dict(parts=True), long_form(changes)))

    def to_dict(self, *, parts: bool = False) -> dict[str, Any]:
        """The configuration as plain data; with `parts`, plugin sections are kept as objects."""
        data = self.model_dump(mode="json")
        if parts:
            for kind in KINDS:
                *outer, name = kind.path
                section, part = data, self
                for key in outer:
                    section, part = section[key], getattr(part, key)
                section[name] = getattr(part, name)
        return data

    @property
    def prior_kept(self) -> float:
        """e^(-sigma_max): the expected share of residues that the noise leaves unchanged even at t = 1."""
        return math.exp(-self.noise.sigma_max)

    def advice(self) -> list[str]:
        """Warnings about what is allowed in this configuration and probably not intended."""
        advice: list[str] = []
        kept = self.prior_kept
        if kept > self.GENERATES_BELOW:
            advice.append(
                f"noise.sigma_max={self.noise.sigma_max:g} leaves {kept:.0%} of the residues untouched even at full "
                f"difficulty: the model will redesign up to {1 - kept:.0%} of a sequence, but cannot generate from "
                "nothing. Set noise.sigma_max=6.9 (0.1 % untouched) to generate"
            )
        curriculum = self.curriculum
        if isinstance(curriculum, Ramp) and curriculum.preschool_time:
            start, end = curriculum.shape(0.0), curriculum.shape(1.0)
            if abs(start) > 1e-3 or abs(end - 1.0) > 1e-3:
                advice.append(
                    f"{type(curriculum).__qualname__}: its shape runs from {start:g} to {end:g}, not from 0 to 1, "
                    "so the difficulty jumps at preschool_time; rescale it"
                )
        n_iters = self.training.n_iters
        if checked_difficulty(curriculum, n_iters - 1) < 1.0:
            advice.append(
                f"training.n_iters={n_iters} ends before the curriculum reaches full difficulty at "
                f"curriculum.preschool_time={curriculum.preschool_time}; train longer or shorten preschool_time"
            )
        if self.optim.warmup > n_iters:
            advice.append(
                f"training.n_iters={n_iters} ends inside the warm-up of {self.optim.warmup} steps, so the learning "
                "rate never reaches optim.lr; train longer or shorten optim.warmup"
            )
        return advice
