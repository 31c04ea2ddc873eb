"""Which trainer a run file belongs to, by its keys."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sedd.config.foreign.dialect import Dialect
from sedd.config.foreign.dialects import DIALECTS

LEAST_SIGNS = 2
"""Keys of a trainer from which a file is taken for its own: one may be a slip in a run file of sedd."""


def recognised(data: Mapping[str, Any]) -> Dialect | None:
    """The dialect of a run file; None for one of sedd, and for one of an unknown trainer.

    A trainer that grew from another has the keys of that one too. It is tried first, and its signs are only the keys
    that it added.
    """
    for dialect in DIALECTS.values():
        if sum(_has(data, key) for key in dialect.signs) >= LEAST_SIGNS:
            return dialect
    return None


def _has(data: Mapping[str, Any], key: str) -> bool:
    node: Any = data
    for name in key.split("."):
        if not isinstance(node, Mapping) or name not in node:
            return False
        node = node[name]
    return True
