"""Run files: YAML, presets and dotted overrides in; a frozen `Config` out, with line numbers in every message."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any

import yaml

from sedd.config.config import Config, expanded, merged, typed_model, validated
from sedd.errors import ConfigError
from sedd.plugins.registry import registry

Key = tuple[str | int, ...]
_PLAIN_TAGS = ("tag:yaml.org,2002:map", "tag:yaml.org,2002:seq")
_LONG_FORMS: dict[Key, Key] = {("training", "ema"): ("ema", "decay"), ("device",): ("device", "type")}


class _Loader(yaml.SafeLoader):
    """YAML with numbers as people write them: PyYAML alone reads `1e-4` as a string."""


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"^[-+]?(\d[\d_]*\.?[\d_]*|\.\d[\d_]*)([eE][-+]?\d+)$"),
    list("-+.0123456789"),
)


def presets() -> dict[str, str]:
    """The built-in run files by name, as YAML text."""
    folder = files("sedd.config") / "presets"
    return {
        entry.name.removesuffix(".yaml"): entry.read_text(encoding="utf-8")
        for entry in sorted(folder.iterdir(), key=lambda entry: entry.name)
        if entry.name.endswith(".yaml")
    }


def load_config(source: str | Path | Mapping[str, Any], *overrides: str, **sections: Any) -> Config:
    """Read a preset, a YAML file or a mapping, lay overrides over it, and validate.

    Args:
        source: the name of a preset (`quickstart`, `uniref50`, ...), the path of a YAML file, or a mapping.
        overrides: dotted assignments, the value in YAML: ``"optim.lr=3e-4"``.
        sections: sections as mappings or parts: ``curriculum=MyCurriculum()``.

    Raises:
        ConfigError: says file and line, the value, what was expected, and what was probably meant.

    Examples:
        >>> import sedd
        >>> sedd.load_config("uniref50", "optim.lr=1e-4", "training.n_iters=50000").optim.lr
        0.0001
    """
    name, data, lines = _read(source)
    given = {_LONG_FORMS.get(path, path): f"{name}:{line}: " for path, line in lines.items()}

    def where(path: Key) -> str:
        return _where(_LONG_FORMS.get(path, path), given)

    # Short forms are written out layer by layer, so that an override in one form replaces a value in the other.
    data = expanded(data, where)
    for assignment in overrides:
        if not isinstance(assignment, str):
            raise ConfigError(f"{assignment!r} is not an override; write a string such as 'optim.lr=3e-4'")
        path, value = parse_override(assignment)
        data = merged(data, expanded(_nested(path, value)))
        given[_LONG_FORMS.get(path, path)] = f"{assignment}: "
        # What is wrong with a section as a whole is blamed on the last override that touched it.
        given |= {path[:end]: f"{assignment}: " for end in range(1, len(path))}
    return Config(**validated(merged(data, expanded(sections)), where=where))


def parse_override(assignment: str) -> tuple[Key, Any]:
    """Split ``a.b=value``; the value is YAML.

    Raises:
        ConfigError: if there is no ``=``, or the value is no YAML.
    """
    path, equals, text = assignment.partition("=")
    if not equals or not all(path.split(".")):
        raise ConfigError(f"{assignment!r} is not an override; write section.key=value, such as optim.lr=3e-4")
    try:
        return tuple(path.split(".")), yaml.load(text, _Loader)  # noqa: S506  # _Loader is a SafeLoader
    except yaml.YAMLError as error:
        raise ConfigError(f"{assignment!r}: the value is not YAML ({_problem(error)})") from None
    except ValueError as error:  # `!!float x` and the like
        raise ConfigError(f"{assignment!r}: {error}") from None


def dump(config: Config) -> str:
    """The configuration as YAML that `load_config` reads back to an equal one."""
    return yaml.safe_dump(config.as_dict(), sort_keys=False, allow_unicode=True)


def schema() -> dict[str, Any]:
    """JSON schema of run files, with the options of every installed plugin."""

    def relaxed(node: Any) -> Any:
        # Parts share keys such as sigma_max, so `{sigma_max: 1}` fits several: any of them is right.
        if isinstance(node, dict):
            return {"anyOf" if key == "oneOf" else key: relaxed(value) for key, value in node.items()}
        return [relaxed(item) for item in node] if isinstance(node, list) else node

    made: dict[str, Any] = relaxed(typed_model().model_json_schema())
    places = made["properties"]
    for section, choices in (("device", places["device"]), ("trackers", places["trackers"]["items"])):
        names = list(registry().of(section))
        choices["anyOf"].append({"enum": names, "type": "string", "description": "Short form of {type: ...}."})
    made["$defs"]["Training"]["properties"]["ema"] = {"type": "number", "description": "Short form of ema.decay."}
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **made}


def _read(source: str | Path | Mapping[str, Any]) -> tuple[str, dict[str, Any], dict[Key, int]]:
    if isinstance(source, Mapping):
        return "", dict(source), {}
    path = Path(source)
    built_in = presets()
    if str(source) in built_in and not path.is_file():
        return f"preset {source}", *_parse(built_in[str(source)], f"preset {source}")
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except FileNotFoundError:
        nearby = [entry.name for entry in path.parent.glob("*.y*ml")] if path.parent.is_dir() else []
        close = difflib.get_close_matches(path.name, [*built_in, *nearby], n=1)
        meant = f" Did you mean {close[0]!r}?" if close else ""
        raise ConfigError(
            f"{source}: there is no such file and no preset of that name.{meant} Presets are {', '.join(built_in)}"
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{source}: cannot be read as UTF-8 text ({error})") from None
    return str(source), *_parse(text, str(source))


def _parse(text: str, name: str) -> tuple[dict[str, Any], dict[Key, int]]:
    """YAML to plain data and the line of every key; a key given twice is an error."""
    lines: dict[Key, int] = {}
    try:
        loader = _Loader(text)
        node = loader.get_single_node()
        data = _construct(loader, node, (), lines, name) if node is not None else {}
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        at = f"{name}:{mark.line + 1}" if mark else name
        raise ConfigError(f"{at}: not valid YAML: {_problem(error)}") from None
    except RecursionError:
        raise ConfigError(f"{name}: nested too deeply; is there an alias that refers to itself?") from None
    if not isinstance(data, dict):
        raise ConfigError(f"{name}: expected sections such as `optim:` at the top, got {type(data).__name__}")
    return data, lines


def _construct(loader: _Loader, node: yaml.Node, path: Key, lines: dict[Key, int], name: str) -> Any:
    if isinstance(node, yaml.CollectionNode) and node.tag not in _PLAIN_TAGS:
        line = node.start_mark.line + 1
        raise ConfigError(f"{name}:{line}: the tag {node.tag!r} has no place in a run file; remove it")
    if isinstance(node, yaml.MappingNode):
        _refuse_duplicates(node, name)
        loader.flatten_mapping(node)
        result = {}
        for key_node, value_node in node.value:
            key = key_node.value
            lines[(*path, key)] = key_node.start_mark.line + 1
            result[key] = _construct(loader, value_node, (*path, key), lines, name)
        return result
    if isinstance(node, yaml.SequenceNode):
        for index, item in enumerate(node.value):
            lines[(*path, index)] = item.start_mark.line + 1
        return [_construct(loader, item, (*path, index), lines, name) for index, item in enumerate(node.value)]
    try:
        return loader.construct_object(node)
    except ValueError as error:  # `!!float x`, or a date that no calendar has
        raise ConfigError(f"{name}:{node.start_mark.line + 1}: {error}") from None


def _refuse_duplicates(node: yaml.MappingNode, name: str) -> None:
    seen: dict[str, int] = {}
    for key_node, _ in node.value:
        line = key_node.start_mark.line + 1
        if not isinstance(key_node, yaml.ScalarNode):
            raise ConfigError(f"{name}:{line}: a key must be a word")
        if key_node.value in seen and key_node.value != "<<":
            raise ConfigError(
                f"{name}:{line}: the key {key_node.value!r} was given already on line {seen[key_node.value]}; keep one"
            )
        seen[key_node.value] = line


def _problem(error: yaml.YAMLError) -> str:
    return str(getattr(error, "problem", None) or error)


def _nested(path: Key, value: Any) -> dict[str, Any]:
    for key in reversed(path):
        value = {key: value}
    return dict(value)


def _where(path: Key, given: Mapping[Key, str]) -> str:
    """Where a key was given: itself, or the nearest section around it."""
    for end in range(len(path), 0, -1):
        if path[:end] in given:
            return given[path[:end]]
    return ""
