"""The checks of vocabularies."""

from __future__ import annotations

import unittest
from collections.abc import Mapping

from pydantic import ValidationError

from sedd.plugins.contracts import Vocabulary
from sedd.plugins.symbols import is_special, unreadable
from sedd.plugins.vocabularies import FoundInData
from sedd.testing.reports import Draw, call_method, fail


def _symbols(part: Vocabulary) -> tuple[str, ...]:
    """The symbols; skips the check if they are found in the data."""
    if isinstance(part, FoundInData):
        raise unittest.SkipTest(f"{type(part).__name__}: its symbols are those of the data")
    found = call_method(part, "", "a list of symbols", "symbols")
    if not isinstance(found, list | tuple) or not all(isinstance(symbol, str) for symbol in found):
        fail(part, "", f"symbols() is {found!r:.200}", "a list or tuple of texts, whose order is that of their ids")
    return tuple(found)


def is_made_without_options(part: Vocabulary, draw: Draw) -> None:
    """A run file chooses it by its name alone, so that it needs no options."""
    try:
        type(part)()
    except ValidationError as error:
        fail(part, "", f"it cannot be made without options ({error.errors()[0]['msg']})", "a default for every option")


def symbols_can_be_read(part: Vocabulary, draw: Draw) -> None:
    """There are 2 to 65,534 distinct symbols of printable characters, without white space and without the separator."""
    if not isinstance(part.separator, str):
        fail(part, "", f"separator is {part.separator!r}", "a text, such as ' ', or '' for none")
    if (problem := unreadable(_symbols(part), part.separator)) is not None:
        fail(part, "", f"its symbols cannot be read: {problem}", "symbols that a file can have")


def symbols_never_change(part: Vocabulary, draw: Draw) -> None:
    """Every call, also on a copy, returns equal symbols in equal order: models are trained on the ids."""
    first = _symbols(part)
    for again in (part, type(part).model_validate(part.model_dump())):
        if (other := _symbols(again)) != first:
            pairs = zip(first, other, strict=False)
            at = next((at for at, (a, b) in enumerate(pairs) if a != b), min(len(first), len(other)))
            fail(part, f"id {at}", "another call of symbols() differs", "equal symbols in equal order")


def substitutions_lead_to_symbols(part: Vocabulary, draw: Draw) -> None:
    """`substitutions` maps capital letters to symbols of one character."""
    known = {symbol for symbol in _symbols(part) if len(symbol) == 1 and not is_special(symbol)}
    found = call_method(part, "", "a dict of texts", "substitutions")
    if not isinstance(found, Mapping):
        fail(part, "", f"substitutions() is {found!r}", "a dict such as {'U': 'T'}")
    for old, new in found.items():
        if not (isinstance(old, str) and len(old) == 1 and "A" <= old <= "Z") or new not in known:
            fail(part, "", f"substitutions() has {old!r}: {new!r}", "a capital letter, and a symbol of one character")


CHECKS = (is_made_without_options, symbols_can_be_read, symbols_never_change, substitutions_lead_to_symbols)
