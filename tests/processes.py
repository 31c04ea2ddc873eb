"""Groups of processes on this machine, over gloo."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.worker import work

ROOT = Path(__file__).parent.parent


def environment() -> dict[str, str]:
    """With this package to import, and one thread for each process."""
    paths = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    return os.environ | {"PYTHONPATH": os.pathsep.join(paths), "OMP_NUM_THREADS": "1"}


def sedd_command(*arguments: str) -> list[str]:
    """The command line, in a process of its own."""
    return [sys.executable, "-m", "sedd", *arguments]


def torchrun(count: int, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run `python ARGUMENTS` in so many processes."""
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(count), "--no-python"]
    command = [sys.executable, *launcher, sys.executable, *arguments]
    return subprocess.run(command, capture_output=True, text=True, env=environment(), check=False)


def train(run: Path, *overrides: str, count: int, strict: bool = True, **options: Any) -> list[dict[str, Any]]:
    """Train in so many processes; what each of them saw.

    Args:
        run: the run directory.
        overrides: of the tiny configuration.
        count: how many processes.
        strict: whether warnings are errors.
        options: of `tests.worker.work`.
    """
    given = json.dumps([str(run), overrides, options])
    done = torchrun(count, *(("-W", "error") if strict else ()), "-m", "tests.worker", given)
    assert done.returncode == 0, done.stderr
    return [json.loads((run.parent / f"{run.name}.{rank}.json").read_text()) for rank in range(count)]


def train_here(run: Path, *overrides: str, **options: Any) -> list[dict[str, Any]]:
    """The same in this process."""
    return [work(run, *overrides, **options)]
