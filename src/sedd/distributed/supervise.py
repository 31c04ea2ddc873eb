"""Start the processes of a group on this machine, and start all of them again when one dies.

A group that lost a member cannot go on: the others wait for it. So all are ended, and the group goes on from the last
checkpoint, which is whole whatever happened. (Bringing a single process back into a running group, as torchrun can,
left the others waiting in 3 of 5 trials.)
"""

from __future__ import annotations

import math
import os
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from signal import Signals
from tempfile import TemporaryDirectory

from sedd.distributed.group import RENDEZVOUS, Place, launched
from sedd.distributed.signals import HANDLED, StopRequest
from sedd.errors import LOST, ConfigError, TrainingError

EXPECTED = 2
"""Exit code of errors that would come back: a wrong run file, data that do not fit, a run that diverges."""
MOST_FAILURES = 3
"""So many in a row without a new checkpoint, and trying again is no use."""
GRACE = 10.0
"""Seconds in which the others may end by themselves when one has ended with an error, so that each can say why."""


def refuse_torchrun() -> None:
    """`--supervise` is for who does not use torchrun.

    Raises:
        ConfigError: if this process was itself started as one of a group.
    """
    if launched() is not None:
        raise ConfigError(
            "--supervise starts the processes itself, and torchrun has started this one (RANK and WORLD_SIZE are set); "
            "use one of the two"
        )


@dataclass
class Supervisor:
    """Keeps a group running to its end.

    Args:
        first: the command of each process, when the group starts for the first time.
        again: the command when it starts again: it resumes.
        size: how many processes.
        progress: names the newest checkpoint; None while there is none.
        say: shows a line of text to a person.
    """

    first: Sequence[str]
    again: Sequence[str]
    size: int
    progress: Callable[[], str | None]
    say: Callable[[str], None]
    stop: StopRequest = field(default_factory=StopRequest, init=False)
    group: list[subprocess.Popen[bytes]] = field(default_factory=list, init=False)
    """The processes that run now."""

    def run(self) -> int:
        """Until the group is done, was asked to stop, or cannot go on; returns the exit code.

        Raises:
            TrainingError: if it failed too often without a new checkpoint.
        """
        failures, saved, command = 0, self.progress(), self.first
        with self.stop:
            while True:
                codes = self._once(command)
                final = self._final(codes)
                if final is not None:
                    return final
                newest = self.progress()
                failures = failures + 1 if newest == saved else 1
                saved, command = newest, self.again
                died = f"process {_first(codes)} of {self.size} {_how(codes[_first(codes)])}"
                if failures == MOST_FAILURES:
                    raise TrainingError(
                        f"{died}: the third failure in a row without a new checkpoint (the last is "
                        f"{newest or 'none'}), so starting again is no use. What the processes said stands above; "
                        "if they need more time to the next checkpoint, lower checkpoint.every"
                    )
                self.say(f"{died}; starting all {self.size} again from {newest or 'the beginning'}")

    def _once(self, command: Sequence[str]) -> list[int | None]:
        """Run the group once; returns the exit codes in the order of the ranks, None for those that had to be ended."""
        with TemporaryDirectory(prefix="sedd-") as folder:
            self.group = []
            try:
                for rank in range(self.size):
                    # Of their own session: Ctrl-C in the terminal comes to this process alone, which passes it on.
                    environment = self._environment(rank, Path(folder) / "rendezvous")
                    process = subprocess.Popen(command, env=environment, start_new_session=True)  # noqa: S603  # our own
                    self.group.append(process)
                self._watch()
            finally:
                codes = [process.poll() for process in self.group]
                for process in self.group:
                    process.kill()
                    process.wait()
        return codes

    def _watch(self) -> None:
        """Until all have ended, or one has and the others do not follow."""
        told, deadline = False, math.inf
        while time.monotonic() < deadline:
            if self.stop.number is not None and not told:
                told = True
                for process in self.group:
                    process.send_signal(self.stop.number)
            codes = [process.poll() for process in self.group]
            if None not in codes:
                return
            bad = [code for code in codes if code]
            if bad:
                deadline = min(deadline, time.monotonic() + (GRACE if min(bad) > 0 else 0.0))
            time.sleep(0.05)

    def _environment(self, rank: int, rendezvous: Path) -> dict[str, str]:
        """What torchrun would set; but a file brings the processes together: no port to be found free."""
        place = Place(rank, self.size, rank, self.size)
        threads = {"OMP_NUM_THREADS": str(max(1, (os.cpu_count() or 1) // self.size))}
        return threads | os.environ | place.environment() | {RENDEZVOUS: rendezvous.as_uri()}

    def _final(self, codes: list[int | None]) -> int | None:
        """The exit code, if there is no reason to go on."""
        if not any(code != 0 for code in codes):
            return 0
        if EXPECTED in codes:
            return EXPECTED
        stopped = [code for code in codes if code in {128 + number for number in HANDLED}]
        if stopped:
            return stopped[0]
        return None if self.stop.number is None else 128 + self.stop.number


def _first(codes: list[int | None]) -> int:
    """The rank that very likely failed first: others only lost it, or had to be ended."""
    return min(range(len(codes)), key=lambda rank: (not codes[rank], (codes[rank] or 0) >= 0, codes[rank] == LOST))


def _how(code: int | None) -> str:
    if code is None:
        return "had to be ended"
    return f"was killed ({Signals(-code).name})" if code < 0 else f"ended with exit code {code}"
