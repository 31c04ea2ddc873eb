"""Two programs that train in turns, each in a process of its own, and how their curves are compared."""

from __future__ import annotations

import math
import multiprocessing as mp
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from typing import Any

import numpy as np

from sedd.evaluation.intervals import student
from sedd.evaluation.paired import Paired

Values = tuple[np.ndarray, np.ndarray]
"""Nats per residue of each held-out sequence, and its residues."""
Program = tuple[Callable[[], object], Callable[[], Values]]
"""Does one step; measures the bound."""


def serve(end: Connection, build: Callable[..., Program], arguments: tuple[Any, ...], cpu_seconds: bool) -> None:
    """Train for as many steps or seconds as told, then report (seconds, steps, values or None)."""
    clock = time.process_time if cpu_seconds else time.perf_counter
    step, measure = build(*arguments)
    step(), step()  # compiled and warm; these two count as training that costs nothing, for both
    end.send(None)
    while turn := end.recv():
        most_steps, most_seconds, measured = turn
        began, steps = clock(), 0
        while steps < most_steps and clock() - began < most_seconds:
            step()
            steps += 1
        took = clock() - began
        end.send((took, steps, measure() if measured else None))


@dataclass
class Turns:
    """A program in a process of its own, and its curve."""

    name: str
    end: Connection
    process: Any
    spent: float = 0.0
    """Seconds of training."""
    steps: int = 0
    seconds: list[float] = field(default_factory=list)
    """Of training, when the bound was measured."""
    values: list[Values] = field(default_factory=list)

    @staticmethod
    def start(name: str, build: Callable[..., Program], *arguments: object, cpu_seconds: bool) -> Turns:
        """Start a program, which waits when it is warm; `cpu_seconds`: these count instead of seconds."""
        context = mp.get_context("spawn")
        mine, theirs = context.Pipe()
        process = context.Process(target=serve, args=(theirs, build, arguments, cpu_seconds), daemon=True)
        process.start()
        mine.recv()
        return Turns(name, mine, process)

    @property
    def bounds(self) -> list[float]:
        """Nats per residue."""
        return [Paired.mean(*values).nats for values in self.values]

    def train(self, *, steps: float = math.inf, seconds: float = math.inf, measured: bool = True) -> float:
        """Have a turn, return its seconds; print a line if the bound is measured."""
        self.end.send((steps, seconds, measured))
        took, done, values = self.end.recv()
        self.spent += took
        self.steps += done
        if measured:
            self.seconds.append(self.spent)
            self.values.append(values)
            print(f"| {self.name} | {self.spent:.1f} | {self.steps:,} | {self.bounds[-1]:.4f} |", flush=True)
        return float(took)

    def stop(self) -> None:
        """End the process."""
        self.end.send(None)
        self.process.join()


def reached(seconds: Sequence[float], bounds: Sequence[float], target: float) -> float:
    """The time at which a curve comes down to `target`, by lines between its points; infinite where it does not."""
    before: tuple[float, float] | None = None
    for now, bound in zip(seconds, bounds, strict=True):
        if bound <= target:
            return now if before is None else before[0] + (now - before[0]) * (before[1] - target) / (before[1] - bound)
        before = now, bound
    return math.inf


def over_seeds(values: Sequence[float]) -> tuple[float, float]:
    """The mean, and half of its 95 % interval from the scatter over the seeds; infinite for a single one."""
    if len(values) < 2:
        return values[0], math.inf
    return statistics.mean(values), student(len(values) - 1) * statistics.stdev(values) / math.sqrt(len(values))


def ratio_over_seeds(ratios: Sequence[float], factor: float) -> str:
    """The geometric mean with its 95 % interval, or how many seeds did not reach the bound."""
    beyond = sum(math.isinf(ratio) for ratio in ratios)
    if beyond:
        return f"more than {factor:g} in {beyond} of {len(ratios)}"
    mean, half = over_seeds([math.log(ratio) for ratio in ratios])
    if math.isinf(half):
        return f"{math.exp(mean):.1f}"
    return f"{math.exp(mean):.1f} ({math.exp(mean - half):.1f} to {math.exp(mean + half):.1f})"
