"""Record the kernels that a piece of work starts on a device, and start them all at once from then on.

A step of training starts a thousand kernels, and the host needs longer to start them than a GPU to compute them. A
recording has no such cost. It repeats the kernels with the same memory addresses and the same numbers of the host.
"""

from __future__ import annotations

import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable
from functools import cache

import torch

from sedd.errors import SeddWarning

Work = Callable[[], None]
"""Reads its inputs from tensors that stay where they are, and writes its results to such tensors; takes and returns
nothing. It does not wait for the device."""


class Recorder(ABC):
    """Records work. What its work needs in memory is shared by all that it has recorded."""

    @abstractmethod
    def rehearse(self, work: Work) -> None:
        """Do the work as it will be recorded. Once before `record`: libraries prepare themselves at the first call."""

    @abstractmethod
    def record(self, work: Work) -> Work:
        """Record the work without doing it; returns what does it. Any error may be raised where that fails."""


class CudaGraphs(Recorder):
    """CUDA graphs (`torch.cuda.CUDAGraph`)."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.stream = recording_stream(device)
        self.pool = torch.cuda.graph_pool_handle()

    def rehearse(self, work: Work) -> None:
        current = torch.cuda.current_stream(self.device)
        self.stream.wait_stream(current)
        with torch.cuda.stream(self.stream):
            work()
        current.wait_stream(self.stream)

    def record(self, work: Work) -> Work:
        graph = torch.cuda.CUDAGraph()
        # `thread_local`: another thread copies the next batch to page-locked memory meanwhile, which is harmless.
        with torch.cuda.graph(graph, pool=self.pool, stream=self.stream, capture_error_mode="thread_local"):
            work()
        return graph.replay


@cache
def recording_stream(device: torch.device) -> torch.cuda.Stream:
    """The stream of all rehearsals and recordings of a device: autograd and libraries keep state, such as memory for
    matrix products, by stream."""
    return torch.cuda.Stream(device)  # type: ignore[no-untyped-call]  # torch leaves it untyped


def problem_of(error: Exception) -> str:
    """An error of a device's library in one line."""
    return " ".join(f"{type(error).__name__}: {error}".split())[:300]


def warn_not_recorded(problem: str) -> None:
    """Say once that kernels are started one by one because of a problem."""
    warnings.warn(
        "the kernels of the network cannot be recorded here, so they are started one by one, which is slower "
        f"({problem}). device.graphs=off avoids the attempt",
        SeddWarning,
        stacklevel=2,
    )
