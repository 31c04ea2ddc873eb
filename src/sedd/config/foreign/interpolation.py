"""`${...}` in run files of Hydra and OmegaConf: references to other keys, and arithmetic."""

from __future__ import annotations

import ast
import math
import operator
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from sedd.config.yaml_lines import parse_value

INNERMOST = re.compile(r"\$\{([^${}]*)\}")
MOST_REFERENCES = 50
"""References that are followed for one value: more are a circle."""
LONGEST = 1_000
"""Characters of a value with references, and of a formula."""
_OPERATIONS: dict[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul,
    ast.Div: operator.truediv, ast.FloorDiv: operator.floordiv,
}  # fmt: skip


class UnresolvedError(Exception):
    """A reference that only the other program, or its machine, can resolve; the message is the reference."""


def resolve(value: Any, path: Sequence[str], data: Mapping[str, Any], depth: int = 0) -> Any:
    """The value at `path` of `data` with its references resolved; a list or mapping stays as it is.

    Known are keys (`${a.b}`, relative `${.b}`, `${..b}`), `${div_up:a, b}`, and arithmetic in `${eval:...}`.

    Raises:
        UnresolvedError: for any other reference, a key that is not there, and a circle.
    """
    for _ in range(MOST_REFERENCES):
        if not isinstance(value, str) or "${" not in value:
            return value
        found = INNERMOST.search(value)
        if found is None or len(value) > LONGEST or depth > MOST_REFERENCES:
            raise UnresolvedError(value[:80])
        whole = found[0] == value
        resolved = _reference(found[1].strip(), path, data, depth)
        if whole:
            value = resolved
        elif isinstance(resolved, dict | list):
            raise UnresolvedError(found[0])
        else:
            value = f"{value[: found.start()]}{resolved}{value[found.end() :]}"
    raise UnresolvedError(str(value)[:80])


def _reference(text: str, path: Sequence[str], data: Mapping[str, Any], depth: int) -> Any:
    name, colon, arguments = text.partition(":")
    if not colon:
        return _key(text, path, data, depth)
    if name == "eval":
        return _arithmetic(arguments.strip(" '\""), text)
    if name == "div_up":
        parts = [_arithmetic(part, text) for part in arguments.split(",")]
        if len(parts) == 2 and parts[1]:
            return math.ceil(parts[0] / parts[1])
    raise UnresolvedError(f"${{{text}}}")


def _key(text: str, path: Sequence[str], data: Mapping[str, Any], depth: int) -> Any:
    name = text.lstrip(".")
    ups = len(text) - len(name)  # `.a` is beside the value, `..a` one section further out
    if ups > len(path):
        raise UnresolvedError(f"${{{text}}}")
    node: Any = data
    target = [*(path[: len(path) - ups] if ups else ()), *name.split(".")]
    for key in target:
        if not isinstance(node, Mapping) or key not in node:
            raise UnresolvedError(f"${{{text}}}")
        node = node[key]
    return resolve(node, target, data, depth + 1)  # it may refer to keys beside itself


def _arithmetic(formula: str, text: str) -> float:
    """The value of a formula of numbers; nothing else is evaluated."""
    try:
        found = _number(ast.parse(formula.strip(), mode="eval").body) if len(formula) <= LONGEST else None
    except (SyntaxError, ValueError, ArithmeticError, RecursionError, MemoryError):
        found = None
    if found is None or not math.isfinite(found):
        raise UnresolvedError(f"${{{text}}}")
    value = parse_value(repr(found), text)
    return int(value) if float(value).is_integer() else float(value)


def _number(node: ast.AST) -> float:
    match node:
        case ast.Constant(value=int() | float() as value) if not isinstance(value, bool):
            return value
        case ast.UnaryOp(op=ast.USub(), operand=inner):
            return -_number(inner)
        case ast.BinOp(left=left, op=op, right=right) if type(op) in _OPERATIONS:
            return float(_OPERATIONS[type(op)](_number(left), _number(right)))
    raise ValueError("not arithmetic")
