"""A function applied to many items by several processes, results in order.

The processes are fresh interpreters that talk through pipes. Forking a process that has threads (torch does) may hang,
and `multiprocessing` would otherwise run the caller's script again. A worker whose caller is gone ends by itself.
"""

from __future__ import annotations

import contextlib
import os
import pickle
import signal
import subprocess
import sys
from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from queue import SimpleQueue
from typing import Any, TypeVar

from sedd.errors import DataError

Item = TypeVar("Item")
Result = TypeVar("Result")

_PROGRAM = """
import os, signal, sys
signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches all processes of a terminal; the caller decides
replies = os.dup(1)
os.dup2(2, 1)  # nothing that is printed gets between the replies
sys.path[:] = {path!r}
from sedd.data.prepare.parallel import serve
serve(replies)
"""


def cores() -> int:
    """Processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def in_order(function: Callable[[Item], Result], items: Iterable[Item], *, workers: int) -> Generator[Result]:
    """`map(function, items)` in `workers` processes, or in this one where that is 1; a few items are read ahead.

    `function`, items and results must pickle. What `items` raises comes after the results of the items before it.

    Raises:
        DataError: what `function` raises, for the first item of which it does.
        ChildProcessError: if a worker ended, for example because memory was short.
    """
    if workers == 1:
        yield from map(function, items)
        return
    pool = [_Worker(function) for _ in range(workers)]
    idle: SimpleQueue[_Worker] = SimpleQueue()
    for worker in pool:
        idle.put(worker)

    def apply(item: Item) -> Any:
        worker = idle.get()
        try:
            return worker(item)
        finally:
            idle.put(worker)

    threads = ThreadPoolExecutor(workers, thread_name_prefix="sedd-data")
    pending: deque[Future[Any]] = deque()
    try:
        failed = None
        source = iter(items)
        while failed is None:
            try:
                item = next(source)
            except StopIteration:
                break
            except DataError as error:
                failed = error
                break
            pending.append(threads.submit(apply, item))
            if len(pending) > 2 * workers:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()
        if failed is not None:
            raise failed
    finally:
        for future in pending:
            future.cancel()
        for worker in pool:
            worker.process.kill()
        threads.shutdown()
        for worker in pool:
            worker.close()


class _Worker:
    """A process that applies a function, one item at a time."""

    def __init__(self, function: Callable[[Any], Any]) -> None:
        program = _PROGRAM.format(path=sys.path)
        self.process = subprocess.Popen(  # noqa: S603  # our own interpreter with our own program
            [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        self._first: tuple[Callable[[Any], Any], ...] = (function,)

    def __call__(self, item: Any) -> Any:
        assert self.process.stdin is not None  # noqa: S101  # tells the type checker
        assert self.process.stdout is not None  # noqa: S101  # tells the type checker
        try:
            for message in (*self._first, item):
                pickle.dump(message, self.process.stdin, pickle.HIGHEST_PROTOCOL)
            self.process.stdin.flush()
            self._first = ()
            result, error = pickle.load(self.process.stdout)  # noqa: S301  # from the process started above
        except (OSError, EOFError, pickle.UnpicklingError) as broken:
            raise ChildProcessError(f"a worker process ended ({_end(self.process.wait())})") from broken
        if error is not None:
            raise error
        return result

    def close(self) -> None:
        """Wait for the end of the process, which was killed, and close its pipes."""
        self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout):
            assert pipe is not None  # noqa: S101  # tells the type checker
            with contextlib.suppress(BrokenPipeError):  # what was not sent yet
                pipe.close()


def _end(code: int) -> str:
    if code >= 0:
        return f"exit code {code}; what it said is above"
    name = signal.Signals(-code).name
    return f"{name}; memory may be short, fewer workers need less" if name == "SIGKILL" else name


def serve(replies: int) -> None:
    """What a worker does: read a function and then items from standard input, write results to file `replies`."""
    requests = sys.stdin.buffer
    with contextlib.suppress(EOFError, pickle.UnpicklingError):  # the caller is gone, maybe in the middle of a word
        function = pickle.load(requests)  # noqa: S301  # from the process that started this one
        while True:
            item = pickle.load(requests)  # noqa: S301  # from the process that started this one
            reply: tuple[Any, DataError | None]
            try:
                reply = function(item), None
            except DataError as error:
                reply = None, error
            if not _written(replies, pickle.dumps(reply, pickle.HIGHEST_PROTOCOL)):
                return


def _written(handle: int, data: bytes) -> bool:
    """Whether anybody was there to read it."""
    view = memoryview(data)
    try:
        while view:
            view = view[os.write(handle, view) :]
    except BrokenPipeError:
        return False
    return True
