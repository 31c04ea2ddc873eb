"""Time several contestants in turn, each in a process of its own, so that they meet the same machine and share nothing.

A contestant is a function that builds a step: a callable without arguments that returns how many residues it worked on.
While one works, the others wait. Ratios are of medians over the rounds of one run.
"""

from __future__ import annotations

import multiprocessing as mp
import resource
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from statistics import median
from typing import Any

Build = tuple[Callable[..., Callable[[], int]], tuple[Any, ...]]


@dataclass
class Times:
    """What was measured of one contestant."""

    first: float
    """Seconds of building and of the first two steps: compilation and warming up."""
    seconds: list[float] = field(default_factory=list)
    residues: list[int] = field(default_factory=list)
    peak: int = 0
    """Largest memory of its process, bytes: on the GPU if it uses one, else what was resident."""

    @property
    def rates(self) -> list[float]:
        """Residues per second of each round."""
        return [residues / seconds for residues, seconds in zip(self.residues, self.seconds, strict=True)]

    @property
    def rate(self) -> float:
        """Residues per second over all rounds, robust: the median over rounds."""
        return median(self.rates)


def interleaved(contestants: Mapping[str, Build], *, rounds: int, steps: int = 1) -> dict[str, Times]:
    """Run `rounds` of `steps` steps of each contestant in turn.

    Raises:
        EOFError, OSError: if the process of a contestant died; its traceback is on stderr.
    """
    context = mp.get_context("spawn")
    processes, ends, found = [], {}, {}
    try:
        for name, build in contestants.items():
            ends[name], theirs = context.Pipe()
            process = context.Process(target=_serve, args=(theirs, build, steps), daemon=True)
            process.start()
            theirs.close()  # so that the end of the process is the end of the pipe
            processes.append(process)
            found[name] = Times(ends[name].recv())
            print(f"  {name}: ready after {found[name].first:.0f} s", file=sys.stderr, flush=True)
        for _ in range(rounds):
            for name, end in ends.items():
                end.send("go")
                seconds, residues, peak = end.recv()
                found[name].seconds.append(seconds)
                found[name].residues.append(residues)
                found[name].peak = peak
    finally:
        for end in ends.values():
            end.close()
        for process in processes:
            process.join()
    return found


def _serve(end: Connection, build: Build, steps: int) -> None:
    began = time.perf_counter()
    function, arguments = build
    step = function(*arguments)
    step(), step()
    end.send(time.perf_counter() - began)
    with suppress(EOFError):  # the other end is closed when there are no more rounds
        while end.recv() == "go":
            began = time.perf_counter()
            residues = sum(step() for _ in range(steps))
            seconds = time.perf_counter() - began
            end.send((seconds, residues, _peak()))


def _peak() -> int:
    cuda = sys.modules["torch"].cuda if "torch" in sys.modules else None
    if cuda is not None and cuda.is_initialized():
        return int(cuda.max_memory_allocated())
    return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
