"""Which symbols can be read from a file."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

MOST_SYMBOLS = 65_534
"""Symbols of an alphabet: with MASK their ids fit 16 bits."""
LONGEST_SYMBOL = 100
"""Characters."""


def is_special(symbol: str) -> bool:
    """Whether it is the name of a token that no file has, such as `<cls>`."""
    return len(symbol) > 2 and symbol.startswith("<") and symbol.endswith(">")


def unreadable(symbols: Sequence[str], separator: str) -> str | None:
    """Why these are no symbols of a file, with `separator` between them; None if they are."""
    if not 2 <= len(symbols) <= MOST_SYMBOLS:
        return f"{len(symbols)} symbol(s); expected 2 to {MOST_SYMBOLS:,}"
    if repeated := [symbol for symbol, number in Counter(symbols).items() if number > 1]:
        return f"{repeated[0]!r} is listed twice; list each symbol once"
    if separator and not separator.isprintable():
        return f"{separator!r} cannot be a separator; expected printable characters, such as a space"
    return next(filter(None, (_unreadable(symbol, separator) for symbol in symbols)), None)


def _unreadable(symbol: str, separator: str) -> str | None:
    if not isinstance(symbol, str):
        return f"{symbol!r} is no text; expected symbols such as 'A' or 'AAC'"
    if not symbol or not symbol.isprintable() or any(character.isspace() for character in symbol):
        return f"{symbol!r} cannot be a symbol; expected printable characters without white space"
    if len(symbol) > LONGEST_SYMBOL:
        return f"{symbol[:20]!r}... has {len(symbol):,} characters; expected at most {LONGEST_SYMBOL}"
    if separator.strip() and separator.strip() in symbol:
        return f"the symbol {symbol!r} contains the separator {separator!r}; choose another separator"
    if symbol.startswith(">") or (">" in symbol and not separator and not is_special(symbol)):
        return f"{symbol!r} cannot be a symbol: `>` begins a header of FASTA"
    if not separator and not symbol.isascii():
        return f"{symbol!r} is not ASCII; give a separator, or read any characters with data.alphabet=text"
    return None
