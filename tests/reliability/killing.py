"""Processes that are killed while they save, and while they train."""

from __future__ import annotations

import io
import os
import signal
import sys
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from random import Random
from types import FrameType
from typing import Any

import torch

from sedd.errors import SeddWarning
from sedd.runs import checkpoint
from sedd.runs.checkpoint import Checkpoint
from tests.reliability.forks import fork, in_fork, kill_after, wait
from tests.reliability.result import Result, Tally, lost_unless, silent_unless
from tests.reliability.runs import configuration, digest, fresh, newest_step, train
from tests.training.test_trainer import lines


def example(value: float) -> Checkpoint:
    """A checkpoint of about a megabyte that can be told from others by its value."""
    tensors = {name: {"w": torch.full((256, 512), value)} for name in ("model", "ema")}
    return Checkpoint(tensors=tensors, state={"value": value}, config={})


@dataclass(frozen=True)
class Saving:
    """A situation in which a checkpoint is saved.

    Attributes:
        before: steps and values of the checkpoints that exist.
        step: of the checkpoint that is saved, with the value 9.
        keep: checkpoints that pruning keeps; None: no pruning.
    """

    before: dict[int, float]
    step: int
    keep: int | None = None

    def prepare(self, folder: Path) -> None:
        fresh(folder.parent, folder.name)
        for step, value in self.before.items():
            checkpoint.write(folder, step, example(value))

    def save(self, folder: Path) -> None:
        checkpoint.write(folder, self.step, example(9.0))
        if self.keep is not None:
            checkpoint.prune(folder, keep=self.keep, best=None)


SAVINGS = {
    "the first": Saving({}, 1),
    "the next": Saving({1: 1.0}, 2),
    "the same step again": Saving({1: 1.0, 2: 2.0}, 2),
    "the next, and pruning": Saving({1: 1.0, 2: 2.0, 3: 3.0}, 4, keep=1),
}


def kills_while_saving(scale: float, seed: int, workdir: Path) -> Result:
    """`kill -9` at a random call of a function, or at a random time, while a checkpoint is written, replaced
    and pruned. The newest one is intact, and one of the two that it may be.
    """
    random, count = Random(seed), max(12, round(600 * scale))
    tally, folder = Tally(workdir, count), workdir / "checkpoints"
    plans = {name: _calls_of(saving, folder) for name, saving in SAVINGS.items()}
    for number in range(count):
        name = list(SAVINGS)[number % len(SAVINGS)]
        saving, (calls, system_calls, seconds) = SAVINGS[name], plans[name]
        saving.prepare(folder)
        kind = number // len(SAVINGS) % 3
        if kind == 0:
            code, at = _killed_after(partial(saving.save, folder), random.uniform(0.0, 1.3) * seconds, workdir)
        else:
            at = float(random.choice(system_calls) if kind == 1 else random.randrange(calls))
            code = wait(fork(partial(_dying, partial(saving.save, folder), int(at)), workdir / "log")) or 0
        with tally.case(f"{name}, at {at:g} of {calls} calls or {seconds:.3f} s"):
            _check_saved(saving, folder, finished=code == 0)
    return tally.result


def _calls_of(saving: Saving, folder: Path) -> tuple[int, list[int], float]:
    """Calls of a save, the numbers of those of the system, and its time in a process of its own."""
    saving.prepare(folder)
    events: list[bool] = []

    def profile(frame: FrameType, event: str, function: Any) -> None:
        owner = getattr(function, "__self__", None)
        module = getattr(function, "__module__", None) or getattr(owner, "__name__", None)
        events.append(event.startswith("c_") and (module in ("posix", "_io") or isinstance(owner, io.IOBase)))

    sys.setprofile(profile)
    try:
        saving.save(folder)
    finally:
        sys.setprofile(None)
    saving.prepare(folder)
    began = time.monotonic()
    wait(fork(partial(saving.save, folder), folder.parent / "log"))
    return len(events), [number for number, is_system in enumerate(events) if is_system], time.monotonic() - began


def _dying(action: Callable[[], object], call: int) -> None:
    """Run an action, and kill this process at the given call of a function, of Python or of C."""
    calls = 0

    def profile(*_: object) -> None:
        nonlocal calls
        if calls == call:
            os.kill(os.getpid(), signal.SIGKILL)
        calls += 1

    sys.setprofile(profile)
    action()
    sys.setprofile(None)


def _killed_after(action: Callable[[], object], seconds: float, workdir: Path) -> tuple[int, float]:
    return kill_after(fork(action, workdir / "log"), seconds), seconds


def _check_saved(saving: Saving, folder: Path, *, finished: bool) -> None:
    newest = max(saving.before, default=None)
    allowed = {9.0} if finished else {9.0, None if newest is None else saving.before[newest]}
    with warnings.catch_warnings():
        warnings.simplefilter("error", SeddWarning)  # a checkpoint with its final name is complete
        found = checkpoint.latest(folder, set_aside=True)
    value = None if found is None else found[1].state["value"]
    lost_unless(value in allowed, f"the newest checkpoint has {value}, expected one of {allowed}")
    if found is not None:
        silent_unless(all(bool(torch.all(w == value)) for t in found[1].tensors.values() for w in t.values()), "mixed")
    saving.save(folder)
    checkpoint.clean(folder)
    left = [path.name for path in folder.iterdir() if not path.name.startswith("step-")]
    lost_unless(not left, f"remains of the killed process stay: {left}")


TRAINED = (
    "training.n_iters=60", "training.eval_every=20", "checkpoint.every=3", "model.dropout=0.1", "training.accum=2"
)  # fmt: skip


def kills_of_training(scale: float, seed: int, workdir: Path) -> Result:
    """`kill -9` at random times of training, until the run is complete."""
    random, count = Random(seed), max(5, round(60 * scale))
    tally, runs, slowest = Tally(workdir, count), 0, 0.0
    while tally.result.cases < count:
        config = configuration(*TRAINED, f"seed={seed + runs}")
        began = time.monotonic()
        straight = in_fork(lambda c=config: digest(train(c, fresh(workdir, "straight")).run.path), workdir)
        seconds, runs = time.monotonic() - began, runs + 1
        run, code = fresh(workdir), -9
        while code != 0 and tally.result.cases < 2 * count:
            with tally.case(f"run {runs}"):
                before = newest_step(run)
                child = fork(lambda c=config, r=run: train(c, r, resume=True), workdir / "log")
                code = kill_after(child, random.uniform(0.1, 0.6) * max(seconds, slowest))
                slowest = slowest + seconds / 4 if newest_step(run) == before and code else slowest
                lost_unless(code in (0, -9), (workdir / "log").read_text(errors="replace")[-300:])
                _check_progress(run, before)
        with tally.case(f"run {runs}, its end"):
            in_fork(lambda c=config, r=run: train(c, r, resume=True).state.step, workdir)
            lost_unless(digest(run) == straight, "the run that was killed differs from the undisturbed one")
    tally.note(f"{runs} runs were completed")
    return tally.result


def _check_progress(run: Path, before: int) -> None:
    """No checkpoint is lost, and at most the steps since the last one have to be done again."""
    after = newest_step(run)
    lost_unless(after >= before, f"the newest checkpoint was of step {before:,}, and now of {after:,}")
    try:
        reached = max((int(str(line["step"])) for line in lines(run)), default=0)
    except (OSError, ValueError):  # nothing recorded yet, or a torn last line
        return
    lost_unless(reached - after <= 4, f"step {reached:,} was recorded, the newest checkpoint is of step {after:,}")
