"""The record of numbers that are the user's own: of evaluation metrics, and of `Trainer.log`."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from sedd.errors import ConfigError
from sedd.files import finite_or_none

RESERVED = ("kind", "step")
"""Keys of every record."""


@dataclass(frozen=True)
class MetricsRecord:
    """Numbers by name at an optimizer step."""

    kind: ClassVar[str] = "metrics"
    step: int
    numbers: Mapping[str, float]

    def to_dict(self) -> dict[str, Any]:
        """The line as plain data; what is not finite is null."""
        numbers = {name: finite_or_none(value) for name, value in self.numbers.items()}
        return {"kind": self.kind, "step": self.step, **numbers}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> MetricsRecord:
        """Read a line."""
        numbers = {
            name: math.nan if value is None else float(value) for name, value in data.items() if name not in RESERVED
        }
        return cls(data["step"], numbers)


def checked_numbers(given: object, what: str) -> dict[str, float]:
    """`given` as numbers by name, from Python, NumPy or torch.

    Args:
        given: a mapping of names to real numbers.
        what: where they come from, for the message.

    Raises:
        ConfigError: if it is anything else, or a name is a key of every record.
    """
    if not isinstance(given, Mapping):
        raise ConfigError(f"{what}: got {given!r}, expected numbers by name, such as {{'accuracy': 0.5}}")
    numbers: dict[str, float] = {}
    for name, value in given.items():
        try:
            number = None if isinstance(value, bool | str) else float(value)
        except (TypeError, ValueError, RuntimeError):  # torch raises the last one for a tensor of several numbers
            number = None
        if not isinstance(name, str) or not name or name in RESERVED or number is None:
            reserved = ", which is the name of another key" if name in RESERVED else ""
            raise ConfigError(f"{what}: got {name!r}: {value!r}{reserved}; expected a name and a number")
        numbers[name] = number
    return numbers
