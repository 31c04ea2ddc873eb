"""YAML to plain data, with the line of every key."""

from __future__ import annotations

import re
from typing import Any

import yaml

from sedd.config.messages import KeyPath, dotted
from sedd.config.yaml_bounds import BoundedLoader
from sedd.errors import ConfigError

_PLAIN_TAGS = ("tag:yaml.org,2002:map", "tag:yaml.org,2002:seq")


UNREADABLE = (ValueError, TypeError, LookupError, AttributeError, OverflowError)
"""What PyYAML raises for a value that is not of the kind of its tag (`!!float x`, `!!bool x`), a date that no calendar
has, or a key that is a list."""


class _Loader(BoundedLoader):
    """YAML 1.1 with the floats of YAML 1.2: PyYAML alone reads `1e-4` as a string."""


class _Dumper(yaml.SafeDumper):
    """Quotes text that `_Loader` would read as a number."""


for _each in (_Loader, _Dumper):
    _each.add_implicit_resolver(
        "tag:yaml.org,2002:float",
        re.compile(r"^[-+]?(\d[\d_]*\.?[\d_]*|\.\d[\d_]*)([eE][-+]?\d+)$"),
        list("-+.0123456789"),
    )


def dumped(value: Any, **options: Any) -> str:
    """YAML that `parse` and `parse_value` read back to an equal value; `options` are those of `yaml.dump`."""
    text: str = yaml.dump(value, Dumper=_Dumper, **options)
    return text


def parse_value(text: str, name: str) -> Any:
    """The value of an override. Raises ConfigError if it is not YAML; `name` is the override."""
    try:
        return yaml.load(text, _Loader)  # noqa: S506  # _Loader is a SafeLoader
    except yaml.YAMLError as error:
        raise ConfigError(f"{name!r}: the value is not YAML ({_reason(error)})") from None
    except UNREADABLE as error:
        raise ConfigError(f"{name!r}: {_problem(error)}") from None


def parse(text: str, name: str) -> tuple[dict[str, Any], dict[KeyPath, int]]:
    """Plain data and the line of every key. Raises ConfigError if it is not YAML, not a mapping, or has a key twice;
    `name` is that of the file."""
    lines: dict[KeyPath, int] = {}
    try:
        loader = _Loader(text)
        node = loader.get_single_node()
        data = _construct(loader, node, (), lines, name) if node is not None else {}
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        at = f"{name}:{mark.line + 1}" if mark else name
        raise ConfigError(f"{at}: not valid YAML: {_reason(error)}") from None
    except RecursionError:
        raise ConfigError(f"{name}: nested too deeply; is there an alias that refers to itself?") from None
    if not isinstance(data, dict):
        raise ConfigError(f"{name}: expected sections such as `optim:` at the top, got {type(data).__name__}")
    return data, lines


def _construct(loader: _Loader, node: yaml.Node, path: KeyPath, lines: dict[KeyPath, int], name: str) -> Any:
    line = node.start_mark.line + 1
    if isinstance(node, yaml.CollectionNode) and node.tag not in _PLAIN_TAGS:
        raise ConfigError(
            f"{name}:{line}: the tag {node.tag!r} has no meaning in a run file; remove it", keys=_keys(path)
        )
    if isinstance(node, yaml.MappingNode):
        _refuse_duplicates(node, path, name)
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
    except UNREADABLE as error:
        raise ConfigError(f"{name}:{line}: {_problem(error)}", keys=_keys(path)) from None


def _refuse_duplicates(node: yaml.MappingNode, path: KeyPath, name: str) -> None:
    first: dict[str, int] = {}
    for key_node, _ in node.value:
        line = key_node.start_mark.line + 1
        if not isinstance(key_node, yaml.ScalarNode):
            raise ConfigError(f"{name}:{line}: a key must be a word", keys=_keys(path))
        key = key_node.value
        if key in first and key != "<<":
            raise ConfigError(
                f"{name}:{line}: the key {key!r} was already given on line {first[key]}; keep one",
                keys=_keys((*path, key)),
            )
        first[key] = line


def _keys(path: KeyPath) -> tuple[str, ...]:
    return (dotted(path),) if path else ()


def _problem(error: Exception) -> str:
    return (
        f"the value does not fit its tag ({error})" if isinstance(error, LookupError | AttributeError) else str(error)
    )


def _reason(error: yaml.YAMLError) -> str:
    return str(getattr(error, "problem", None) or error)
