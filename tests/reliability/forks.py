"""Forked processes: begun in milliseconds, and killed without harm to the row that forked them.

A process that has run a backward pass cannot be forked to run another one, so rows that fork train in forks only.
"""

from __future__ import annotations

import os
import pickle
import signal
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any


def fork(action: Callable[[], object], log: Path) -> int:
    """Run an action in a forked process, which writes its output to `log`; returns the process id.

    It exits with 0, with the code of a SystemExit, with 130 after a KeyboardInterrupt, and with 1 and a traceback after
    any other exception.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    pid = os.fork()
    if pid:
        return pid
    code = 1
    try:
        _redirect(log)
        action()
        code = 0
    except SystemExit as error:
        code = error.code if isinstance(error.code, int) else int(error.code is not None)
    except KeyboardInterrupt:
        code = 130
    except BaseException:
        traceback.print_exc()
    finally:
        _leave(code)
    raise AssertionError  # not reached


def _redirect(log: Path) -> None:
    # What the row's own process does with signals, or what it was started with (in the background a shell ignores
    # Ctrl-C), is not what a command in a terminal does.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGALRM):
        signal.signal(number, signal.SIG_DFL)
    handle = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.dup2(handle, 1)
    os.dup2(handle, 2)


def _leave(code: int) -> None:
    try:
        sys.stdout.flush()
        sys.stderr.flush()
    finally:
        os._exit(code)


def wait(pid: int, seconds: float | None = None) -> int | None:
    """The exit code of a forked process, negative after a signal; None if it had to be killed after `seconds`."""
    deadline = None if seconds is None else time.monotonic() + seconds
    try:
        while deadline is None or time.monotonic() < deadline:
            found, status = os.waitpid(pid, 0 if deadline is None else os.WNOHANG)
            if found:
                return os.waitstatus_to_exitcode(status)
            time.sleep(0.002)
    except BaseException:  # the time of the case is over
        os.kill(pid, signal.SIGKILL)
        raise
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    return None


def kill_after(pid: int, seconds: float) -> int:
    """Kill a forked process after a time; returns its exit code, that of its own end if it was faster."""
    code = wait(pid, seconds)
    return -signal.SIGKILL if code is None else code


def in_fork(function: Callable[[], Any], workdir: Path) -> Any:
    """The result of a function that runs in a forked process."""
    file, log = workdir / "result.pickle", workdir / "fork.log"

    def write() -> None:
        file.write_bytes(pickle.dumps(function()))

    if wait(fork(write, log)) != 0:
        raise RuntimeError(log.read_text(errors="replace")[-2000:])
    return pickle.loads(file.read_bytes())
