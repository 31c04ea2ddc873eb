"""The processes that train together: a single process, or the group that torchrun (or `--supervise`) launched.

A single process never imports `torch.distributed`. In a group, every rank runs the same program and takes the same
decisions. Rank 0 alone writes files, prints and monitors; it broadcasts the results that the other ranks need.
"""

from __future__ import annotations

import atexit
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, ClassVar, TypeVar, cast

import numpy as np
import torch
from torch import Tensor

from sedd.errors import DeviceError, RankLostError
from sedd.plugins.contracts import Backend

T = TypeVar("T")
RANK_VARIABLES = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE")
"""Environment variables that torchrun sets for each process."""
RENDEZVOUS = "SEDD_RENDEZVOUS"
"""Environment variable of `--supervise`: the URL of the file through which the processes find each other."""
TIMEOUT = timedelta(minutes=30)
"""How long a collective waits for the other ranks. Rank 0 may be evaluating samples meanwhile."""
GLOO_RELEASE_SECONDS = 0.2
"""How long gloo's threads get to release their last tensors before Python exits."""
CONNECTION_ERRORS = ("Connection closed by peer", "Connection reset by peer", "Broken pipe", "Timed out waiting")
"""Messages of plain `RuntimeError`s that gloo raises when another rank died."""


@dataclass(frozen=True)
class RankInfo:
    """The rank of this process, as torchrun defines it."""

    rank: int = 0
    world_size: int = 1
    local_rank: int = 0
    """Rank among the processes of this machine; it selects the device."""
    local_world_size: int = 1

    @classmethod
    def from_environment(cls) -> RankInfo | None:
        """Read the variables that torchrun or `--supervise` sets; None in a process that neither of them launched."""
        rendezvous = RENDEZVOUS in os.environ or ("MASTER_ADDR" in os.environ and "MASTER_PORT" in os.environ)
        if not rendezvous or any(name not in os.environ for name in RANK_VARIABLES):
            return None
        return cls(*(int(os.environ[name]) for name in RANK_VARIABLES))

    def to_environment(self) -> dict[str, str]:
        """The variables that torchrun would set."""
        ranks = (self.rank, self.world_size, self.local_rank, self.local_world_size)
        return dict(zip(RANK_VARIABLES, map(str, ranks), strict=True))


class World:
    """All processes of a run, and the collectives between them. This base class is the world of a single process.

    Every rank must call each collective, in the same order.
    """

    info = RankInfo()

    @property
    def rank(self) -> int:
        """Rank of this process."""
        return self.info.rank

    @property
    def local_rank(self) -> int:
        """Rank among the processes of this machine; `Backend.device` takes it."""
        return self.info.local_rank

    @property
    def size(self) -> int:
        """Number of processes."""
        return self.info.world_size

    @property
    def is_main(self) -> bool:
        """Whether this is rank 0, which writes files and prints."""
        return self.rank == 0

    def broadcast_object(self, compute: Callable[[], T]) -> T:
        """Call `compute` on rank 0 only, and return its result on every rank."""
        return compute()

    def all_gather_object(self, item: T) -> list[T]:
        """The items of all ranks, in rank order, on every rank."""
        return [item]

    def all_reduce_max(self, *numbers: int) -> tuple[int, ...]:
        """The maximum of each number over the ranks."""
        return numbers

    def all_reduce_sum(self, array: np.ndarray) -> np.ndarray:
        """The sum of float64 arrays of equal shape over the ranks."""
        return array

    def all_reduce_sum_(self, tensor: Tensor) -> None:
        """Sum tensors of equal shape over the ranks, in place, on their device."""

    def broadcast_(self, tensor: Tensor) -> None:
        """Overwrite `tensor` with that of rank 0, in place, on its device."""

    def barrier(self) -> None:
        """Wait until every rank has called this."""


SINGLE_PROCESS = World()


class ProcessGroup(World):
    """The world of a process in a `torch.distributed` process group; `join` makes the only one of a process."""

    current: ClassVar[ProcessGroup | None] = None

    def __init__(self, info: RankInfo, backend: Backend, device: torch.device) -> None:
        import torch.distributed as dist

        self.info = info
        self.dist = dist
        if not dist.is_initialized():
            # Tensors on the host go over gloo: stop flags and file lists need not wait for the device.
            name = backend.process_group()
            dist.init_process_group(
                name if device.type == "cpu" else f"cpu:gloo,{device.type}:{name}",
                init_method=os.environ.get(RENDEZVOUS, "env://"),
                rank=info.rank,
                world_size=info.world_size,
                timeout=TIMEOUT,
            )
            atexit.register(destroy_process_group)

    def broadcast_object(self, compute: Callable[[], T]) -> T:
        objects: list[Any] = [compute() if self.is_main else None]
        self.dist.broadcast_object_list(objects)
        return cast(T, objects[0])

    def all_gather_object(self, item: T) -> list[T]:
        objects: list[Any] = [None] * self.size
        self.dist.all_gather_object(objects, item)
        return objects

    def all_reduce_max(self, *numbers: int) -> tuple[int, ...]:
        tensor = torch.tensor(numbers)
        self.dist.all_reduce(tensor, self.dist.ReduceOp.MAX)
        return tuple(tensor.tolist())

    def all_reduce_sum(self, array: np.ndarray) -> np.ndarray:
        tensor = torch.from_numpy(np.array(array, np.float64))
        self.dist.all_reduce(tensor)
        return tensor.numpy()

    def all_reduce_sum_(self, tensor: Tensor) -> None:
        self.dist.all_reduce(tensor)

    def broadcast_(self, tensor: Tensor) -> None:
        self.dist.broadcast(tensor, 0)

    def barrier(self) -> None:
        self.all_reduce_max(0)  # over gloo on every device, where `dist.barrier` would need to know the device


def join(backend: Backend) -> World:
    """The world of this process. In a group, the first call initializes the process group and waits for all ranks.

    Raises:
        DeviceError: if this machine has fewer devices than processes.
    """
    info = RankInfo.from_environment()
    if info is None or info.world_size == 1:
        return SINGLE_PROCESS
    if ProcessGroup.current is None:
        device = backend.device(info.local_rank)
        if device.type != "cpu":
            module = torch.get_device_module(device)
            check_device_count(backend, info, module.device_count())
            module.set_device(device)
        ProcessGroup.current = ProcessGroup(info, backend, device)
    return ProcessGroup.current


def check_device_count(backend: Backend, info: RankInfo, count: int) -> None:
    """Check that this machine's `count` devices are enough for its processes.

    Raises:
        DeviceError: if there are fewer devices than processes.
    """
    if count < info.local_world_size:
        raise DeviceError(
            f"{info.local_world_size} processes on this machine, and {count} {backend.part_name()} devices; "
            f"start at most one process per device: torchrun --nproc-per-node {max(count, 1)}, or --device cpu"
        )


def destroy_process_group() -> None:
    """Leave the process group; runs when the process exits."""
    import torch.distributed as dist

    if dist.is_initialized():
        # After the last collective, a thread of gloo still has to release its tensors, for which it needs Python's
        # lock. If Python exits first, the process aborts with all its work done; sleeping gives up the lock.
        time.sleep(GLOO_RELEASE_SECONDS)
        dist.destroy_process_group()
    ProcessGroup.current = None


def rank_lost_error(error: BaseException) -> RankLostError | None:
    """The error to report if `error` was raised because another rank died; None for any other error."""
    group = ProcessGroup.current
    if group is None or not isinstance(error, RuntimeError):
        return None
    if not isinstance(error, group.dist.DistError) and not any(text in str(error) for text in CONNECTION_ERRORS):
        return None
    reason = str(error).strip().splitlines()[0]
    return RankLostError(
        f"process {group.rank} of {group.size} lost another one, whose own message gives the reason ({reason[:200]}). "
        "Resume with --resume; --supervise does that by itself"
    )
