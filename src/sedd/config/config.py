"""The typed configuration of a run: frozen, with bounds in the types and one source for messages and JSON schema.

Section and key names are those of the SEDD code base and of the run files its users already have. `Config(...)`
validates plugin sections (noise, curriculum, device, trackers) against everything that is installed.
Reading YAML, presets and overrides is the job of `sedd.config.run_file`.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping
from functools import cache
from typing import Annotated, Any, ClassVar, Union, cast

from annotated_types import Interval
from pydantic import (
    BaseModel,
    Discriminator,
    Field,
    InstanceOf,
    SerializeAsAny,
    Tag,
    ValidationError,
    create_model,
)
from pydantic.json_schema import SkipJsonSchema

from sedd.config.messages import Where, explain
from sedd.config.sections import (
    Checkpoint,
    Data,
    Distributed,
    Ema,
    Evaluation,
    Graph,
    LrSchedule,
    Model,
    Monitoring,
    Optim,
    Sampling,
    Section,
    Training,
)
from sedd.errors import ConfigError, SeddWarning
from sedd.plugins.contracts import Backend, Curriculum, Noise, Part, Ramp, Tracker, checked_difficulty
from sedd.plugins.effects import Effect
from sedd.plugins.registry import KINDS, Kind, registry


class Config(Section):
    """Everything that defines a run.

    Raises:
        ConfigError: for an unknown key, a wrong type, a value out of bounds, or a plugin that is not installed,
            with a line for each that says what was given and what was expected.

    Examples:
        >>> import sedd
        >>> config = sedd.Config(noise={"type": "cosine", "sigma_max": 5.0}, training={"n_iters": 100})
        >>> config.noise.sigma_max
        5.0
    """

    GENERATES_BELOW: ClassVar[float] = 0.01
    """A model can generate from nothing if less than this share of residues stays visible at full noise."""

    seed: Annotated[int, Interval(ge=0, lt=2**63)] = 0
    """Everything random follows from it."""
    data: Data = Data()
    graph: Graph = Graph()
    noise: SerializeAsAny[Noise]
    curriculum: SerializeAsAny[Curriculum]
    model: Model = Model()
    optim: Optim = Optim()
    lr_schedule: LrSchedule = LrSchedule()
    ema: Ema = Ema()
    training: Training = Training()
    monitoring: Annotated[Monitoring, Effect.MONITORING] = Monitoring()
    evaluation: Annotated[Evaluation, Effect.EVALUATION] = Evaluation()
    sampling: Annotated[Sampling, Effect.NONE] = Sampling()
    checkpoint: Annotated[Checkpoint, Effect.NONE] = Checkpoint()
    distributed: Annotated[Distributed, Effect.ROUNDING] = Distributed()
    device: Annotated[SerializeAsAny[Backend], Effect.NONE]
    trackers: Annotated[tuple[SerializeAsAny[Tracker], ...], Effect.NONE] = ()

    def __init__(self, **data: Any) -> None:
        super().__init__(**validated(data))
        for advice in self.advice():
            warnings.warn(advice, SeddWarning, stacklevel=2)

    def replace(self, **sections: Any) -> Config:
        """A validated copy with some sections or keys changed: `config.replace(optim={"lr": 1e-4})`.

        A mapping changes the keys it names; a part (`curriculum=MyCurriculum()`) takes the place of the whole section.
        """
        return Config(**merged(self.as_dict(parts=True), expanded(sections)))

    def as_dict(self, *, parts: bool = False) -> dict[str, Any]:
        """The configuration as plain data; with `parts`, plugin sections stay the objects they are."""
        data = self.model_dump(mode="json")
        if parts:
            data |= {kind.section: getattr(self, kind.section) for kind in KINDS}
        return data

    @property
    def prior_kept(self) -> float:
        """e^(-sigma_max): the share of residues that is never masked."""
        return math.exp(-self.noise.sigma_max)

    def advice(self) -> list[str]:
        """What is legal in this configuration but very likely not wanted."""
        found = []
        kept = self.prior_kept
        if kept > self.GENERATES_BELOW:
            found.append(
                f"noise.sigma_max={self.noise.sigma_max:g} leaves {kept:.0%} of the residues untouched even at full "
                f"difficulty: the model will redesign up to {1 - kept:.0%} of a sequence, but cannot generate from "
                "nothing. Set noise.sigma_max=6.9 (0.1 % untouched) to generate"
            )
        curriculum = self.curriculum
        if isinstance(curriculum, Ramp) and curriculum.preschool_time:
            start, end = curriculum.shape(0.0), curriculum.shape(1.0)
            if abs(start) > 1e-3 or abs(end - 1.0) > 1e-3:
                found.append(
                    f"{type(curriculum).__qualname__}: its shape runs from {start:g} to {end:g}, not from 0 to 1, "
                    "so the difficulty jumps at preschool_time; rescale it"
                )
        ends = self.training.n_iters
        if checked_difficulty(self.curriculum, ends - 1) < 1.0:
            found.append(
                f"training.n_iters={ends} ends before the curriculum reaches full difficulty at "
                f"curriculum.preschool_time={self.curriculum.preschool_time}; train longer or shorten preschool_time"
            )
        if self.optim.warmup > ends:
            found.append(
                f"training.n_iters={ends} ends inside the warm-up of {self.optim.warmup} steps, so the learning rate "
                "never reaches optim.lr; train longer or shorten optim.warmup"
            )
        return found


VALUES = {"substitute"}
"""Keys whose value is a map: it is replaced as a whole, unlike a section."""


def merged(data: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """`data` with `changes` laid over it, key by key; a part gives way to a mapping by becoming its own keys."""
    result = dict(data)
    for key, value in changes.items():
        old = result.get(key)
        if isinstance(old, Part) and isinstance(value, Mapping):
            old = _carried(old, value)
        if isinstance(old, Mapping) and isinstance(value, Mapping) and key not in VALUES:
            value = merged(old, value)
        result[key] = value
    return result


def _carried(part: Part, changes: Mapping[str, Any]) -> dict[str, Any]:
    """The options of a part that outlive `changes`; of another type, only those that were set and that it has too."""
    name = changes.get(part.discriminator, part.part_name())
    if name == part.part_name():
        return part.model_dump(mode="json")
    section = next(kind.section for kind in KINDS if isinstance(part, kind.base))
    known = set(registry().of(section)[name].model_fields) if name in registry().of(section) else set()
    return part.model_dump(mode="json", exclude_unset=True, include=known - {part.discriminator})


def expanded(data: Mapping[str, Any], where: Where = lambda path: "") -> dict[str, Any]:
    """Write the short forms out: `training.ema: 0.999`, `device: cpu`, `trackers: [csv]`."""
    result = dict(data)
    training = result.get("training")
    if isinstance(training, Mapping) and "ema" in training:
        decay = training["ema"]
        if isinstance(result.get("ema"), Mapping) and result["ema"].get("decay", decay) != decay:
            raise ConfigError(
                f"{where(('training', 'ema'))}training.ema={decay} and ema.decay={result['ema']['decay']} disagree; "
                "keep one of the two"
            )
        result["training"] = {key: value for key, value in training.items() if key != "ema"}
        result["ema"] = merged(result.get("ema") or {}, {"decay": decay})
    if isinstance(result.get("device"), str):
        result["device"] = {"type": result["device"]}
    if isinstance(result.get("trackers"), list | tuple):
        result["trackers"] = [{"type": item} if isinstance(item, str) else item for item in result["trackers"]]
    return result


@cache
def typed_model() -> type[BaseModel]:
    """`Config` with every plugin section typed as the union of what is installed: validates, and makes the schema."""
    fields: dict[str, Any] = {}
    for name, info in Config.model_fields.items():
        fields[name] = (info.annotation, info)
    for kind in KINDS:
        union = _union(kind)
        doc = (kind.base.__doc__ or "").splitlines()[0]
        if kind.section == "trackers":
            many = tuple[union, ...]  # type: ignore[valid-type]  # a type computed from what is installed
            fields[kind.section] = (many, Field(default=(), description=doc))
        else:
            fields[kind.section] = (union, Field(default_factory=dict, validate_default=True, description=doc))
    return create_model("Config", __base__=Section, __doc__="A sedd run file.", **fields)


def _union(kind: Kind) -> Any:
    """Choose the part by the value of its discriminator; a part that is an object already passes as it is."""

    def tag(value: Any) -> str | None:
        if not isinstance(value, Mapping):
            return "(object)" if isinstance(value, Part) else None
        name = value.get(kind.base.discriminator, kind.default)
        return None if name is None else str(name)

    classes = registry().of(kind.section)
    instance, hidden = cast(Any, InstanceOf), cast(Any, SkipJsonSchema)  # of a type that is known only now
    ready = hidden[instance[kind.base]]
    tagged = (*(Annotated[cls, Tag(name)] for name, cls in classes.items()), Annotated[ready, Tag("(object)")])
    return Annotated[Union[tagged], Discriminator(tag)]  # noqa: UP007  # a union of a computed number of types


def validated(data: Mapping[str, Any], *, where: Where = lambda path: "") -> dict[str, Any]:
    """Validate plain data against everything installed; returns the sections as objects.

    Parts that are already objects pass as they are, registered or not.

    Args:
        data: sections by name, short forms allowed.
        where: tells where a key path was given, for example ``"run.yaml:12: "``; put before each message.

    Raises:
        ConfigError: with a line for everything that is wrong.
    """
    try:
        resolved = typed_model().model_validate(expanded(data, where))
    except ValidationError as error:
        raise ConfigError("\n".join(explain(error, Config, where))) from None
    return {name: getattr(resolved, name) for name in Config.model_fields}
