"""The built-in device backends: `auto`, `cpu`, `cuda`, `mps` and `xpu`."""

from __future__ import annotations

import ctypes
import sys
from abc import abstractmethod
from typing import Annotated, ClassVar, Literal

import torch
from annotated_types import Interval

from sedd.errors import DeviceError
from sedd.model.varlen import has_varlen, varlen_works
from sedd.plugins.contracts import Backend
from sedd.plugins.hookspecs import hookimpl
from sedd.plugins.recorders import CudaGraphs, Recorder


class Auto(Backend):
    """The available backend with the highest priority, by which `sedd.devices.choose` replaces this one."""

    type: Literal["auto"] = "auto"
    priority: ClassVar[int] = -1

    def available(self) -> bool:
        return False

    def device(self, local_rank: int = 0) -> torch.device:
        raise DeviceError("device `auto` stands for another backend; sedd.devices.choose(backend) returns it")


class Cpu(Backend):
    """The CPU, which is always available."""

    type: Literal["cpu"] = "cpu"
    keep_memory: bool = True
    """On Linux, keep memory that one step has freed for the next step, instead of returning it to the system."""

    def available(self) -> bool:
        return True

    def device(self, local_rank: int = 0) -> torch.device:
        return torch.device("cpu")

    def fast_bfloat16(self) -> bool:
        # Without these instructions bfloat16 is emulated, which is slower than float32.
        capabilities = torch.cpu.get_capabilities()
        return bool(capabilities.get("avx512_bf16") or capabilities.get("amx_bf16"))

    def prepare(self) -> None:
        if self.keep_memory and sys.platform == "linux":
            _keep_freed_memory()


M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4
"""Options of glibc's `mallopt`."""


def _keep_freed_memory() -> None:
    """Set glibc's allocator to keep freed memory; other allocators have no `mallopt`."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(M_MMAP_MAX, 0)
        mallopt(M_TRIM_THRESHOLD, 2**31 - 1)


class Numbered(Backend):
    """A kind of device of which a machine may have several; `device: cuda:1` is its second one."""

    index: Annotated[int, Interval(ge=0, le=1023)] | None = None
    """Which of several devices, from 0, as in `device: cuda:1`; by default the first one, or with several processes one
    for each. With an index there is one process."""

    @abstractmethod
    def count(self) -> int:
        """How many such devices this machine has."""

    def available(self) -> bool:
        return self.count() > (self.index or 0)

    def device(self, local_rank: int = 0) -> torch.device:
        name = self.part_name()
        if self.index is not None and local_rank:
            raise DeviceError(
                f"device {name}:{self.index} is one device, and several processes were started; write "
                f"device={name} to give each process its own"
            )
        return torch.device(name, local_rank if self.index is None else self.index)


class Cuda(Numbered):
    """NVIDIA GPUs, and AMD GPUs with ROCm, which torch calls `cuda` too."""

    type: Literal["cuda"] = "cuda"
    priority: ClassVar[int] = 30

    def count(self) -> int:
        return torch.cuda.device_count() if torch.cuda.is_available() else 0

    def prepare(self) -> None:
        if self.index is not None:
            torch.cuda.set_device(self.index)  # kernels of other libraries run on the current device

    def fast_bfloat16(self) -> bool:
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))

    def fast_packed(self) -> bool:
        device = torch.device("cuda" if self.index is None else f"cuda:{self.index}")  # the current one, or that one
        return self.precision == "bfloat16" and has_varlen(device) and varlen_works(device)

    def recorder(self, device: torch.device) -> Recorder | None:
        return None if torch.version.hip is not None else CudaGraphs(device)

    def memory(self) -> dict[str, int]:
        return {
            "allocated": torch.cuda.memory_allocated(self.index),
            "peak": torch.cuda.max_memory_allocated(self.index),
        }

    def process_group(self) -> str:
        return "nccl"


class Mps(Backend):
    """Apple GPUs."""

    type: Literal["mps"] = "mps"
    priority: ClassVar[int] = 10

    def available(self) -> bool:
        return torch.backends.mps.is_available()

    def device(self, local_rank: int = 0) -> torch.device:
        return torch.device("mps")

    def memory(self) -> dict[str, int]:
        return {"allocated": torch.mps.current_allocated_memory()}


class Xpu(Numbered):
    """Intel GPUs."""

    type: Literal["xpu"] = "xpu"
    priority: ClassVar[int] = 20

    def count(self) -> int:
        return torch.xpu.device_count() if torch.xpu.is_available() else 0

    def prepare(self) -> None:
        if self.index is not None:
            torch.xpu.set_device(self.index)

    def fast_bfloat16(self) -> bool:
        return torch.xpu.is_bf16_supported()

    def memory(self) -> dict[str, int]:
        return {"allocated": torch.xpu.memory_allocated(self.index), "peak": torch.xpu.max_memory_allocated(self.index)}

    def process_group(self) -> str:
        return "xccl"


@hookimpl
def sedd_backends() -> list[type[Backend]]:
    return [Auto, Cpu, Cuda, Mps, Xpu]
