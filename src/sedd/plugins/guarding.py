"""The methods of a device backend, guarded: what a plugin's method raises or returns names the plugin."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import wraps
from types import NoneType
from typing import Any

import torch

from sedd.errors import PluginError, SeddError
from sedd.plugins.recorders import Recorder

EXPECTED: dict[str, tuple[type | tuple[type, ...], str]] = {
    "available": (object, "whether the device is available"),
    "device": (torch.device, "a torch.device"),
    "fast_bfloat16": (object, "whether it is fast"),
    "fast_packed": (object, "whether packed rows are fast"),
    "recorder": ((Recorder, NoneType), "a sedd.results.Recorder, or None"),
    "prepare": (object, "nothing"),
    "autocast": (object, "a context manager"),
    "memory": (Mapping, "a dict of bytes by name"),
    "seed": (object, "nothing"),
    "process_group": (str, "the name of a torch.distributed backend"),
}
"""The guarded methods: the type of what each returns, and that in words."""


def guarded(part: object, name: str, method: Callable[..., Any]) -> Callable[..., Any]:
    """A method of a backend, whose errors and return values are checked.

    Errors of sedd, and too little memory, are raised as they are.

    Raises:
        PluginError: by the guarded method, if the method raises anything else, or returns what it must not.
    """
    expected, words = EXPECTED[name]

    @wraps(method)
    def call(*arguments: Any, **options: Any) -> Any:
        try:
            value = method(*arguments, **options)
        except (SeddError, MemoryError, torch.OutOfMemoryError):
            raise
        except Exception as error:  # a plugin may fail in any way
            raise _broken(part, f"{name}() failed ({type(error).__name__}: {error})") from error
        is_context = hasattr(value, "__enter__") and hasattr(value, "__exit__")
        if not isinstance(value, expected) or (name == "autocast" and not is_context):
            raise _broken(part, f"{name}() returned {value!r}, expected {words}")
        return value

    return call


def _broken(part: Any, problem: str) -> PluginError:
    from sedd.plugins.checked import broken  # it needs the contracts, which need this module

    return broken(part, "device backend", problem)
