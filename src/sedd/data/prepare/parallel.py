"""A function applied to many items by several processes: results in order, bounded memory.

Each worker is a Python process of its own (`sedd.data.prepare.worker`), and a thread here waits for its replies. So
neither the caller's script nor anything in the current directory is imported by a worker, as `multiprocessing` would.
"""

from __future__ import annotations

import json
import os
import pickle
import subprocess
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from queue import SimpleQueue
from typing import IO, Generic, TypeVar, cast

from sedd.data.prepare.worker import Reply
from sedd.errors import DataError
from sedd.processes import installed_path, python_command, safe_environment

Item = TypeVar("Item")
Result = TypeVar("Result")

PROGRAM = "import json, sys; sys.path[:] = json.loads(sys.argv[1]); from sedd.data.prepare.worker import main; main()"


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
    pending: deque[Future[Result]] = deque()
    crew = Workers(function, workers)
    try:
        for future in _submitted(crew, items):
            pending.append(future)
            if len(pending) > 2 * workers:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()
    finally:
        crew.end()


def _submitted(crew: Workers[Item, Result], items: Iterable[Item]) -> Iterator[Future[Result]]:
    """A future per item. An error of `items` becomes the last future, so that it is raised in its turn."""
    try:
        for item in items:
            yield crew.submit(item)
    except DataError as error:
        failed: Future[Result] = Future()
        failed.set_exception(error)
        yield failed


class Workers(Generic[Item, Result]):
    """Processes that apply one function to items, each to one at a time.

    Args:
        function: has to pickle.
        count: of processes; they are started at once.
    """

    def __init__(self, function: Callable[[Item], Result], count: int) -> None:
        self.processes: list[subprocess.Popen[bytes]] = []
        self._idle: SimpleQueue[subprocess.Popen[bytes]] = SimpleQueue()
        self._threads = ThreadPoolExecutor(count, thread_name_prefix="sedd-worker")
        self._function = pickle.dumps(function, pickle.HIGHEST_PROTOCOL)
        try:
            for _ in range(count):
                self.processes.append(self._start())
        except BaseException:
            self.end()
            raise
        for process in self.processes:
            self._idle.put(process)

    def submit(self, item: Item) -> Future[Result]:
        """The result for an item, when a process has time for it."""
        return self._threads.submit(self._ask, pickle.dumps(item, pickle.HIGHEST_PROTOCOL))

    def end(self) -> None:
        """End all processes at once, whatever they are doing."""
        self._threads.shutdown(wait=False, cancel_futures=True)
        for process in self.processes:
            process.kill()
        for process in self.processes:
            process.wait()
        self._threads.shutdown()  # the threads that wait for a reply have got the end of the pipe
        for process in self.processes:
            for pipe in filter(None, (process.stdin, process.stdout)):
                with suppress(OSError):  # what a killed worker did not read stays in the buffer
                    pipe.close()

    def _start(self) -> subprocess.Popen[bytes]:
        command = python_command("-c", PROGRAM, json.dumps(installed_path()))
        process = subprocess.Popen(  # noqa: S603  # our own program
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=safe_environment(os.environ)
        )
        with suppress(OSError):  # it has ended already; the first item will tell
            _send(process, self._function)
        return process

    def _ask(self, item: bytes) -> Result:
        process = self._idle.get()
        try:
            _send(process, item)
            returned, value = cast(Reply, pickle.load(cast(IO[bytes], process.stdout)))  # noqa: S301  # from our process
        except (OSError, EOFError, pickle.UnpicklingError) as error:
            raise ChildProcessError(
                "a worker process was killed; memory may be short, fewer workers need less"
            ) from error
        finally:
            self._idle.put(process)
        if not returned:
            raise cast(Exception, value)
        return cast(Result, value)


def _send(process: subprocess.Popen[bytes], data: bytes) -> None:
    pipe = cast(IO[bytes], process.stdin)
    pipe.write(data)
    pipe.flush()
