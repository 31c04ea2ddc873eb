"""Merge layers of configuration: a preset or a file, then overrides, then keyword arguments."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sedd.config.messages import InvalidConfigError, KeyPath, Problem
from sedd.plugins.contracts import Part
from sedd.plugins.registry import KINDS, registry

ATOMIC_KEYS = {"substitute", "alphabet", "own"}
"""Keys whose value is a mapping that is replaced as a unit; sections are merged key by key."""
SHORT_FORMS: dict[KeyPath, KeyPath] = {("training", "ema"): ("ema", "decay"), ("device",): ("device", "type")}
"""Keys that stand for another key."""


def merged(data: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """A copy of `data` with `changes` applied, key by key. Both are in the long form.

    Where `data` holds a part and `changes` a mapping, the options of the part are merged with the mapping.
    """
    result = dict(data)
    for key, value in changes.items():
        old = result.get(key)
        if isinstance(old, Part) and isinstance(value, Mapping):
            old = _options(old, value)
        if isinstance(old, Mapping) and isinstance(value, Mapping) and key not in ATOMIC_KEYS:
            value = merged(old, value)
        result[key] = value
    return result


def _options(part: Part, changes: Mapping[str, Any]) -> dict[str, Any]:
    """The options of a part that outlive `changes`; if they choose another class: those that were set and fit it."""
    name = changes.get(part.discriminator, part.part_name())
    if name == part.part_name():
        return part.model_dump(mode="json")
    section = next(kind.section for kind in KINDS if isinstance(part, kind.base))
    installed = registry().of(section)
    known = set(installed[name].model_fields) if name in installed else set()
    return part.model_dump(mode="json", exclude_unset=True, include=known - {part.discriminator})


def _with_index(device: Mapping[str, Any]) -> dict[str, Any]:
    """Split `type: cuda:1` into type and index. Raises InvalidConfigError if such devices have no numbers."""
    name, colon, number = str(device.get("type", "")).partition(":")
    if not colon or not number.isdecimal():
        return dict(device)
    known = registry().of("device")
    if name in known and "index" not in known[name].model_fields:
        text = f"device={name}:{number}: devices of the type {name!r} have no numbers; write device={name}"
        raise InvalidConfigError.of([Problem(("device", "type"), text)])
    return {**device, "type": name, "index": int(number)}


def long_form(data: Mapping[str, Any]) -> dict[str, Any]:
    """Replace the short forms: `training.ema: 0.999`, `device: cuda:1`, `trackers: [csv]`, and names of metrics. Raises
    InvalidConfigError if `training.ema` and `ema.decay` are both given and differ."""
    result = dict(data)
    training, ema = result.get("training"), result.get("ema")
    if isinstance(training, Mapping) and "ema" in training:
        decay = training["ema"]
        if isinstance(ema, Mapping) and ema.get("decay", decay) != decay:
            text = f"training.ema={decay} and ema.decay={ema['decay']} disagree; keep one of the two"
            raise InvalidConfigError.of([Problem(("training", "ema"), text)])
        result["training"] = {key: value for key, value in training.items() if key != "ema"}
        result["ema"] = merged(ema or {}, {"decay": decay})
    if isinstance(result.get("device"), str):
        result["device"] = {"type": result["device"]}
    if isinstance(result.get("device"), Mapping):
        result["device"] = _with_index(result["device"])
    if "trackers" in result:
        result["trackers"] = _long_parts(result["trackers"])
    evaluation = result.get("evaluation")
    if isinstance(evaluation, Mapping) and "metrics" in evaluation:
        result["evaluation"] = {**evaluation, "metrics": _long_parts(evaluation["metrics"])}
    return result


def _long_parts(parts: Any) -> Any:
    """A list of parts, each of which may be given by its name."""
    if not isinstance(parts, list | tuple):
        return parts
    return [{"type": item} if isinstance(item, str) else item for item in parts]
