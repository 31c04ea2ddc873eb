"""Carries out tasks in this process or in several, and keeps each measurement in a file, so that none is made twice."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from sedd.data.prepare.parallel import cores, map_in_order
from sedd.errors import CheckpointError, TrainingError
from sedd.files import write_json
from sedd.sweeps.running import Setup, carry_out
from sedd.sweeps.tasks import Measurement, Task

WATCH_SECONDS = 0.2
"""How often a worker looks whether the sweep still runs."""


@dataclass(frozen=True)
class Work:
    """Carries out one task, and writes its measurement before it returns; it can be sent to another process."""

    setup: Setup
    measurements: Path
    parent: int | None = None
    """The process of the sweep, if this is another one, which ends when that has ended."""
    threads: int | None = None
    """Threads of a worker."""

    def __call__(self, task: Task) -> Measurement:
        if self.parent is not None:
            _end_with(self.parent)
        if self.threads is not None:
            torch.set_num_threads(self.threads)
        found = carry_out(self.setup, task)
        write_json(file_of(self.measurements, task), found.to_dict())
        return Measurement.from_dict(found.to_dict())  # as it will be read if the sweep goes on


@dataclass(frozen=True)
class Bench:
    """Measures tasks for `sedd.sweeps.search`."""

    setup: Setup
    measurements: Path
    """Directory of the files of measurements."""
    jobs: int = 1
    done: Callable[[Task, Measurement], object] | None = None
    """Called with each measurement."""
    begin: Callable[[Sequence[Task], int], object] | None = None
    """Called with the tasks of each part, and how many of them have a file."""

    def __call__(self, tasks: Sequence[Task]) -> list[Measurement]:
        """The measurements of tasks, in their order; those that have a file are read.

        Raises:
            CheckpointError: if such a file is damaged.
            TrainingError: if one of several processes was killed.
        """
        found = {task.name: read(self.measurements, task) for task in tasks}
        missing = [task for task in tasks if found[task.name] is None]
        if self.begin is not None:
            self.begin(tasks, len(tasks) - len(missing))
        jobs = min(self.jobs, len(missing))
        if jobs > 1:
            work = Work(self.setup, self.measurements, parent=os.getpid(), threads=max(1, cores() // self.jobs))
        else:
            work = Work(self.setup, self.measurements)
        try:
            for task, one in zip(missing, map_in_order(work, missing, workers=max(1, jobs)), strict=True):
                found[task.name] = one
                if self.done is not None:
                    self.done(task, one)
        except ChildProcessError as error:
            raise TrainingError(
                f"a process of the sweep was killed ({error}). The same command goes on; fewer --jobs need less memory"
            ) from error
        return [one for task in tasks for one in [found[task.name]] if one is not None]


def file_of(measurements: Path, task: Task) -> Path:
    """The file of a measurement."""
    return measurements / f"{task.name}.json"


def read(measurements: Path, task: Task) -> Measurement | None:
    """A measurement that was made before; None if there is none.

    Raises:
        CheckpointError: if its file is damaged.
    """
    file = file_of(measurements, task)
    try:
        return Measurement.from_dict(json.loads(file.read_text(encoding="utf-8")))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CheckpointError(
            f"not a measurement of a sweep ({error}); remove the file, and the sweep measures again", file=file
        ) from None


def _end_with(parent: int) -> None:
    """End this process when its parent has ended, so that nothing trains in the directory of a killed sweep."""
    if any(thread.name == "sedd-sweep-parent" for thread in threading.enumerate()):
        return

    def watch() -> None:
        while os.getppid() == parent:
            ended.wait(WATCH_SECONDS)
        os._exit(1)

    ended = threading.Event()
    threading.Thread(target=watch, name="sedd-sweep-parent", daemon=True).start()
