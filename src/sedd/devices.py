"""Choose the device: the one that was requested, or the best available one for `auto`; and measure how fast it is."""

from __future__ import annotations

import json
import platform
import time
import warnings
from dataclasses import asdict, dataclass
from statistics import median

import torch

from sedd.errors import DeviceError, SeddWarning
from sedd.files import cache_directory, write_json
from sedd.plugins.contracts import Backend
from sedd.plugins.registry import registry

ROWS, SIZE = {"cpu": 2048, "": 16_384}, {"cpu": 512, "": 2048}
"""Of the products that are timed: (rows, size) by (size, size), about 10 ms on a laptop and on a large GPU."""
PAYS = 1.2
"""bfloat16 is taken where it is so many times faster than float32."""


@dataclass(frozen=True)
class Speed:
    """Matrix products of one device, in units of 10^9 operations per second."""

    float32: float
    bfloat16: float
    """0 where the hardware has no instructions for it, and nothing was measured."""

    @property
    def precision(self) -> str:
        """The faster one; float32 unless bfloat16 clearly is."""
        return "bfloat16" if self.bfloat16 > PAYS * self.float32 else "float32"

    def of(self, precision: str) -> float:
        """Operations per second with this precision."""
        return 1e9 * (self.bfloat16 if precision == "bfloat16" else self.float32)


def speed(backend: Backend, device: torch.device | None = None) -> Speed:
    """The speed of a device (by default, the first of the backend), from the cache; measured and cached otherwise."""
    device = device or backend.device()
    file = cache_directory() / f"speed-{_identity(backend, device)}.json"
    try:
        return Speed(**json.loads(file.read_text("utf-8")))
    except (OSError, ValueError, TypeError):  # not there, or not what we wrote: measure
        found = measured(backend, device)
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        write_json(file, asdict(found))
    except OSError:
        return found  # a cache that cannot be written costs a measurement next time, nothing else
    return found


def measured(backend: Backend, device: torch.device) -> Speed:
    """Time matrix products now."""
    rates = [_rate(device, torch.float32)]
    rates.append(_rate(device, torch.bfloat16) if backend.fast_bfloat16() else 0.0)
    return Speed(*(round(rate, 1) for rate in rates))


def _rate(device: torch.device, dtype: torch.dtype) -> float:
    rows, size = (each.get(device.type, each[""]) for each in (ROWS, SIZE))
    a = torch.ones(rows, size, device=device, dtype=dtype)
    b = torch.ones(size, size, device=device, dtype=dtype)
    times = []
    for _ in range(8):
        began = time.perf_counter()
        (a @ b)[0, 0].item()  # waits for the device
        times.append(time.perf_counter() - began)
    return 2e-9 * rows * size * size / median(times[3:])


def _identity(backend: Backend, device: torch.device) -> str:
    """Of the device and what runs on it: another one is measured anew."""
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else platform.processor() or platform.machine()
    words = (backend.part_name(), name, platform.node(), str(torch.get_num_threads()), torch.__version__)
    return "-".join("".join(c if c.isalnum() else "_" for c in word) for word in words)


def choose(asked: Backend) -> Backend:
    """The backend to use, with the precision that pays on it (see `speed`) in place of `auto`.

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
