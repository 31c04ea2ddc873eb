"""Start one process per rank on this machine, and restart all of them when one dies.

The ranks that remain cannot go on without the lost one: they wait for it in a collective. All are ended, and all
resume from the last checkpoint, which is always complete. (Elastic restart of a single rank, as torchrun offers it,
left the others waiting in 3 of 5 trials.)
"""

from __future__ import annotations

import math
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from signal import Signals
from tempfile import TemporaryDirectory

from sedd.distributed.group import RENDEZVOUS, RankInfo
from sedd.distributed.signals import HANDLED, StopRequest
from sedd.errors import LOST, ConfigError, TrainingError
from sedd.processes import safe_environment

PERMANENT_ERROR = 2
"""Exit code of errors that a restart would repeat: a wrong run file, unusable data, a run that diverges."""
MAX_FAILURES = 3
"""Failures in a row without a new checkpoint after which the supervisor gives up."""
GRACE_SECONDS = 10.0
"""After one process ended with an error, the others get this long to report their own error before they are killed."""
PIPE = "SEDD_SUPERVISOR"
"""Environment variable of a rank: the file descriptor of a pipe whose other end is closed when the supervisor ends."""
ORPHAN_SECONDS = 60.0
"""How long a rank may take to save itself after its supervisor was killed."""


def reject_torchrun() -> None:
    """Check that this process was not itself launched by torchrun.

    Raises:
        ConfigError: if it was.
    """
    if RankInfo.from_environment() is not None:
        raise ConfigError(
            "--supervise starts the processes itself, and torchrun has started this one (RANK and WORLD_SIZE are set); "
            "use one of the two"
        )


def watch_supervisor() -> None:
    """In a rank, see to it that it does not outlive its supervisor, even one that was killed: the rank then ends as
    after SIGTERM, with a checkpoint, or after `ORPHAN_SECONDS` in any case."""
    pipe = os.environ.pop(PIPE, None)
    if pipe is not None:
        threading.Thread(target=_end_after, args=(int(pipe),), daemon=True).start()


def _end_after(pipe: int) -> None:
    os.read(pipe, 1)  # returns when nobody has the other end any more
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(ORPHAN_SECONDS)
    os._exit(LOST)


@contextmanager
def _watched() -> Iterator[tuple[int, ...]]:
    """The file descriptors to pass to ranks, so that they notice when this process ends; none on Windows."""
    if os.name == "nt":
        yield ()
        return
    ends = os.pipe()
    try:
        yield ends[:1]
    finally:
        for end in ends:
            os.close(end)


@dataclass
class Supervisor:
    """Keeps a group of processes running until training is complete.

    Args:
        command: the command of each process at the first start.
        resume_command: the command of each process at every restart.
        size: number of processes.
        newest_checkpoint: returns the name of the newest checkpoint; None while there is none.
        log: prints a line of text.
    """

    command: Sequence[str]
    resume_command: Sequence[str]
    size: int
    newest_checkpoint: Callable[[], str | None]
    log: Callable[[str], None]
    stop: StopRequest = field(
        default_factory=lambda: StopRequest("stopping all processes after a checkpoint"), init=False
    )
    processes: list[subprocess.Popen[bytes]] = field(default_factory=list, init=False)
    """The running processes, in rank order."""

    def run(self) -> int:
        """Run the group until it succeeds, is stopped by a signal, or fails permanently; returns the exit code.

        Raises:
            TrainingError: after `MAX_FAILURES` failures in a row without a new checkpoint.
        """
        failures, saved, command = 0, self.newest_checkpoint(), self.command
        with self.stop:
            while True:
                codes = self._run_once(command)
                exit_code = self._final_exit_code(codes)
                if exit_code is not None:
                    return exit_code
                newest = self.newest_checkpoint()
                failures = failures + 1 if newest == saved else 1
                saved, command = newest, self.resume_command
                rank = _first_failed(codes)
                failure = f"process {rank} of {self.size} {_describe_exit(codes[rank])}"
                if failures == MAX_FAILURES:
                    raise TrainingError(
                        f"{failure}: the third failure in a row without a new checkpoint (the last is "
                        f"{newest or 'none'}), so another restart is unlikely to help. The messages of the processes "
                        "are above; if they need more time to reach the next checkpoint, lower checkpoint.every"
                    )
                self.log(f"{failure}; starting all {self.size} again from {newest or 'the beginning'}")

    def _run_once(self, command: Sequence[str]) -> list[int | None]:
        """Run the group once; returns the exit codes in rank order, None for processes that had to be killed."""
        with TemporaryDirectory(prefix="sedd-") as folder, _watched() as pipes:
            self.processes = []
            try:
                for rank in range(self.size):
                    # In sessions of their own: Ctrl-C reaches the supervisor alone, which forwards it.
                    environment = self._environment(rank, Path(folder) / "rendezvous")
                    environment |= {PIPE: str(pipes[0])} if pipes else {}
                    process = subprocess.Popen(  # noqa: S603  # our own
                        command, env=environment, start_new_session=True, pass_fds=pipes
                    )
                    self.processes.append(process)
                self._wait()
            finally:
                codes = [process.poll() for process in self.processes]
                for process in self.processes:
                    process.kill()
                    process.wait()
        return codes

    def _wait(self) -> None:
        """Wait until all processes ended, or until one failed and the grace period of the others is over."""
        forwarded, deadline = False, math.inf
        while time.monotonic() < deadline:
            if self.stop.number is not None and not forwarded:
                forwarded = True
                for process in self.processes:
                    process.send_signal(self.stop.number)
            codes = [process.poll() for process in self.processes]
            if None not in codes:
                return
            failed = [code for code in codes if code]
            if failed:
                deadline = min(deadline, time.monotonic() + (GRACE_SECONDS if min(failed) > 0 else 0.0))
            time.sleep(0.05)

    def _environment(self, rank: int, rendezvous: Path) -> dict[str, str]:
        """The environment of one rank. Rendezvous is through a file, so that no free port has to be found."""
        info = RankInfo(rank, self.size, rank, self.size)
        threads = {"OMP_NUM_THREADS": str(max(1, (os.cpu_count() or 1) // self.size))}
        return threads | safe_environment(os.environ) | info.to_environment() | {RENDEZVOUS: rendezvous.as_uri()}

    def _final_exit_code(self, codes: list[int | None]) -> int | None:
        """The exit code of the supervisor; None if the group should be restarted."""
        if not any(code != 0 for code in codes):
            return 0
        if PERMANENT_ERROR in codes:
            return PERMANENT_ERROR
        stopped = [code for code in codes if code in {128 + number for number in HANDLED}]
        if stopped:
            return stopped[0]
        return None if self.stop.number is None else 128 + self.stop.number


def _first_failed(codes: list[int | None]) -> int:
    """The rank that most likely failed first: the others only lost it, or had to be killed."""
    return min(range(len(codes)), key=lambda rank: (not codes[rank], (codes[rank] or 0) >= 0, codes[rank] == LOST))


def _describe_exit(code: int | None) -> str:
    if code is None:
        return "had to be ended"
    return f"was killed ({Signals(-code).name})" if code < 0 else f"ended with exit code {code}"
