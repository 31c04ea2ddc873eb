"""Disks that are full, broken, read-only or gone, at every call that writes."""

from __future__ import annotations

import errno
import os
import shutil
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path
from random import Random

import pytest

import sedd
from sedd.errors import SeddWarning
from sedd.runs import checkpoint
from tests.reliability.killing import SAVINGS, Saving, example
from tests.reliability.os_faults import FUNCTIONS, Fault
from tests.reliability.result import Result, Tally, lost_unless, sampled, silent_unless
from tests.reliability.runs import configuration, digest, error_of, fresh, newest_step, train, weights_digest

CODES = {"ENOSPC": errno.ENOSPC, "EIO": errno.EIO, "EACCES": errno.EACCES}


def failing_saves(scale: float, seed: int, workdir: Path) -> Result:
    """Every call of `open`, `write`, `fsync`, `rename`, `replace` and `mkdir` fails with ENOSPC, EIO and
    EACCES, once or for good, while a checkpoint is saved.
    """
    folder, cases = workdir / "checkpoints", []
    for name, saving in SAVINGS.items():
        for function in FUNCTIONS:
            calls = _calls(function, saving, folder)
            variants = [(code, lasting) for code in CODES for lasting in (False, True)]
            cases += [(name, function, call, *variant) for call in range(1, calls + 1) for variant in variants]
    cases = sampled(cases, scale, Random(seed))
    tally = Tally(workdir, len(cases))
    for name, function, call, code, lasting in cases:
        saving = SAVINGS[name]
        saving.prepare(folder)
        fault = Fault(function, folder, CODES[code], call, lasting)
        with tally.case(f"{name}: {function} {call}, {code}{', lasting' * lasting}"), pytest.MonkeyPatch.context() as p:
            fault.patch(p)
            error = error_of(partial(saving.save, folder))
            p.undo()
            _check_save(saving, folder, error)
    return tally.result


def _calls(function: str, saving: Saving, folder: Path) -> int:
    saving.prepare(folder)
    fault = Fault(function, folder)
    with pytest.MonkeyPatch.context() as patched:
        fault.patch(patched)
        saving.save(folder)
    return fault.calls


def _check_save(saving: Saving, folder: Path, error: BaseException | None) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error", SeddWarning)
        found = checkpoint.latest(folder, set_aside=True)
    newest = max(saving.before, default=None)
    allowed = {9.0} if error is None else {9.0, None if newest is None else saving.before[newest]}
    value = None if found is None else found[1].state["value"]
    lost_unless(value in allowed, f"{error!r}: the newest checkpoint has {value}, expected one of {allowed}")
    checkpoint.write(folder, 7, example(7.0))
    checkpoint.clean(folder)
    left = [path.name for path in folder.iterdir() if not path.name.startswith("step-")]
    lost_unless(not left, f"{left} stay")


def failing_runs(scale: float, seed: int, workdir: Path) -> Result:
    """The same while a run trains. It ends with a typed error, and goes on when the disk works again."""
    config = configuration()
    straight = digest(train(config, fresh(workdir, "straight")).run.path)
    cases = []
    for function in FUNCTIONS:
        fault = Fault(function, workdir / "run")
        _train_with(config, fault, fresh(workdir))
        variants = [(code, lasting) for code in CODES for lasting in (False, True)]
        cases += [(function, call, *variant) for call in range(1, fault.calls + 1) for variant in variants]
    cases = sampled(cases, 0.5 * scale, Random(seed))
    tally = Tally(workdir, len(cases))
    for function, call, code, lasting in cases:
        run = fresh(workdir)
        with tally.case(f"{function} {call}, {code}{', lasting' * lasting}"):
            fault = Fault(function, run, CODES[code], call, lasting)
            reached, error = _train_with(config, fault, run)
            silent_unless(fault.happened or error is None, "an error without a fault")
            if not lasting and reached:
                lost_unless(newest_step(run) >= reached, f"step {reached} was not saved: {error!r}")
            train(config, run, resume=True)
            lost_unless(digest(run) == straight, f"the resumed run differs, after {error!r}")
    return tally.result


def _train_with(config: sedd.Config, fault: Fault, run: Path) -> tuple[int, BaseException | None]:
    """Train with a fault; returns the step that was reached, and the error."""
    trainer = sedd.Trainer(config, run=run)
    with pytest.MonkeyPatch.context() as patched, warnings.catch_warnings():
        warnings.simplefilter("ignore", SeddWarning)
        fault.patch(patched)
        error = error_of(lambda: trainer.fit(progress=False))
    return trainer.state.step, error


def read_only(scale: float, seed: int, workdir: Path) -> Result:
    """A run directory, or a part of it, is moved away, replaced or becomes read-only at each step."""
    config = configuration()
    undisturbed = train(config, fresh(workdir, "straight")).run.path
    straight = digest(undisturbed)
    harms: dict[str, Callable[[Path], object]] = {
        "moved away": lambda path: None,
        "moved away, and a file in its place": lambda path: path.write_bytes(b""),
        "moved away, and an empty directory in its place": Path.mkdir,
        "moved away, and a link to itself in its place": lambda path: path.symlink_to(path.name),
    }
    steps = sampled(range(1, 7), scale, Random(seed))
    names = ("", "checkpoints", "metrics.jsonl", "config.yaml")
    tally = Tally(workdir, len(steps) * len(names) * len(harms) + len(steps) * 2)
    for step in steps:
        for name in names:
            for harm_name, harm in harms.items():
                run = fresh(workdir)
                fresh(workdir, "run.elsewhere")
                with tally.case(f"{name or 'the run'} {harm_name}, step {step}"):
                    _harmed_at(config, run, step, run / name if name else run, harm)
                    _move_back(run / name if name else run)
                    _check_goes_on(config, run, undisturbed, metrics=name != "metrics.jsonl")
        for code in (errno.EROFS, errno.EACCES):
            run = fresh(workdir)
            with tally.case(f"{os.strerror(code)} from step {step} on"):
                _read_only_from(config, run, step, code)
                train(config, run, resume=True)
                lost_unless(digest(run) == straight, "the resumed run differs")
    if os.geteuid() == 0:
        tally.note("permissions do not bind the superuser, so read-only folders are errors of the calls that write")
    return tally.result


def _move(path: Path) -> None:
    path.rename(path.with_name(f"{path.name}.elsewhere"))


def _move_back(path: Path) -> None:
    if path.is_symlink() or path.is_file():
        path.unlink()
    shutil.rmtree(path, ignore_errors=True)
    elsewhere = path.with_name(f"{path.name}.elsewhere")
    if elsewhere.exists():
        elsewhere.rename(path)


def _harmed_at(config: sedd.Config, run: Path, step: int, path: Path, harm: Callable[[Path], object]) -> None:
    """Train, and move a path away in a step; the run may end with an expected error."""
    trainer = sedd.Trainer(config, run=run)
    gradient, calls = trainer.train_step._gradient, 0

    def harming(inputs: object) -> object:
        nonlocal calls
        calls += 1
        if calls == step:
            _move(path)
            harm(path)
        return gradient(inputs)  # type: ignore[arg-type]

    with pytest.MonkeyPatch.context() as patched, warnings.catch_warnings():
        warnings.simplefilter("ignore", SeddWarning)
        patched.setattr(trainer.train_step, "_gradient", harming)
        error_of(lambda: trainer.fit(progress=False))


def _check_goes_on(config: sedd.Config, run: Path, undisturbed: Path, *, metrics: bool) -> None:
    """The run goes on to the same end; metrics that were written while the file was away are not compared."""
    compared = digest if metrics else weights_digest
    error = error_of(lambda: train(config, run, resume=True))
    lost_unless(error is None, f"the run does not go on: {error!r}")
    lost_unless(compared(run) == compared(undisturbed), "the resumed run differs")


def _read_only_from(config: sedd.Config, run: Path, step: int, code: int) -> None:
    trainer = sedd.Trainer(config, run=run)
    if step > 1:
        trainer.fit(until=step - 1, progress=False)
    with pytest.MonkeyPatch.context() as patched:
        for function in FUNCTIONS[1:-1]:
            Fault(function, run, code, 1, lasting=True).patch(patched)
        error = error_of(lambda: trainer.fit(progress=False))
    silent_unless(error is not None, "nothing could be written, and nothing was said")
