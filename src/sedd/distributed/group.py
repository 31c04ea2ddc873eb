"""The processes that train together: one alone, or the group that torchrun (or `--supervise`) has started.

A process alone never imports `torch.distributed`. In a group every process runs the same program and takes the same
decisions; what only one may do (write, show, watch) the first does, and tells the others what came of it.
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
NUMBERS = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE")
"""Environment variables that torchrun sets for each process."""
RENDEZVOUS = "SEDD_RENDEZVOUS"
"""Environment variable of `--supervise`: the URL of a file where the processes find each other."""
PATIENCE = timedelta(minutes=30)
"""How long a process waits for another before it gives up: the first may be judging samples meanwhile."""
A_MOMENT = 0.2
"""Seconds that threads of gloo have, before Python ends, to let go of the last tensors."""


@dataclass(frozen=True)
class Place:
    """Which of the processes this one is."""

    rank: int = 0
    """Among all."""
    size: int = 1
    """How many there are."""
    local_rank: int = 0
    """Among those of this machine; chooses the device."""
    local_size: int = 1
    """How many there are on this machine."""

    def environment(self) -> dict[str, str]:
        """The variables that torchrun would set."""
        return dict(zip(NUMBERS, map(str, (self.rank, self.size, self.local_rank, self.local_size)), strict=True))


def launched() -> Place | None:
    """The place that torchrun or `--supervise` gave this process; None without them."""
    meeting = RENDEZVOUS in os.environ or ("MASTER_ADDR" in os.environ and "MASTER_PORT" in os.environ)
    if not meeting or any(name not in os.environ for name in NUMBERS):
        return None
    return Place(*(int(os.environ[name]) for name in NUMBERS))


class World:
    """A process alone, and what a group can do besides. All methods but `is_main` are called by all processes."""

    place = Place()

    @property
    def rank(self) -> int:
        """Which of the processes this one is."""
        return self.place.rank

    @property
    def size(self) -> int:
        """How many processes there are."""
        return self.place.size

    @property
    def is_main(self) -> bool:
        """Whether this is the process that writes and shows."""
        return self.rank == 0

    def broadcast_object(self, choose: Callable[[], T]) -> T:
        """What `choose` gives to the first process, for all; the others do not call it."""
        return choose()

    def all_gather_object(self, item: T) -> list[T]:
        """The items of all processes, in the order of their ranks, for all."""
        return [item]

    def all_reduce_max(self, *numbers: int) -> tuple[int, ...]:
        """The largest of each number."""
        return numbers

    def all_reduce_sum(self, array: np.ndarray) -> np.ndarray:
        """The sum of float64 arrays of one shape."""
        return array

    def all_reduce_sum_(self, tensor: Tensor) -> None:
        """The sum of tensors of one shape, in the place of each, on their device."""

    def broadcast_(self, tensor: Tensor) -> None:
        """The numbers of the first process, in the place of each, on their device."""

    def barrier(self) -> None:
        """Until all are here."""


ALONE = World()


class Group(World):
    """Processes that torchrun has started. One per process: `join` makes it."""

    current: ClassVar[Group | None] = None

    def __init__(self, place: Place, backend: Backend, device: torch.device) -> None:
        import torch.distributed as dist

        self.place = place
        self.dist = dist
        if not dist.is_initialized():
            # What the host knows goes over gloo: stop flags and file lists need not wait for the device.
            name = backend.process_group()
            dist.init_process_group(
                name if device.type == "cpu" else f"cpu:gloo,{device.type}:{name}",
                init_method=os.environ.get(RENDEZVOUS, "env://"),
                rank=place.rank,
                world_size=place.size,
                timeout=PATIENCE,
            )
            atexit.register(leave)

    def broadcast_object(self, choose: Callable[[], T]) -> T:
        box: list[Any] = [choose() if self.is_main else None]
        self.dist.broadcast_object_list(box)
        return cast(T, box[0])

    def all_gather_object(self, item: T) -> list[T]:
        box: list[Any] = [None] * self.size
        self.dist.all_gather_object(box, item)
        return box

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
        self.all_reduce_max(0)  # over gloo on every device, where `barrier` would ask which device to wait for


def join(backend: Backend) -> World:
    """The world of this process; in a group, the first call waits for all others.

    Raises:
        DeviceError: if this machine has fewer devices than processes.
    """
    place = launched()
    if place is None or place.size == 1:
        return ALONE
    if Group.current is None:
        device = backend.device(place.local_rank)
        if device.type != "cpu":
            module = torch.get_device_module(device)
            check_devices(backend, place, module.device_count())
            module.set_device(device)
        Group.current = Group(place, backend, device)
    return Group.current


def check_devices(backend: Backend, place: Place, count: int) -> None:
    """Whether this machine has a device for each of its processes.

    Raises:
        DeviceError: if it has fewer.
    """
    if count < place.local_size:
        raise DeviceError(
            f"{place.local_size} processes on this machine, and {count} {backend.part_name()} devices; "
            f"start at most one process per device: torchrun --nproc-per-node {max(count, 1)}, or --device cpu"
        )


def at_place(backend: Backend, local_rank: int) -> Backend:
    """The same backend, whose device is by default that of this process."""
    if local_rank == 0:
        return backend
    kind = type(backend)

    def device(self: Backend, local_rank: int = local_rank) -> torch.device:
        return kind.device(self, local_rank)

    placed: type[Backend] = type(kind.__name__, (kind,), {"device": device, "__module__": kind.__module__})
    return placed.model_validate(backend.model_dump())


def leave() -> None:
    """End the group; registered to run when the process ends."""
    import torch.distributed as dist

    if dist.is_initialized():
        # When a result is there, a thread of gloo still has to let go of its tensors, and needs Python's lock for it.
        # Where Python ends first, the process aborts with all its work done; sleeping lets that thread have the lock.
        time.sleep(A_MOMENT)
        dist.destroy_process_group()
    Group.current = None


def lost(error: BaseException) -> RankLostError | None:
    """What to tell if `error` comes from another process that is no longer there; None if it does not."""
    group = Group.current
    signs = ("Connection closed by peer", "Connection reset by peer", "Broken pipe", "Timed out waiting")
    if group is None or not isinstance(error, RuntimeError):
        return None
    if not isinstance(error, group.dist.DistError) and not any(sign in str(error) for sign in signs):
        return None
    first = str(error).strip().splitlines()[0]
    return RankLostError(
        f"process {group.rank} of {group.size} lost another one, whose own message says why ({first[:200]}). "
        "Resume with --resume; --supervise does that by itself"
    )
