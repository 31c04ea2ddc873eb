"""Groups of processes on this machine, over gloo."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent


def environment() -> dict[str, str]:
    """With this package to import, and one thread for each process."""
    paths = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    return os.environ | {"PYTHONPATH": os.pathsep.join(paths), "OMP_NUM_THREADS": "1"}


def sedd_command(*arguments: str) -> list[str]:
    """The command line, in a process of its own."""
    return [sys.executable, "-m", "sedd", *arguments]


def torchrun(count: int, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run `python ARGUMENTS` in so many processes, with torchrun; with one, without it."""
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(count), "--no-python"]
    command = [sys.executable, *arguments]
    if count > 1:
        command = [sys.executable, *launcher, *command]
    return subprocess.run(command, capture_output=True, text=True, env=environment(), check=False)


def train(
    run: Path,
    count: int,
    *overrides: str,
    stop: int | None = None,
    resume: bool = False,
    poison: tuple[int, int] | None = None,
) -> list[dict[str, Any]]:
    """Train in so many processes; what each of them saw.

    Args:
        run: the run directory.
        count: how many processes.
        overrides: of the tiny configuration.
        stop: end after this step, with a checkpoint.
        resume: go on from the last checkpoint.
        poison: a rank, and the call of the network at which it gets numbers that are none.
    """
    spec = {"run": str(run), "overrides": overrides, "stop": stop, "resume": resume, "poison": poison}
    done = torchrun(count, "-W", "error", "-m", "tests.worker", json.dumps(spec))
    assert done.returncode == 0, done.stderr
    return [json.loads((run.parent / f"{run.name}.{rank}.json").read_text()) for rank in range(count)]
