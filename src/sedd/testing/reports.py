"""The errors of checks: the options, the place, the value, and what was expected."""

from __future__ import annotations

import unittest
from collections.abc import Callable
from typing import Any, NoReturn

from hypothesis import strategies as st

from sedd.plugins.contracts import Part

Draw = Callable[[st.SearchStrategy[Any]], Any]
"""Draws a value from a strategy, inside a check."""


def label(cls: type[Any]) -> str:
    return f"{cls.__module__}.{cls.__qualname__}"


def fail(part: Part, where: str, given: str, expected: str) -> NoReturn:
    raise AssertionError(f"{type(part).__module__}.{part!r}{where and ' at ' + where}: {given}; expected {expected}")


def call_method(part: Part, where: str, expected: str, method: str, *args: Any) -> Any:
    """Call a method of the plugin; an exception from it is an AssertionError."""
    try:
        return getattr(part, method)(*args)
    except unittest.SkipTest:
        raise
    except Exception as error:
        raise AssertionError(
            f"{type(part).__module__}.{part!r}{where and ' at ' + where}: {method}() raised "
            f"{type(error).__name__}: {error}; expected {expected}"
        ) from error
