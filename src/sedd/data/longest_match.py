"""A regular expression that matches the longest of many symbols, as a tree of their beginnings.

An alternative for each symbol would be tried one after the other: the time for one symbol would grow with their number.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

_END = ""
"""Marks in a tree that a symbol ends there."""


def longest_match(symbols: Iterable[str]) -> re.Pattern[str]:
    """A pattern that matches the longest of `symbols` which the text has at a place."""
    root: dict[str, Any] = {}
    for symbol in symbols:
        node = root
        for character in symbol:
            node = node.setdefault(character, {})
        node[_END] = {}
    return re.compile(_expression(root))


def _expression(node: dict[str, Any]) -> str:
    """What may follow the beginning that leads to a node: more of a symbol is tried before none."""
    chain = ""
    while len(node) == 1 and _END not in node:  # without a group for each character of a long symbol
        (character, node), *_ = node.items()
        chain += re.escape(character)
    following = [(character, inner) for character, inner in node.items() if character != _END]
    if not following:
        return chain
    last = "".join(re.escape(character) for character, inner in following if inner.keys() == {_END})
    choices = [re.escape(character) + _expression(inner) for character, inner in following if inner.keys() != {_END}]
    choices += [f"[{last}]"] if last else []
    return f"{chain}(?:{'|'.join(choices)}){'?' if _END in node else ''}"
