"""A function applied to many items by several processes: results in order, bounded memory."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from types import ModuleType
from typing import TypeVar

from sedd.errors import DataError

Item = TypeVar("Item")
Result = TypeVar("Result")


def cores() -> int:
    """Processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def map_in_order(function: Callable[[Item], Result], items: Iterable[Item], *, workers: int) -> Generator[Result]:
    """`map(function, items)` in `workers` processes, or in this one if that is 1; at most 2 items per worker wait.

    `function`, items and results must pickle. What `items` raises comes after the results of the items before it.
    Raises DataError what `function` raises, for the first item for which it does. Raises ChildProcessError if a worker
    was killed, for example because memory was short.
    """
    if workers == 1:
        yield from map(function, items)
        return
    # Spawned and not forked: forking a process that has threads (torch does) may hang.
    pool = ProcessPoolExecutor(workers, multiprocessing.get_context("spawn"), initializer=_start_worker)
    pending: deque[Future[Result]] = deque()
    try:
        for future in _submitted(pool, function, items):
            pending.append(future)
            if len(pending) > 2 * workers:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()
    except BrokenProcessPool as error:
        raise ChildProcessError("a worker process was killed; memory may be short, fewer workers need less") from error
    finally:
        pool.shutdown(cancel_futures=True)


def _submitted(
    pool: ProcessPoolExecutor, function: Callable[[Item], Result], items: Iterable[Item]
) -> Iterator[Future[Result]]:
    """A future per item. An error of `items` becomes the last future, so that it is raised in its turn."""
    try:
        for item in items:
            with _without_main_module():
                future = pool.submit(function, item)  # starts a process, until there are enough
            yield future
    except DataError as error:
        failed: Future[Result] = Future()
        failed.set_exception(error)
        yield failed


@contextmanager
def _without_main_module() -> Iterator[None]:
    """Keep spawned processes from running the caller's script, which need not have an `if __name__ == "__main__"`."""
    main = sys.modules["__main__"]
    sys.modules["__main__"] = ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = main


def _start_worker() -> None:
    """Ignore Ctrl-C, which reaches all processes of a terminal and is handled by the parent; end with the parent."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
