"""What a sweep varies: ranges and choices of configuration keys, and their places in the unit cube."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sedd.config.config import Config
from sedd.config.run_file import parse_override
from sedd.errors import ConfigError

Value = Any
"""A plain value of a configuration key: a number, a text, a boolean or null."""
FORM = "write KEY=LOW..HIGH, KEY=LOW..HIGH:log or KEY=A,B,C, such as optim.lr=1e-4..1e-2:log"
DIGITS = 3
"""Significant digits of a value drawn from a range: a reader retypes it, and nothing depends on more."""
UNIT_KEYS = (
    "data.", "evaluation.", "model.length", "seed", "training.n_iters", "training.eval_every",
    "training.early_stopping", "checkpoint.", "sampling.", "trackers", "monitoring.",
)  # fmt: skip
"""Keys that decide what the bound is a bound on, for how long is trained, or nothing that is trained."""


@dataclass(frozen=True)
class ValueAxis:
    """A key with a few values."""

    key: str
    values: tuple[Value, ...]

    def at(self, u: float) -> Value:
        """The value at a place u in [0, 1)."""
        return self.values[min(int(u * len(self.values)), len(self.values) - 1)]

    @property
    def single(self) -> tuple[Value, ...]:
        """The values that a table of single changes tries."""
        return self.values

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        return {"key": self.key, "values": list(self.values)}


@dataclass(frozen=True)
class RangeAxis:
    """A key with an interval of numbers."""

    key: str
    low: float
    high: float
    log: bool = False
    """Whether equal ratios are equally far apart."""
    integer: bool = False

    def at(self, u: float) -> Value:
        """The value at a place u in [0, 1], with three significant digits."""
        a, b = (math.log(self.low), math.log(self.high)) if self.log else (self.low, self.high)
        value = a + (b - a) * u
        return self.rounded(math.exp(value) if self.log else value)

    def rounded(self, value: float) -> Value:
        """The value that is tried: within the range, with three significant digits, or an integer."""
        value = min(max(float(f"{value:.{DIGITS}g}"), self.low), self.high)
        return round(value) if self.integer else value

    def place(self, value: float) -> float:
        """The place of a value in the range, 0 to 1."""
        if self.log:
            return math.log(value / self.low) / math.log(self.high / self.low)
        return (value - self.low) / (self.high - self.low)

    @property
    def single(self) -> tuple[Value, ...]:
        """The values that a table of single changes tries: both ends and the middle."""
        return tuple(dict.fromkeys(self.at(u) for u in (0.0, 0.5, 1.0)))

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        return {"key": self.key, "low": self.low, "high": self.high, "log": self.log, "integer": self.integer}


Axis = ValueAxis | RangeAxis
Space = tuple[Axis, ...]
Changes = Mapping[str, Value]
"""Values by dotted key: a setting, as it differs from the run file."""


def parse_axis(text: str) -> Axis:
    """Read ``optim.lr=1e-4..1e-2:log`` or ``curriculum.mode=truncate,bias``.

    Raises:
        ConfigError: if it is neither a range nor a list of values.
    """
    key, equals, rest = text.partition("=")
    if not equals or not all(key.split(".")) or not rest.strip():
        raise ConfigError(f"--vary {text}: nothing to vary; {FORM}")
    if ".." in rest:
        return _range(key, rest, text)
    values = parse_override(f"{key}=[{rest}]")[1]
    if isinstance(values, str):  # a key whose values are names
        values = rest.split(",")
    return _choices(key, values)


def space_of(vary: Sequence[str] | Mapping[str, Any]) -> Space:
    """The axes of a sweep, from texts or a mapping: ``{"optim.lr": (1e-4, 1e-2, "log"), "ema.decay": [0.9, 0.99]}``.

    In a mapping, a list holds values, a tuple of two numbers is a range, and a third item ``"log"`` makes it
    logarithmic.

    Raises:
        ConfigError: if there is nothing to vary, a key is there twice or may not be varied, or a range is empty.
    """
    if isinstance(vary, Mapping):
        axes = [_axis(key, given) for key, given in vary.items()]
    else:
        axes = [parse_axis(text) for text in vary]
    if not axes:
        raise ConfigError(f"a sweep needs something to vary; {FORM}")
    for index, axis in enumerate(axes):
        if any(axis.key == other.key for other in axes[:index]):
            raise ConfigError(f"{axis.key} is varied twice; give all its values at once")
        if any(axis.key == key or (key.endswith(".") and axis.key.startswith(key)) for key in UNIT_KEYS):
            raise ConfigError(
                f"{axis.key} cannot be varied: it decides what is measured, or for how long is trained, so the bounds "
                "of its values would not be comparable. Set it in the run file"
            )
    return tuple(axes)


def changed(base: Config, changes: Changes) -> Config:
    """The configuration with some keys changed.

    Raises:
        ConfigError: if there is no such key, or it cannot have this value.
    """
    nested: dict[str, Any] = {}
    for key, value in changes.items():
        *outer, last = key.split(".")
        section = nested
        for name in outer:
            section = section.setdefault(name, {})
        section[last] = value
    return base.replace(**nested)


def check(base: Config, space: Space) -> None:
    """Try every choice, and both ends of every range, before anything is trained. Raises ConfigError as `changed`."""
    for axis in space:
        for value in axis.single:
            changed(base, {axis.key: value})


def value_of(config: Config, key: str) -> Value:
    """The value of a dotted key; None where there is no such key."""
    value: Any = config.to_dict()
    for name in key.split("."):
        value = value.get(name) if isinstance(value, Mapping) else None
    return value


def shown(value: Value) -> str:
    """A value as text, as a run file could have it."""
    return f"{value:.6g}" if isinstance(value, float) else "null" if value is None else str(value)


def sentence(changes: Changes) -> str:
    """Changes as overrides; `the run file` where there are none."""
    return ", ".join(f"{key}={shown(value)}" for key, value in changes.items()) or "the run file"


def _range(key: str, rest: str, text: str) -> RangeAxis:
    ends, _, scale = rest.partition(":")
    if scale not in ("", "log"):
        raise ConfigError(f"--vary {text}: unknown scale {scale!r}; {FORM}")
    low, high = ends.split("..", 1)
    try:
        numbers = float(low), float(high)
    except ValueError:
        raise ConfigError(f"--vary {text}: the ends of a range are numbers; {FORM}") from None
    integer = all(end.strip().lstrip("+-").isdigit() for end in (low, high))
    return _checked(RangeAxis(key, *numbers, log=scale == "log", integer=integer))


def _axis(key: str, given: Any) -> Axis:
    if isinstance(given, tuple):
        *ends, scale = given if len(given) == 3 else (*given, "")
        if len(ends) != 2 or scale not in ("", "log") or not all(isinstance(end, int | float) for end in ends):
            raise ConfigError(f"vary {key}={given!r}: a range is (low, high) or (low, high, 'log')")
        integer = all(isinstance(end, int) for end in ends)
        low, high = map(float, ends)
        return _checked(RangeAxis(key, low, high, log=scale == "log", integer=integer))
    if isinstance(given, list):
        return _choices(key, given)
    raise ConfigError(f"vary {key}={given!r}: give a list of values, or a range as a tuple (low, high)")


def _choices(key: str, values: list[Value]) -> ValueAxis:
    distinct = [value for index, value in enumerate(values) if value not in values[:index]]
    if not distinct:
        raise ConfigError(f"{key}: no value to try; {FORM}")
    return ValueAxis(key, tuple(distinct))


def _checked(axis: RangeAxis) -> RangeAxis:
    if not (math.isfinite(axis.low) and math.isfinite(axis.high) and axis.low < axis.high):
        raise ConfigError(f"{axis.key}={axis.low:g}..{axis.high:g}: the low end must be below the high end")
    if axis.log and axis.low <= 0.0:
        raise ConfigError(f"{axis.key}={axis.low:g}..{axis.high:g}:log: a logarithmic range begins above 0")
    return axis
