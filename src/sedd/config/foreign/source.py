"""A run file of another trainer: its values, with the files that it names and the keys that it refers to."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from sedd.config.foreign.composition import composed
from sedd.config.foreign.dialect import Dialect
from sedd.config.foreign.interpolation import UnresolvedError, resolve
from sedd.errors import ConfigError

Clock = Literal["ours", "theirs"]
"""Which steps a converted configuration counts: optimizer steps, or those of the other program, as in its log."""


@dataclass(frozen=True)
class Source:
    """The values of a file by dotted key. Every method raises ConfigError, which names file and key."""

    file: str
    data: Mapping[str, Any]
    dialect: Dialect
    clock: Clock = "ours"
    notes: tuple[str, ...] = field(default=())
    """What was decided about the files that it names."""

    @staticmethod
    def of(file: Path, data: Mapping[str, Any], dialect: Dialect, clock: Clock = "ours") -> Source:
        """A file with the files that it names under `defaults`."""
        found, notes = composed(file, data, dialect)
        return Source(str(file), found, dialect, clock, notes)

    def leaves(self) -> Iterator[str]:
        """The dotted keys of all values."""
        yield from _leaves(self.data, ())

    def __contains__(self, key: str) -> bool:
        return self._find(key) is not _MISSING

    def get(self, key: str, default: Any = None) -> Any:
        """A value with its references resolved."""
        value = self._find(key)
        if value is _MISSING:
            return default
        try:
            return resolve(value, key.split("."), self.data)
        except UnresolvedError as error:
            text = f"{error} cannot be resolved here; write the value in its place"
            raise self.error(key, value, text) from None

    def raw(self, key: str) -> Any:
        """A value as it is written; None where there is none."""
        value = self._find(key)
        return None if value is _MISSING else value

    def number(self, key: str, default: float | None = None) -> float:
        """A finite number."""
        value = self.get(key, default)
        if value is None and key not in self:
            raise ConfigError(f"{self.file}: {key} is missing; write it into the file", keys=[key])
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            raise self.error(key, value, "expected a number")
        return value

    def count(self, key: str, default: int | None = None) -> int:
        """An integer above 0."""
        value = self.number(key, default)
        if value < 1 or value != math.floor(value):
            raise self.error(key, value, "expected an integer above 0")
        return int(value)

    def flag(self, key: str, default: bool) -> bool:
        """A boolean."""
        value = self.get(key, default)
        if not isinstance(value, bool):
            raise self.error(key, value, "expected true or false")
        return value

    def error(self, key: str, value: Any, text: str) -> ConfigError:
        """The error about a value."""
        return ConfigError(f"{self.file}: {key}={short(value)}: {text}", keys=[key])

    @property
    def accum(self) -> int:
        """Micro-batches of an optimizer step."""
        return self.count("training.accum", 1)

    @property
    def length(self) -> int:
        """Positions of a sequence."""
        return self.count("model.length")

    @property
    def tokens(self) -> str:
        """Symbols of the vocabulary, in words."""
        return f"{self.count('tokens'):,}"

    def steps(self, key: str) -> int:
        """Steps of the program's own clock in the clock of the configuration, rounded up."""
        value = self.number(key)
        per_step = self.accum if self.dialect.counts_micro_batches and self.clock == "ours" else 1
        return min(math.ceil(value / per_step), 10**9)

    def updates(self, key: str) -> int:
        """Optimizer steps in the clock of the configuration."""
        per_step = self.accum if self.dialect.counts_micro_batches and self.clock == "theirs" else 1
        return min(round(self.number(key) * per_step), 10**9)

    def _find(self, key: str) -> Any:
        node: Any = self.data
        for name in key.split("."):
            if not isinstance(node, Mapping) or name not in node:
                return _MISSING
            node = node[name]
        return node


def short(value: Any) -> str:
    """A value in at most 60 characters, on one line."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    text = f"{value}" if isinstance(value, str) and value.isprintable() else repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


_MISSING = object()


def _leaves(node: Mapping[str, Any], path: tuple[str, ...]) -> Iterator[str]:
    for key, value in node.items():
        if isinstance(value, Mapping) and value:
            yield from _leaves(value, (*path, str(key)))
        else:
            yield ".".join((*path, str(key)))
