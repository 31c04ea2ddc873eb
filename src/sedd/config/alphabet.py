"""`data.alphabet`: the name of an installed vocabulary, or symbols that the run file itself lists."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import Annotated, Any, Self

from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler, model_validator
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

from sedd.config.section import Section
from sedd.plugins.registry import registry
from sedd.plugins.symbols import unreadable
from sedd.plugins.vocabularies import NAMES

SECTION = "data.alphabet"


class OwnSymbols(Section):
    """An alphabet that a run file lists: `letters`, or `symbols` of any length."""

    letters: str | None = None
    """The symbols, one character each, such as `ACGT-`; they are read with their case."""
    symbols: tuple[str, ...] | None = None
    """The symbols, such as `[AAA, AAC, AAG]`."""
    separator: str = ""
    """What stands between two `symbols` in a file, such as a space. Without it the longest symbol that fits is read."""

    @model_validator(mode="after")
    def _symbols_can_be_read(self) -> Self:
        if (self.letters is None) == (self.symbols is None):
            raise ValueError("give either letters (one string, such as 'ACGT-') or symbols (a list)")
        if self.separator and self.symbols is None:
            raise ValueError("separator stands between symbols; letters have none")
        if (problem := unreadable(self.listed, self.separator)) is not None:
            raise ValueError(problem)
        return self

    @property
    def listed(self) -> tuple[str, ...]:
        """The symbols, in the order of their ids."""
        return tuple(self.letters or ()) if self.symbols is None else self.symbols


class _Chosen:
    """Annotates `data.alphabet`: a name is checked against the vocabularies that are installed."""

    words = "`protein`, `esm`, `dna`, `rna`, `text`, `ids`, the name of a plugin, or a section"
    """The type, for the page of the configuration."""

    @staticmethod
    def validate(value: Any) -> str | OwnSymbols:
        """The name, or the listed symbols."""
        if isinstance(value, OwnSymbols):
            return value
        if isinstance(value, Mapping):
            return OwnSymbols.model_validate(value)
        if isinstance(value, str) and value in NAMES:  # without loading any plugin
            return value
        names = list(registry().of(SECTION))
        if not isinstance(value, str) or value not in names:
            raise PydanticCustomError("no_alphabet", "expected {advice}", {"advice": _advice(value, names)})
        return value

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_before_validator_function(self.validate, handler(source))

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        listed = next(choice for choice in handler(schema)["anyOf"] if "$ref" in choice)
        return {"anyOf": [{"enum": list(registry().of(SECTION)), "type": "string"}, listed]}


def _advice(value: object, names: list[str]) -> str:
    close = difflib.get_close_matches(str(value), names, n=1)
    advice = f"one of {', '.join(names)}, or your own symbols, as {{letters: ACGT-}} or {{symbols: [AAA, AAC]}}"
    advice += f"; did you mean {close[0]!r}?" if close else ""
    if problems := registry().problems:
        advice += f". Plugins that cannot be used: {'; '.join(map(str, problems))}"
    return advice


AlphabetChoice = Annotated[str | OwnSymbols, _Chosen()]
"""The name of an installed vocabulary, or listed symbols."""
