"""Bounds on YAML, so that no file, however it was made, takes much time or memory to read.

Aliases can stand for billions of values in a few lines, nesting can exhaust the stack, and a number with thousands of
digits takes quadratic time. A run file has some hundred values.
"""

from __future__ import annotations

from typing import Any

import yaml
from yaml.composer import ComposerError

MOST_BYTES = 1 << 20
"""Of a file."""
DEEPEST = 50
"""Nesting of sections and lists."""
MOST_VALUES = 100_000
"""Values, with those that aliases stand for."""
LONGEST_VALUE = 1 << 16
"""Characters."""


class BoundedLoader(yaml.SafeLoader):
    """Raises a ComposerError for a document beyond the bounds, before anything is made of it."""

    def __init__(self, stream: str) -> None:
        super().__init__(stream)
        self._depth = 0
        self._sizes: dict[int, int] = {}
        """By the id of a node: the values it stands for."""

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        """The next node, counted."""
        mark = self.peek_event().start_mark  # type: ignore[no-untyped-call]
        self._depth += 1
        if self._depth > DEEPEST:
            raise ComposerError(None, None, f"nested more than {DEEPEST} deep", mark)
        node: yaml.Node | None = super().compose_node(parent, index)
        self._depth -= 1
        if node is None:
            return None
        if isinstance(node, yaml.ScalarNode) and len(node.value) > LONGEST_VALUE:
            raise ComposerError(None, None, f"a value of {len(node.value):,} characters", mark)
        if id(node) not in self._sizes:
            self._sizes[id(node)] = self._size(node)
        if self._sizes[id(node)] > MOST_VALUES:
            raise ComposerError(None, None, f"more than {MOST_VALUES:,} values, with those of aliases", mark)
        return node

    def _size(self, node: yaml.Node) -> int:
        if isinstance(node, yaml.SequenceNode):
            return 1 + sum(self._known(item) for item in node.value)
        if isinstance(node, yaml.MappingNode):
            return 1 + sum(self._known(key) + self._known(value) for key, value in node.value)
        return 1

    def _known(self, node: yaml.Node) -> int:
        # A node that is not finished contains itself, by an alias: without an end.
        return self._sizes.get(id(node), MOST_VALUES + 1)
