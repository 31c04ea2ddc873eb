"""Start training in several processes on this machine, over gloo."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.forked import run_forked
from tests.worker import train_tiny

ROOT = Path(__file__).parent.parent


def environment() -> dict[str, str]:
    """The environment with this repository importable and one thread per process."""
    paths = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    return os.environ | {"PYTHONPATH": os.pathsep.join(paths), "OMP_NUM_THREADS": "1"}


def sedd_command(*arguments: str) -> list[str]:
    """The command `sedd ARGUMENTS` as `python -m sedd ARGUMENTS`."""
    return [sys.executable, "-m", "sedd", *arguments]


def torchrun(count: int, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run `python ARGUMENTS` in `count` processes."""
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(count), "--no-python"]
    command = [sys.executable, *launcher, sys.executable, *arguments]
    return subprocess.run(command, capture_output=True, text=True, env=environment(), check=False)


def train(run: Path, *overrides: str, count: int, strict: bool = True, **options: Any) -> list[dict[str, Any]]:
    """Train the tiny model in `count` processes; returns the result of `train_tiny` of each rank.

    Args:
        run: the run directory.
        overrides: of the tiny configuration.
        count: number of processes.
        strict: whether warnings are errors; without, torchrun starts the processes.
        options: keyword arguments of `train_tiny`.
    """
    arguments = json.dumps([str(run), overrides, options])
    if strict:
        errors = run_forked("tests.worker:main", arguments, count=count)
        assert not errors, "\n".join(errors)
    else:
        done = torchrun(count, "-m", "tests.worker", arguments)
        assert done.returncode == 0, done.stderr
    return [json.loads((run.parent / f"{run.name}.{rank}.json").read_text()) for rank in range(count)]


def train_in_process(run: Path, *overrides: str, **options: Any) -> list[dict[str, Any]]:
    """Train the tiny model in the current process; returns a list with one result, like `train`."""
    return [train_tiny(run, *overrides, **options)]
