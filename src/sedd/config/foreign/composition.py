"""`defaults` of Hydra: other files whose values belong to a run file."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from sedd.config.foreign.dialect import Dialect
from sedd.config.layers import merged
from sedd.config.reading import read_yaml
from sedd.errors import ConfigError

SELF = "_self_"
OPTION = re.compile(r"[A-Za-z0-9_@.+-]+(/[A-Za-z0-9_@.+-]+)*")
"""What a group or an option may be: a path below the folder of the run file."""


def composed(file: Path, data: Mapping[str, Any], dialect: Dialect) -> tuple[dict[str, Any], tuple[str, ...]]:
    """The values of a run file with those of the files under `defaults`, and what was decided about these.

    Raises:
        ConfigError: if a file is missing that the values depend on, or cannot be read.
    """
    own = {key: value for key, value in data.items() if key != "defaults"}
    result: dict[str, Any] = {}
    notes: list[str] = []
    entries = list(_entries(file, data.get("defaults")))
    if not any(group == SELF for group, _ in entries):
        entries.append((SELF, ""))
    for group, option in entries:
        if group == SELF:
            result = merged(result, own)
        elif group not in dialect.unused_groups and group.split("/")[0] not in dialect.unused_groups:
            values, note = _values(file, group, option, own, dialect)
            notes += [note] if note else []
            result = merged(result, {group: values} if values else {})
    return result, tuple(notes)


def _entries(file: Path, defaults: Any) -> Iterator[tuple[str, str]]:
    """Groups and options, in their order."""
    if defaults is None:
        return
    if not isinstance(defaults, list):
        raise ConfigError(f"{file}: defaults: expected a list", keys=["defaults"])
    for item in defaults:
        if item == SELF:
            yield SELF, ""
        elif isinstance(item, str):
            group, slash, option = item.rpartition("/")
            yield group.lstrip("/") or option, option if slash else ""
        elif isinstance(item, Mapping):
            for key, option in item.items():
                group = str(key).removeprefix("override ").removeprefix("optional ").strip().lstrip("/")
                for one in option if isinstance(option, list) else [option]:
                    if one is not None:
                        yield group, str(one)
        else:
            raise ConfigError(f"{file}: defaults: expected names of files, got {item!r}"[:200], keys=["defaults"])


def _values(
    file: Path, group: str, option: str, own: Mapping[str, Any], dialect: Dialect
) -> tuple[Mapping[str, Any], str]:
    """The values of one option of a group, and a note on where they are from."""
    name = "/".join(filter(None, (group, option)))
    if not OPTION.fullmatch(name) or ".." in name:
        raise ConfigError(f"{file}: defaults: {name[:80]!r} is not the name of a file below it", keys=["defaults"])
    if not dialect.composes and group in own:
        return {}, f"defaults: {name} is not used, since the file has the section {group} itself."
    beside = file.parent / f"{name}.yaml"
    if beside.is_file():
        return read_yaml(beside), f"defaults: {name} is {beside}."
    known = dialect.groups.get(group, {}).get(option)
    if known is not None:
        return known, f"defaults: {name} is not beside the file; its values are those of the published program."
    if group in own:
        return {}, f"defaults: {name} is not beside the file, which has the section {group} itself."
    raise ConfigError(
        f"{file}: defaults: {name} is missing; put {beside} there, or write its values into the section {group}",
        keys=["defaults"],
    )
