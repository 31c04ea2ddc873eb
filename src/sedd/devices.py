"""Choose the device: what was asked for if it is there, the best there is for `auto`."""

from __future__ import annotations

import warnings

from sedd.contracts import Backend
from sedd.errors import DeviceError, SeddWarning
from sedd.plugins import registry
from sedd.speed import speed


def choose(asked: Backend) -> Backend:
    """The backend to use, with the precision that pays on it (see `sedd.speed`) in place of `auto`.

    Raises:
        DeviceError: if the backend asked for is not available; lists those that are.
    """
    if asked.part_name() == "auto":
        best = max(_there(), key=lambda cls: cls.priority)
        return _settled(best(precision=asked.precision))
    if not asked.available():
        raise DeviceError(
            f"device {asked.part_name()!r} is not available on this machine; available: "
            f"{', '.join(cls.part_name() for cls in _there())}. Use --device auto to take the best of them"
        )
    return _settled(asked)


def _settled(backend: Backend) -> Backend:
    if backend.precision != "auto":
        return backend
    pays = backend.fast_bfloat16() and speed(backend).precision == "bfloat16"
    return backend.model_copy(update={"precision": "bfloat16" if pays else "float32"})


def _there() -> list[type[Backend]]:
    """The installed backends whose device this machine has."""
    found = []
    for cls in installed():
        try:
            if cls().available():
                found.append(cls)
        except Exception as error:  # a plugin may fail in any way, and must not take the other devices with it
            warnings.warn(
                f"device {cls.part_name()!r} is left out: available() failed ({type(error).__name__}: {error})",
                SeddWarning,
                stacklevel=3,
            )
    return found


def installed() -> list[type[Backend]]:
    """The installed backends; `auto` itself is never available."""
    return [cls for cls in registry().of("device").values() if issubclass(cls, Backend)]
