"""Runs that meet one random fault after the other, and end with the digest of a run without faults."""

from __future__ import annotations

import errno
import os
import signal
import time
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path
from random import Random

import pytest
import torch

import sedd
from sedd.runs import checkpoint
from tests.reliability.corrupting import DAMAGES
from tests.reliability.forks import fork, in_fork, kill_after, wait
from tests.reliability.os_faults import FUNCTIONS, Fault
from tests.reliability.result import Result, Tally, lost_unless
from tests.reliability.runs import EXPECTED, configuration, digest, fresh, intact_step, train
from tests.training.test_interruptions import PLACES, Interrupter

SECONDS = 300.0
"""Of the row at full scale."""
SETTINGS = (
    "training.n_iters=60", "training.eval_every=15", "checkpoint.every=4", "checkpoint.keep=3", "model.dropout=0.1",
    "training.accum=2",
)  # fmt: skip
STOPPED = 5
"""Exit code of a process that ended with a typed error."""


def soak(scale: float, seed: int, workdir: Path) -> Result:
    """Kills, signals, exceptions, failing disks, too little memory and damaged checkpoints, one random fault after the
    other, run after run. The digest of each run is that of a run without faults.
    """
    random, seconds = Random(seed), max(10.0, SECONDS * scale)
    tally, faults, runs = Tally(workdir, seconds), Counter[str](), 0
    began = time.monotonic()
    while not runs or time.monotonic() - began < seconds:
        config = configuration(*SETTINGS, f"seed={seed + runs}", f"graph.type={random.choice(('absorb', 'uniform'))}")
        timed = time.monotonic()
        straight = in_fork(lambda c=config: digest(train(c, fresh(workdir, "straight")).run.path), workdir)
        usual, runs, run = time.monotonic() - timed, runs + 1, fresh(workdir)
        for _ in range(60):
            name = random.choice(list(FAULTS))
            with tally.case(f"run {runs}, fault {sum(faults.values())}: {name}"):
                before = intact_step(run)
                code = FAULTS[name](config, run, random, workdir, usual)
                faults[name] += 1
                _check(code, run, before, name, workdir)
            tally.show(time.monotonic() - began)
            if intact_step(run) == 60 or (time.monotonic() - began > seconds and runs > 1):
                break
        with tally.case(f"run {runs}, its end"):
            in_fork(lambda c=config, r=run: train(c, r, resume=True).state.step, workdir)
            lost_unless(digest(run) == straight, "its digest is not that of the run without faults")
    total = ", ".join(f"{count} x {name}" for name, count in faults.most_common())
    tally.note(f"the soak took {time.monotonic() - began:.0f} s: {runs} runs, {sum(faults.values())} faults ({total})")
    return tally.result


def _check(code: int | None, run: Path, before: int, name: str, workdir: Path) -> None:
    said = (workdir / "log").read_text(errors="replace")[-400:] if (workdir / "log").exists() else ""
    if code not in (0, -9, 130, 143, STOPPED):
        raise RuntimeError(f"exit code {code}: {said}")
    if name != "damage":
        lost_unless(intact_step(run) >= before, f"the newest checkpoint was of step {before}, now {intact_step(run)}")


def _resume(config: sedd.Config, run: Path, fault: Callable[[sedd.Trainer, pytest.MonkeyPatch], None] | None) -> None:
    """Train on with a fault, in a forked process."""
    with pytest.MonkeyPatch.context() as patched:
        try:
            trainer = sedd.Trainer(config, run=run, resume=True)
            if fault is not None:
                fault(trainer, patched)
            trainer.fit(progress=False)
        except (*EXPECTED, ZeroDivisionError) as error:
            print("stopped:", error)
            raise SystemExit(STOPPED) from None


def _forked(config: sedd.Config, run: Path, workdir: Path, fault: Callable[..., None] | None = None) -> int:
    (workdir / "log").unlink(missing_ok=True)
    return fork(partial(_resume, config, run, fault), workdir / "log")


def _kill(config: sedd.Config, run: Path, random: Random, workdir: Path, usual: float) -> int | None:
    return kill_after(_forked(config, run, workdir), random.uniform(0.1, 0.8) * usual)


def _signal(config: sedd.Config, run: Path, random: Random, workdir: Path, usual: float) -> int | None:
    """A signal, once the process has a handler for it: once it has begun to train."""
    number, marker, delay = random.choice((signal.SIGTERM, signal.SIGINT)), workdir / "training", random.random()
    marker.unlink(missing_ok=True)

    def mark(trainer: sedd.Trainer, patched: pytest.MonkeyPatch) -> None:
        gradient = trainer.train_step._gradient
        patched.setattr(trainer.train_step, "_gradient", lambda inputs: (marker.write_bytes(b""), gradient(inputs))[1])

    pid = _forked(config, run, workdir, mark)
    while not marker.exists():
        found, status = os.waitpid(pid, os.WNOHANG)
        if found:  # the run was complete
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.002)
    time.sleep(0.5 * delay * usual)
    os.kill(pid, number)
    return wait(pid)


def _error(config: sedd.Config, run: Path, random: Random, workdir: Path, usual: float) -> int | None:
    """An exception of a plugin, too little memory, or Ctrl-C, in some part of some step."""
    errors = (ZeroDivisionError("oh"), MemoryError(), torch.OutOfMemoryError("out of memory"), KeyboardInterrupt())
    error, place, call = random.choice(errors), random.choice(list(PLACES)), random.randrange(1, 20)
    after = random.random() < 0.5

    def inject(trainer: sedd.Trainer, patched: pytest.MonkeyPatch) -> None:
        Interrupter(error, call, after=after).patch(patched, *PLACES[place](trainer))

    return wait(_forked(config, run, workdir, inject))


def _disk(config: sedd.Config, run: Path, random: Random, workdir: Path, usual: float) -> int | None:
    """A call that writes fails, once or from then on."""
    code = random.choice((errno.ENOSPC, errno.EIO, errno.EACCES, errno.EROFS))
    fault = Fault(random.choice(FUNCTIONS), run, code, random.randrange(1, 80), lasting=random.random() < 0.5)
    return wait(_forked(config, run, workdir, lambda trainer, patched: fault.patch(patched)))


def _damage(config: sedd.Config, run: Path, random: Random, workdir: Path, usual: float) -> int | None:
    """The newest checkpoint is damaged, where there is one before it; then the run goes on for a while."""
    paths = checkpoint.listing(run / "checkpoints")
    if len(paths) > 1:
        file = random.choice(sorted(path for path in paths[-1].iterdir() if path.is_file()))
        data = file.read_bytes()
        file.write_bytes(DAMAGES[random.choice(list(DAMAGES))](data, random))
    return _kill(config, run, random, workdir, usual)


FAULTS: dict[str, Callable[[sedd.Config, Path, Random, Path, float], int | None]] = {
    "kill": _kill, "signal": _signal, "error": _error, "disk": _disk, "damage": _damage,
}  # fmt: skip
