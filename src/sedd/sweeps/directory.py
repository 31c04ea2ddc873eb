"""The directory of a sweep: what defines it, its result, and the run file of its best setting."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sedd.config.run_file import dump
from sedd.errors import CheckpointError
from sedd.files import LockHeld, json_bytes, locked, write_atomically, write_json
from sedd.sweeps.running import Setup
from sedd.sweeps.search import Plan
from sedd.sweeps.space import changed, sentence
from sedd.sweeps.trials import Sweep

SPEC, RESULT, BEST, LOCK = "sweep.json", "result.json", "best.yaml", "sweep.lock"
RUNS, MEASUREMENTS = "runs", "measurements"
EXTENDABLE = ("trials", "seeds", "finalists")
"""What may be another number when a sweep goes on: what is measured by then is used."""


@contextmanager
def claimed(directory: Path, plan: Plan) -> Iterator[None]:
    """Keep other processes out of the directory of a sweep, which is made.

    Raises:
        CheckpointError: if it holds another sweep or other files, or another process works in it.
    """
    wanted = json.loads(json_bytes(spec_of(plan)))
    file = directory / SPEC
    if directory.exists() and not directory.is_dir():
        raise CheckpointError("this is a file; choose a directory for the sweep", file=directory)
    if not file.exists() and directory.exists() and any(path.name != LOCK for path in directory.iterdir()):
        raise CheckpointError("neither empty nor a sweep; choose another directory with --run", file=directory)
    directory.mkdir(parents=True, exist_ok=True)
    try:
        with locked(directory / LOCK, wait=False):
            _check_same(file, wanted)
            # First of all: a directory that a full disk left without it could not be told from a foreign one.
            write_json(file, wanted)
            for name in (MEASUREMENTS, RUNS):
                (directory / name).mkdir(exist_ok=True)
            yield
    except LockHeld:
        raise CheckpointError("another process works in this sweep; wait for it or stop it", file=directory) from None


def write_result(directory: Path, setup: Setup, found: Sweep) -> None:
    """Write `result.json` and `best.yaml`."""
    write_json(directory / RESULT, found.to_dict())
    write_atomically(directory / BEST, best_run_file(setup, found).encode())


def best_run_file(setup: Setup, found: Sweep) -> str:
    """The run file of the leader with the steps that it had in the sweep, and what is known about it as a comment."""
    config = changed(setup.base, found.leader.changes)
    if (steps := setup.steps(config)) != config.training.n_iters:
        config = config.replace(training={"n_iters": steps})
    comment = f"Set by a sweep: {sentence(found.leader.changes)}.\n{found.sentence}"
    return "".join(f"# {line}\n" for line in comment.splitlines()) + dump(config)


def spec_of(plan: Plan) -> dict[str, Any]:
    """What defines a sweep, as plain data."""
    names = ("trials", "seeds", "finalists", "residues", "single_changes", "sampler")
    return {
        "config": plan.base.to_dict(),
        "vary": [axis.to_dict() for axis in plan.space],
        **{name: getattr(plan, name) for name in names},
    }


def _check_same(file: Path, wanted: Mapping[str, Any]) -> None:
    if not file.exists():
        return
    try:
        known = json.loads(file.read_text(encoding="utf-8"))
        differing = [key for key in wanted if key not in EXTENDABLE and known.get(key) != wanted[key]]
    except (ValueError, AttributeError) as error:
        raise CheckpointError(f"not the description of a sweep ({error})", file=file) from None
    if differing:
        raise CheckpointError(
            f"holds another sweep ({', '.join(differing)} differ); choose another directory with --run",
            file=file.parent,
        )
