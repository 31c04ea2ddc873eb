"""From the run file of another trainer to ours, with an account of every key."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sedd.config.config import Config
from sedd.config.foreign.dialect import Dialect, Dropped, Implied, NotExpressible, Rule, Why, same
from sedd.config.foreign.dialects import DIALECTS
from sedd.config.foreign.recognise import recognised
from sedd.config.foreign.source import Clock, Source, short
from sedd.config.messages import InvalidConfigError, KeyPath, dotted
from sedd.config.reading import read_yaml
from sedd.errors import ConfigError, SeddWarning

AUTO = "auto"
FOR_THE_LOSS = ("noise.", "curriculum.", "graph.", "model.head", "training.n_iters", "optim.warmup", "lr_schedule.")
"""Our keys whose conversion moves the forecast of the loss or of the learning rate."""
UNKNOWN = "a key that the importer has no rule for; check that it does not change the training"


@dataclass(frozen=True)
class Entry:
    """What became of one value."""

    theirs: str
    """Dotted key; empty for what their program does whatever the file says."""
    value: Any
    ours: str = ""
    """Dotted key; empty where there is none."""
    to: Any = None
    """Our value."""
    why: str = ""

    def __str__(self) -> str:
        given = f"{self.theirs}={short(self.value)}" if self.theirs else ""
        made = f"{self.ours}={short(self.to)}" if self.ours else ""
        why = f": {self.why}" if self.why else ""
        return " becomes ".join(filter(None, (given, made))) + why


@dataclass(frozen=True, eq=False)
class Converted:
    """The configuration that a run file of another trainer stands for, and what became of its keys."""

    source: Source = field(repr=False)
    dialect: Dialect
    config: Config = field(repr=False)
    settings: Mapping[str, Mapping[str, Any] | Any] = field(repr=False)
    """What a run file has to say for `config`: sections and keys, without those that have their default."""
    kept: tuple[Entry, ...]
    """Values that mean the same; some have another name."""
    changed: tuple[Entry, ...]
    """Values, or meanings, that are others, each with the reason."""
    assumed: tuple[Entry, ...]
    """What their program does whatever the file says."""
    dropped: tuple[Entry, ...]
    """Keys without a counterpart, each with the reason."""
    not_expressible: tuple[Entry, ...]
    """Values that no run file of sedd can have the meaning of; left out."""

    @property
    def symbols(self) -> int | None:
        """Symbols of their vocabulary, the mask not counted; None where that is unknown."""
        keys = (key for key in ("data.vocab_size_protein", "tokens") if key in self.source)
        return next(map(self.source.count, keys), self.dialect.symbols)

    @property
    def assumptions(self) -> tuple[str, ...]:
        """What moves the loss, and is not as the file says; one sentence each."""
        steps = "" if self.source.clock == "ours" or not self.dialect.counts_micro_batches else (
            f" Steps are those of its log: micro-batches, of which {self.source.accum} make an optimizer step."
        )  # fmt: skip
        first = f"{self.source.file} is a run file of {self.dialect.title}, converted in memory.{steps}"
        entries = (*self.changed, *self.assumed)
        moving = [f"{entry}." for entry in entries if entry.ours.startswith(FOR_THE_LOSS)]
        left_out = [f"Left out, since sedd cannot express it: {entry}." for entry in self.not_expressible]
        return (first, *self.source.notes, *left_out, *moving)


def convert(
    file: str | Path, dialect: str = AUTO, *, force: bool = False, clock: Clock = "ours", data: Any = None
) -> Converted:
    """Convert the run file of another trainer.

    Args:
        file: the YAML file; the files that its `defaults` name lie beside it.
        dialect: the trainer, `sedd`, `pls`, `mdlm` or `d3`; by default that which its keys belong to.
        force: leave out what sedd cannot express.
        clock: the steps of the result: optimizer steps, or those of the other program, as in its log.
        data: the content of the file, where it was read already.

    Raises:
        ConfigError: for a file that cannot be read or belongs to no known trainer, a missing file under `defaults`, a
            reference that cannot be resolved, a value of the wrong type, or without `force` one that sedd cannot
            express; names the file and the keys.
    """
    path = Path(file)
    data = read_yaml(path) if data is None else data
    source = Source.of(path, data, _dialect(path, data, dialect), clock)
    conversion = _Conversion(source)
    if conversion.not_expressible and not force:
        raise _not_expressible(source, conversion.not_expressible)
    return conversion.result()


def _dialect(path: Path, data: Mapping[str, Any], name: str) -> Dialect:
    if name != AUTO:
        if name not in DIALECTS:
            raise ConfigError(f"dialect {name!r} is unknown; choose one of auto, {', '.join(DIALECTS)}")
        return DIALECTS[name]
    if (found := recognised(data)) is None:
        raise ConfigError(
            f"{path}: its keys are not those of a known trainer ({', '.join(d.title for d in DIALECTS.values())}); if "
            f"it is of one of these, name it with --dialect {'|'.join(DIALECTS)}"
        )
    return found


def _not_expressible(source: Source, entries: list[Entry]) -> ConfigError:
    lines = "\n".join(f"  {entry}" for entry in entries)
    return ConfigError(
        f"{source.file}: sedd cannot express {len(entries)} of its values:\n{lines}\nTo leave them out, say --force",
        keys=[entry.theirs for entry in entries],
    )


class _Conversion:
    """Applies the table of a dialect to a source."""

    def __init__(self, source: Source) -> None:
        self.source, self.dialect = source, source.dialect
        self.values: dict[str, Any] = {}
        """Our values by dotted key."""
        self.origins: dict[str, Entry] = {}
        """Where each of them is from."""
        self.dropped: list[Entry] = []
        self.not_expressible: list[Entry] = []
        for implied in self.dialect.implied:
            self._imply(implied)
        for rule in self.dialect.rules:
            if rule.ours is not None and rule.theirs in source:
                self._apply(rule)
        self._account_for_the_rest()

    def _imply(self, implied: Implied) -> None:
        try:
            value = implied.value(self.source) if callable(implied.value) else implied.value
        except NotExpressible:
            return  # the rule of the key says so
        if value is not None:
            self._set(Entry("", None, implied.ours, value, self._why(implied.why, value)))

    def _apply(self, rule: Rule) -> None:
        assert rule.ours is not None  # noqa: S101  # for the type checker: see the caller
        value = self.source.get(rule.theirs)
        try:
            made = self._converted(rule, value)
        except Dropped as reason:
            self.dropped.append(Entry(rule.theirs, value, why=str(reason)))
        except NotExpressible as reason:
            self.not_expressible.append(Entry(rule.theirs, value, why=str(reason)))
        else:
            self._set(Entry(rule.theirs, value, rule.ours, made, self._why(rule.why, value)))

    def _converted(self, rule: Rule, value: Any) -> Any:
        try:
            return rule.convert(self.source, value)
        except ConfigError:
            raise
        except (TypeError, ValueError, OverflowError):  # a list for a word, for example
            raise self.source.error(rule.theirs, value, f"not a value that {self.dialect.title} has") from None

    def _set(self, entry: Entry) -> None:
        self.values[entry.ours], self.origins[entry.ours] = entry.to, entry

    def _account_for_the_rest(self) -> None:
        """Drop what has no counterpart, each key with the reason of the rule for it or for a section around it."""
        reasons = {rule.theirs: rule for rule in self.dialect.rules}
        for key in self.source.leaves():
            parts = key.split(".")
            around = next((r for end in range(len(parts), 0, -1) if (r := reasons.get(".".join(parts[:end])))), None)
            if around is not None and around.ours is not None:
                continue
            value = self.source.raw(key)
            try:
                if around is not None and around.theirs == key and around.convert is not same:
                    self._converted(around, self.source.get(key))
            except NotExpressible as reason:
                self.not_expressible.append(Entry(key, value, why=str(reason)))
                continue
            why = UNKNOWN if around is None else self._why(around.why, value)
            self.dropped.append(Entry(key, value, why=why))

    def _why(self, why: Why, value: Any) -> str:
        if callable(why):
            return why(self.source, value)
        words = {key: getattr(self.source, key) for key in ("accum", "length", "tokens") if f"{{{key}}}" in why}
        return why.format(**words)

    def result(self) -> Converted:
        """The configuration and the account."""
        settings: dict[str, Any] = {}
        for key, value in self.values.items():
            section, dot, name = key.partition(".")
            if dot:
                settings.setdefault(section, {})[name] = value
            else:
                settings[section] = value
        entries = list(self.origins.values())
        kept = [entry for entry in entries if entry.theirs and _is_kept(entry)]
        return Converted(
            source=self.source,
            dialect=self.dialect,
            config=self._config(settings),
            settings=settings,
            kept=tuple(kept),
            changed=tuple(entry for entry in entries if entry.theirs and not _is_kept(entry)),
            assumed=tuple(entry for entry in entries if not entry.theirs),
            dropped=tuple(self.dropped),
            not_expressible=tuple(self.not_expressible),
        )

    def _config(self, settings: Mapping[str, Any]) -> Config:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", SeddWarning)
                return Config(**settings)
        except InvalidConfigError as error:
            raise InvalidConfigError.of(error.problems, self._place) from None

    def _place(self, path: KeyPath) -> str:
        entry = self.origins.get(dotted(path))
        theirs = f"{entry.theirs}: " if entry is not None and entry.theirs and entry.theirs != entry.ours else ""
        return f"{self.source.file}: {theirs}"


def _is_kept(entry: Entry) -> bool:
    return entry.value == entry.to and not entry.why


def lines_of(converted: Converted) -> Iterator[tuple[str, Entry]]:
    """All entries, each with the kind of its account."""
    for kind, entries in (
        ("kept", converted.kept), ("changed", converted.changed), ("assumed", converted.assumed),
        ("dropped", converted.dropped), ("not expressible", converted.not_expressible),
    ):  # fmt: skip
        yield from ((kind, entry) for entry in entries)
