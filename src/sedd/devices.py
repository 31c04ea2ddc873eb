"""Choose the device: what was asked for if it is there, the best there is for `auto`."""

from __future__ import annotations

from sedd.contracts import Backend
from sedd.errors import DeviceError
from sedd.plugins import registry


def choose(asked: Backend) -> Backend:
    """The backend to use.

    Raises:
        DeviceError: if the backend asked for is not available; lists those that are.
    """
    if asked.type == "auto":  # type: ignore[attr-defined]  # the discriminator lives in the subclasses (see DESIGN)
        there = [cls for cls in _installed() if cls.part_name() != "auto" and cls().available()]
        best = max(there, key=lambda cls: cls.priority)
        return best(precision=asked.precision)
    if not asked.available():
        there_names = [cls.part_name() for cls in _installed() if cls().available()]
        raise DeviceError(
            f"device {asked.part_name()!r} is not available on this machine; available: {', '.join(there_names)}. "
            "Use --device auto to take the best of them"
        )
    return asked


def _installed() -> list[type[Backend]]:
    return [cls for cls in registry().of("device").values() if issubclass(cls, Backend)]
