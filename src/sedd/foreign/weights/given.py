"""The configuration of another program as plain data, read key by key; what is missing or of another type is named."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sedd.config.yaml_bounds import MOST_BYTES
from sedd.config.yaml_lines import parse
from sedd.errors import CheckpointError, ConfigError
from sedd.files import read_bounded

_MISSING = object()


@dataclass(frozen=True)
class Given:
    """A configuration or a section of it."""

    data: Mapping[str, Any]
    file: Path
    prefix: str = ""
    """Of the keys, such as `model.`."""

    @staticmethod
    def read(file: Path) -> Given:
        """Read a JSON or YAML file. Raises CheckpointError if it is neither, or not a mapping."""
        text = read_bounded(file, most=MOST_BYTES)
        try:
            data = json.loads(text) if file.suffix == ".json" else parse(text.decode(), file.name)[0]
        except (ValueError, ConfigError, RecursionError) as error:
            raise CheckpointError(f"not a configuration ({str(error)[:200]}); copy it again", file=file) from None
        if not isinstance(data, dict):
            raise CheckpointError(f"has a {type(data).__name__}, expected a mapping of keys", file=file)
        return Given(data, file)

    def section(self, key: str) -> Given:
        """A section that has to be there."""
        value = self.data.get(key)
        if not isinstance(value, dict):
            raise self._error(key, value, "a section")
        return Given(value, self.file, f"{self.prefix}{key}.")

    def integer(self, *keys: str) -> int:
        """A whole number under the first of `keys` that is there."""
        key = next((key for key in keys if key in self.data), keys[0])
        value = self.data.get(key, _MISSING)
        if type(value) is not int or value < 1:
            raise self._error(key, value, "a whole number from 1 on")
        return value

    def number(self, key: str, default: float | None = None) -> float:
        """A number; without a `default` it has to be there."""
        value = self.data.get(key, _MISSING if default is None else default)
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise self._error(key, value, "a number")
        return float(value)

    def fraction(self, key: str, default: float) -> float:
        """A number between 0 and 1, without both."""
        value = self.number(key, default)
        if not 0.0 < value < 1.0:
            raise self._error(key, value, "a number between 0 and 1")
        return value

    def boolean(self, key: str, default: bool) -> bool:
        """True or false."""
        value = self.data.get(key, default)
        if not isinstance(value, bool):
            raise self._error(key, value, "true or false")
        return value

    def choice(self, key: str, *known: str) -> str:
        """One of the names in `known`."""
        value = self.data.get(key, _MISSING)
        if value not in known:
            raise self._error(key, value, f"one of {', '.join(known)}")
        return str(value)

    def _error(self, key: str, value: object, expected: str) -> CheckpointError:
        got = "is missing" if value is _MISSING or value is None else f"is {str(value)[:80]!r}"
        return CheckpointError(f"{self.prefix}{key} {got}; expected {expected}", file=self.file)
