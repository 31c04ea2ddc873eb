"""Processes that are forked from one which has imported everything: importing torch costs more than a tiny run.

What torchrun does, and what happens when Python starts, has tests of its own.
"""

from __future__ import annotations

import atexit
import importlib
import json
import os
import socket
import subprocess
import sys
import traceback
from functools import cache
from typing import IO, Any


@cache
def server() -> subprocess.Popen[str]:
    """The process that forks; it ends when this one closes its input, or ends itself."""
    from tests.processes import environment

    command = [sys.executable, "-W", "error", "-m", "tests.forked"]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment())
    atexit.register(process.communicate)  # closes its input
    return process


def run_forked(function: str, *arguments: Any, count: int) -> list[str]:
    """Call a function in forked processes, which are the ranks of a group; returns the traceback of each that failed.

    Args:
        function: its module and name, as `tests.worker:main`.
        arguments: plain data.
        count: of processes.
    """
    process = server()
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(json.dumps({"function": function, "arguments": arguments, "count": count}) + "\n")
    process.stdin.flush()
    answer = process.stdout.readline()
    assert answer, f"the server of forked processes ended with {process.wait()}"
    errors: list[str] = json.loads(answer)
    return errors


def serve(requests: IO[str], answers: IO[str]) -> None:
    """Fork the ranks of every request, one JSON object a line, and answer with their errors."""
    for line in requests:
        request = json.loads(line)
        port = _free_port()
        ranks = [_fork(request, rank, port) for rank in range(request["count"])]
        errors = []
        for pid, pipe in ranks:
            with os.fdopen(pipe, encoding="utf-8") as output:
                text = output.read()
            _, status = os.waitpid(pid, 0)
            if status:
                errors.append(text or f"ended with status {status}")
        answers.write(json.dumps(errors) + "\n")
        answers.flush()


def _fork(request: dict[str, Any], rank: int, port: int) -> tuple[int, int]:
    """Start one rank; returns its process id, and a pipe with the traceback of what failed."""
    reading, writing = os.pipe()
    pid = os.fork()
    if pid:
        os.close(writing)
        return pid, reading
    status = 1
    try:
        size = request["count"]
        os.environ |= {
            "RANK": str(rank), "WORLD_SIZE": str(size), "LOCAL_RANK": str(rank), "LOCAL_WORLD_SIZE": str(size),
            "MASTER_ADDR": "localhost", "MASTER_PORT": str(port),
        }  # fmt: skip
        module, _, name = request["function"].partition(":")
        getattr(importlib.import_module(module), name)(*request["arguments"])
        status = 0
    except BaseException:
        os.write(writing, traceback.format_exc().encode())
    finally:
        os._exit(status)


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("localhost", 0))
        return int(free.getsockname()[1])


if __name__ == "__main__":
    import tests.worker  # before the first fork

    tests.worker.torch.set_num_threads(1)
    serve(sys.stdin, sys.stdout)
