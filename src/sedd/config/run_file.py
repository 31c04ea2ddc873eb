"""Run files: read YAML, presets and dotted overrides, and merge them into a `Config`."""

from __future__ import annotations

import difflib
import shlex
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any

from sedd.config.config import Config
from sedd.config.data_files import holds_sequences, train_command
from sedd.config.foreign.recognise import recognised
from sedd.config.layers import SHORT_FORMS, long_form, merged
from sedd.config.messages import InvalidConfigError, KeyPath
from sedd.config.reading import read_text
from sedd.config.yaml_lines import dumped, parse, parse_value
from sedd.errors import ConfigError


class ForeignFileError(ConfigError):
    """A run file of another trainer where one of sedd is expected."""


def presets() -> dict[str, str]:
    """The built-in run files by name, as YAML text."""
    folder = files("sedd.config") / "presets"
    return {
        entry.name.removesuffix(".yaml"): entry.read_text(encoding="utf-8")
        for entry in sorted(folder.iterdir(), key=lambda entry: entry.name)
        if entry.name.endswith(".yaml")
    }


def load_config(source: str | Path | Mapping[str, Any], *overrides: str, **sections: Any) -> Config:
    """Read a preset, a YAML file or a mapping, apply overrides, and validate.

    Args:
        source: the name of a preset (`quickstart`, `uniref50`, ...), the path of a YAML file, or a mapping.
        overrides: dotted assignments, the value in YAML: ``"optim.lr=3e-4"``.
        sections: sections as mappings or parts: ``curriculum=MyCurriculum()``.

    Raises:
        ConfigError: has file and line, the value, what was expected, and what was probably meant.

    Examples:
        >>> import sedd
        >>> sedd.load_config("uniref50", "optim.lr=1e-4", "training.n_iters=50000").optim.lr
        0.0001
    """
    name, data, lines = _read(source)
    origins = {_long(path): f"{name}:{line}: " for path, line in lines.items()}
    try:
        # Each layer is brought to the long form, so that an override in one form replaces a value in the other.
        data = long_form(data)
        for assignment in overrides:
            path, value = parse_override(assignment)
            data = merged(data, long_form(_nested(path, value)))
            # An error about a complete section is attributed to the last override that changed it.
            origins |= {path[:end]: f"{assignment}: " for end in range(1, len(path))}
            origins[_long(path)] = f"{assignment}: "
        return Config(**merged(data, long_form(sections)))
    except InvalidConfigError as error:
        raise InvalidConfigError.of(error.problems, lambda path: _origin(_long(path), origins)) from None


NAMES = {"data.train", "data.valid", "data.clusters", "data.cache", "data.column"}
"""Keys whose overrides are names: text as it was written, also where YAML would read a number, a date or a boolean."""


def parse_override(assignment: str) -> tuple[KeyPath, Any]:
    """Split ``a.b=value``; the value is YAML. Raises ConfigError if it is not a string, there is no ``=``, or the value
    is not YAML."""
    if not isinstance(assignment, str):
        raise ConfigError(f"{assignment!r} is not an override; write a string such as 'optim.lr=3e-4'")
    path, equals, text = assignment.partition("=")
    if not equals or not all(path.split(".")):
        raise ConfigError(f"{assignment!r} is not an override; write section.key=value, such as optim.lr=3e-4")
    if path in NAMES and not text.lstrip().startswith(("[", "'", '"')) and text.strip() not in ("", "null", "~"):
        return tuple(path.split(".")), text
    return tuple(path.split(".")), parse_value(text, assignment)


def dump(config: Config) -> str:
    """The configuration as YAML that `load_config` reads back to an equal one."""
    data = config.to_dict()
    text = dumped(data, sort_keys=False, allow_unicode=True)
    # PyYAML writes these as they are and reads them as line breaks: escape everything where one occurs.
    return dumped(data, sort_keys=False) if set("\x85\u2028\u2029") & set(text) else text


def _read(source: str | Path | Mapping[str, Any]) -> tuple[str, dict[str, Any], dict[KeyPath, int]]:
    """The name of the source, its data, and the line of every key."""
    if isinstance(source, Mapping):
        return "", dict(source), {}
    path = Path(source)
    built_in = presets()
    if str(source) in built_in and not path.is_file():
        return f"preset {source}", *parse(built_in[str(source)], f"preset {source}")
    if holds_sequences(path):
        raise ConfigError(
            f"{source}: sequences, where a run file or a preset is expected. To train on them: {train_command(source)}"
        )
    if (path / "config.yaml").is_file():
        raise ConfigError(
            f"{source}: a run, where a run file or a preset is expected. To continue it: sedd train --resume --run "
            f"{source}; to train another one like it: sedd train {path / 'config.yaml'}"
        )
    try:
        text = read_text(path)
    except FileNotFoundError:
        nearby = [entry.name for entry in path.parent.glob("*.y*ml")] if path.parent.is_dir() else []
        close = difflib.get_close_matches(path.name, [*built_in, *nearby], n=1)
        suggestion = f" Did you mean {close[0]!r}?" if close else ""
        raise ConfigError(
            f"{source}: there is no such file and no preset of that name.{suggestion} Presets are {', '.join(built_in)}"
        ) from None
    data, lines = parse(text, str(source))
    if (foreign := recognised(data)) is not None:
        raise ForeignFileError(
            f"{source}: a run file of {foreign.title}, not of sedd; convert it: sedd import config "
            f"{shlex.quote(str(source))} -o run.yaml"
        )
    return str(source), data, lines


def _nested(path: KeyPath, value: Any) -> dict[str, Any]:
    for key in reversed(path):
        value = {key: value}
    return dict(value)


def _long(path: KeyPath) -> KeyPath:
    return SHORT_FORMS.get(path, path)


def _origin(path: KeyPath, origins: Mapping[KeyPath, str]) -> str:
    """Where a key was given; for a key that was not given, where the nearest section around it was."""
    for end in range(len(path), 0, -1):
        if path[:end] in origins:
            return origins[path[:end]]
    return ""
