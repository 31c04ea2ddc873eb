"""Differences between the configurations of runs, for resuming and for comparing.

Configurations are plain data here: a run can be compared where its plugins are not installed. What a key affects is
written beside its field, see `sedd.plugins.effects.Effect`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, get_args

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import to_jsonable_python

from sedd.config.config import Config
from sedd.plugins.effects import Effect
from sedd.plugins.registry import KINDS, registry


@dataclass(frozen=True)
class Difference:
    """A dotted key whose value is not the same in all runs."""

    key: str
    values: tuple[Any, ...]
    """The value in each run, None where a run does not have the key."""
    neutral: bool
    """Whether the runs were trained alike in spite of it."""

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        return {"key": self.key, "values": list(self.values), "neutral": self.neutral}


def config_differences(
    configs: Sequence[Mapping[str, Any]], *, same_data: bool = False, rolled_back: bool = False
) -> tuple[Difference, ...]:
    """Compare configurations key by key, in their order.

    Args:
        configs: of each run, as plain data.
        same_data: whether all runs were trained on the same sequences, wherever these lie.
        rolled_back: whether one of them went back to an earlier checkpoint.
    """
    flat = [dict(flattened(with_defaults(config))) for config in configs]
    differences = []
    for key in dict.fromkeys(key for config in flat for key in config):
        values = tuple(config.get(key) for config in flat)
        if any(value != values[0] for value in values):
            neutral = effect_of(key).neutral(same_data=same_data, rolled_back=rolled_back)
            differences.append(Difference(key, values, neutral))
    return tuple(differences)


def blocking_differences(recorded: Mapping[str, Any], config: Mapping[str, Any]) -> tuple[Difference, ...]:
    """The differences with which a run cannot be resumed."""
    differences = config_differences((recorded, config))
    return tuple(item for item in differences if not effect_of(item.key).may_change_on_resume)


def with_defaults(config: Mapping[str, Any]) -> dict[str, Any]:
    """`config` with the default of each key that it lacks.

    Runs of an earlier version have fewer keys, and a key that is added later has a default that changes nothing. Parts
    that are not installed stay as they are.
    """
    named = with_part_names(config)
    parts: dict[str, type[BaseModel]] = {}
    for kind in KINDS:
        section = named.get(kind.section)
        if isinstance(section, Mapping):
            parts[kind.section] = registry().of(kind.section).get(section[kind.base.discriminator], BaseModel)
    return _completed(named, Config, parts)


def _completed(
    data: Mapping[str, Any], model: type[BaseModel], parts: Mapping[str, type[BaseModel]] = MappingProxyType({})
) -> dict[str, Any]:
    """`data` with the defaults of the fields that it lacks, in nested sections too. `parts`: classes of sections."""
    filled = dict(data)
    for name, field in model.model_fields.items():
        value = filled.get(name)
        if name not in filled and not field.is_required():
            filled[name] = to_jsonable_python(field.get_default(call_default_factory=True))
        elif isinstance(value, Mapping):
            filled[name] = _completed(value, parts.get(name, _section(field)))
    return filled


def with_part_names(config: Mapping[str, Any]) -> dict[str, Any]:
    """`config` with the name of each part: a section without one means the default part. Runs from before networks were
    parts have no `model.type`."""
    named = dict(config)
    for kind in KINDS:
        section = named.get(kind.section)
        if kind.default is not None and isinstance(section, Mapping):
            named[kind.section] = {kind.base.discriminator: kind.default} | dict(section)
    return named


def effect_of(key: str) -> Effect:
    """What a dotted key affects: that of the innermost field on its path that has an `Effect`."""
    effect = Effect.TRAINING
    model: type[BaseModel] = Config
    for name in key.split("."):
        field = model.model_fields.get(name)
        if field is None:  # the option of a plugin, or of another version
            break
        effect = next((mark for mark in field.metadata if isinstance(mark, Effect)), effect)
        model = _section(field)
    return effect


def keys_with(effect: Effect, model: type[BaseModel] = Config, prefix: str = "") -> tuple[str, ...]:
    """The dotted keys whose own field has this effect."""
    keys: list[str] = []
    for name, field in model.model_fields.items():
        if effect in field.metadata:
            keys.append(f"{prefix}{name}")
        keys += keys_with(effect, _section(field), f"{prefix}{name}.")
    return tuple(keys)


def flattened(config: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Dotted keys and their values; lists and empty mappings are values."""
    for key, value in config.items():
        if isinstance(value, Mapping) and value:
            yield from flattened(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _section(field: FieldInfo) -> type[BaseModel]:
    """The model of a section, also of one that may be null; one without fields for anything else."""
    kinds = (field.annotation, *get_args(field.annotation))
    return next((kind for kind in kinds if isinstance(kind, type) and issubclass(kind, BaseModel)), BaseModel)
