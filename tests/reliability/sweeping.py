"""Sweeps that are killed, on disks that fail, and with damaged files."""

from __future__ import annotations

import signal
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from random import Random

import pytest

from sedd.errors import CheckpointError, SeddWarning
from sedd.sweeps.sweep import sweep
from tests.reliability.disks import CODES
from tests.reliability.forks import fork, in_fork, kill_after, wait
from tests.reliability.os_faults import FUNCTIONS, Fault
from tests.reliability.result import Result, Tally, lost_unless, sampled, silent_unless
from tests.reliability.runs import configuration, error_of, fresh

VARY = ("optim.lr=1e-4..1e-1:log", "curriculum.mode=truncate,scale")
FILES = ("result.json", "best.yaml")


def run_sweep(directory: Path) -> None:
    """A sweep of two settings besides the run file, and two seeds of the best: seven runs of a few steps."""
    config = configuration("model.n_blocks=1", "evaluation.train_sequences=0", "data.holdout=0.2")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SeddWarning)
        sweep(config, VARY, trials=2, seeds=2, finalists=1, sampler="quasi-random", run=directory)


def outcome(directory: Path) -> list[bytes] | None:
    """The table and the best run file of a finished sweep; None if it is not finished."""
    files = [directory / name for name in FILES]
    return [file.read_bytes() for file in files] if all(file.exists() for file in files) else None


def disturbed_sweeps(scale: float, seed: int, workdir: Path) -> Result:
    """Sweeps are killed at random moments, a call that writes fails with ENOSPC, EIO or EACCES, or a file of theirs is
    cut short. Started again, they end with the same table, or name the damaged file.
    """
    straight, random = workdir / "straight", Random(seed)
    seconds = in_fork(lambda: _timed(lambda: run_sweep(straight)), workdir)
    expected = outcome(straight)
    kills, faults, cuts = (max(1, round(number * scale)) for number in (10, 10, 5))
    tally = Tally(workdir, kills + faults + cuts + 1)
    for number in range(kills):
        with tally.case(f"kill {number}"):
            _killed(fresh(workdir), random.uniform(0.0, seconds), workdir)
            _check_goes_on(workdir, expected)
    calls = in_fork(lambda: _calls(fresh(workdir)), workdir)
    cases = [(name, call, code) for name in FUNCTIONS for call in range(1, calls[name] + 1) for code in CODES]
    for function, call, code in sampled(cases, faults / len(cases), random):
        with tally.case(f"{function} {call}, {code}"):
            directory = fresh(workdir)
            happened, error = in_fork(lambda: _with_fault(function, call, code, directory), workdir)  # noqa: B023
            silent_unless(bool(error) or not happened or outcome(directory) == expected, "the fault was not noticed")
            _check_goes_on(workdir, expected)
    for number in range(cuts):
        with tally.case(f"cut {number}"):
            _cut(fresh(workdir), random, seconds, workdir)
    changed = [*(expected or []), b"another"]
    tally.control("another table", found=outcome(straight) != changed)
    return tally.result


def _timed(action: Callable[[], object]) -> float:
    began = time.monotonic()
    action()
    return time.monotonic() - began


def _killed(directory: Path, seconds: float, workdir: Path) -> None:
    code = kill_after(fork(lambda: run_sweep(directory), workdir / "killed.log"), seconds)
    lost_unless(code in (-signal.SIGKILL, 0), f"ended with {code}: {(workdir / 'killed.log').read_text()[-500:]}")


def _check_goes_on(workdir: Path, expected: list[bytes] | None) -> None:
    """Start the sweep again, to its end; its table is that of an undisturbed one."""
    directory, log = workdir / "run", workdir / "again.log"
    code = wait(fork(lambda: run_sweep(directory), log))
    lost_unless(code == 0, f"ended with {code}: {log.read_text(errors='replace')[-500:]}")
    lost_unless(outcome(directory) == expected, "the table differs")


def _calls(directory: Path) -> dict[str, int]:
    """How often a sweep calls each function below its directory."""
    faults = [Fault(function, directory) for function in FUNCTIONS]
    with pytest.MonkeyPatch.context() as patched:
        for fault in faults:
            fault.patch(patched)
        run_sweep(directory)
    return {fault.function: fault.calls for fault in faults}


def _with_fault(function: str, call: int, code: str, directory: Path) -> tuple[bool, str]:
    """Whether the fault happened, and the error it led to; empty if none."""
    fault = Fault(function, directory, CODES[code], call)
    with pytest.MonkeyPatch.context() as patched:
        fault.patch(patched)
        error = error_of(lambda: run_sweep(directory))
    return fault.happened, "" if error is None else repr(error)


def _cut(directory: Path, random: Random, seconds: float, workdir: Path) -> None:
    """Cut a measurement of an interrupted sweep short: it is named; without it the sweep goes on."""
    _killed(directory, random.uniform(0.3, 1.0) * seconds, workdir)
    files = sorted((directory / "measurements").glob("*.json"))
    if not files:
        return
    file = random.choice(files)
    file.write_bytes(file.read_bytes()[: random.randrange(len(file.read_bytes()))])
    named = in_fork(lambda: _error_file(directory), workdir)
    silent_unless(named == str(file), f"{file.name} is damaged, and the error names {named}")
    file.unlink()


def _error_file(directory: Path) -> str:
    try:
        run_sweep(directory)
    except CheckpointError as error:
        return str(error.file)
    return "nothing"
