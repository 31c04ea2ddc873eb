"""What a dialect consists of: how its files are recognised, and a table of its keys."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from sedd.config.foreign.source import Source

Convert = Callable[["Source", Any], Any]
Why = str | Callable[["Source", Any], str]


class Dropped(Exception):  # noqa: N818  # a finding of a rule, which the converter collects
    """A value without a counterpart beside the others of its file; the message says why."""


class NotExpressible(Exception):  # noqa: N818  # a finding of a rule, which the converter collects
    """A value that no run file of sedd can have the meaning of; the message says what the value means."""


def same(source: Source, value: Any) -> Any:
    """The value as it is."""
    return value


@dataclass(frozen=True)
class Rule:
    """One line of a table: a key of theirs, ours, the conversion, and why."""

    theirs: str
    """Dotted key; one that is dropped may be a complete section."""
    ours: str | None
    """Dotted key; None: it is dropped."""
    convert: Convert = same
    """Our value from theirs. Raises NotExpressible."""
    why: Why = ""
    """Why the value or its meaning changed, or why it is dropped; empty: it means the same. `{accum}`, `{length}`
    and `{tokens}` stand for the micro-batches of an optimizer step, the length of a sequence and the symbols."""


@dataclass(frozen=True)
class Implied:
    """What a program does whatever its run file says, where the default of sedd is another one."""

    ours: str
    value: Any
    """The value, or a function of the source that returns it; None: nothing is implied."""
    why: Why


def drop(why: str, *keys: str) -> tuple[Rule, ...]:
    """Keys, or sections, without a counterpart, for one reason."""
    return tuple(Rule(key, None, same, why) for key in keys)


def only(key: str, *values: Any, why: str, otherwise: str) -> Rule:
    """A key with only some values that mean what sedd does; any other one is not expressible."""

    def convert(source: Source, value: Any) -> Any:
        if value not in values:
            raise NotExpressible(otherwise)
        return value

    return Rule(key, None, convert, why)


@dataclass(frozen=True)
class Dialect:
    """The run files of one trainer."""

    name: str
    """As in `--dialect`."""
    title: str
    """As in messages."""
    signs: frozenset[str]
    """Dotted keys that files of this trainer have, and run files of sedd do not."""
    rules: tuple[Rule, ...]
    implied: tuple[Implied, ...]
    unit: str
    """The unit of its losses, in words."""
    loss_kind: Literal["mean", "sum"] = "mean"
    """Whether its loss is a mean over positions, or a sum over those of a sequence."""
    corrupts: Literal["consistent", "mismatched"] = "consistent"
    """Whether its curriculum changes corruption and weight alike, or the corruption alone."""
    counts_micro_batches: bool = False
    """Whether its steps are micro-batches."""
    groups: Mapping[str, Mapping[str, Mapping[str, Any]]] = field(default_factory=dict)
    """Files that `defaults` may name and that come with the program: values by group and option."""
    unused_groups: frozenset[str] = frozenset()
    """Groups of `defaults` that say nothing about the model or its training."""
    symbols: int | None = None
    """Symbols of its vocabulary where its files do not say; None: they do."""
    reads_eps: bool = False
    """Whether `noise.eps` is the eps of its log-linear noise, which is 0.001 elsewhere."""
    order: int = 0
    """Dialects of a higher order are tried later: a trainer whose files others grew from comes after them."""
    composes: bool = True
    """Whether its program merges the files that `defaults` names over the run file, as Hydra does."""
