"""Signals in every phase of a command: how soon it ends, what it saved, and that it goes on as if nothing had been."""

from __future__ import annotations

import os
import signal
import statistics
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

from sedd import cli
from sedd.data.prepare import preparing
from sedd.evaluation.estimator import Estimator
from sedd.runs import checkpoint
from sedd.sampling.sampler import Sampler
from sedd.training import samples
from sedd.training.ema import EmaNetwork
from sedd.training.evaluating import Evaluator
from sedd.training.loading import Loader
from sedd.training.step import TrainStep
from tests.reliability.forks import fork, in_fork, wait
from tests.reliability.result import Result, Tally, lost_unless, silent_unless
from tests.reliability.runs import OVERRIDES, configuration, digest, fresh, newest_step, train

SIGNALS = {"SIGTERM": signal.SIGTERM, "SIGINT": signal.SIGINT, "SIGHUP": signal.SIGHUP}
REPEATS = 5
SHORT = ("training.n_iters=20", "training.eval_every=10", "model.dropout=0.1")
LONG_EVALUATION = ("data.synthetic.sequences=2000", "data.holdout=0.5", "evaluation.sequences=1000",
                   "evaluation.masks=300", "training.eval_every=3")  # fmt: skip
LONG_SAMPLING = ("sampling.at_steps=[3]", "sampling.count=20000", "sampling.steps=1000", "training.eval_every=1000")
LONG_STEP = ("training.accum=3000", "training.n_iters=3", "data.synthetic.sequences=2000", "training.batch_size=1")


@dataclass(frozen=True)
class Phase:
    """A phase of a command.

    Attributes:
        command: after `sedd`; RUN, FASTA and OUT are replaced by paths.
        owner: with `name`, the function that begins the phase.
        name: see `owner`.
        call: the number of the call of that function.
        saved: the step that has to be saved at least; None if the command does not train.
        resumed: whether the run is resumed to its end and compared.
    """

    command: tuple[str, ...]
    owner: Any = field(repr=False)
    name: str
    call: int = 1
    saved: int | None = None
    resumed: bool = False


def _train(*overrides: str) -> tuple[str, ...]:
    return ("train", "quickstart", *OVERRIDES, *overrides, "--run", "OUT", "--samples", "0")


PHASES = {
    "loading": Phase(_train(*SHORT), Loader, "__call__", 4, saved=3, resumed=True),
    "a step": Phase(_train(*SHORT), TrainStep, "_gradient", 4, saved=3, resumed=True),
    "a long step": Phase(_train(*LONG_STEP), TrainStep, "_gradient", 1, saved=0),
    "an update": Phase(_train(*SHORT), EmaNetwork, "update", 4, saved=3, resumed=True),
    "saving": Phase(_train(*SHORT), checkpoint, "_write_files", 2, saved=3, resumed=True),
    "evaluating while training": Phase(_train(*LONG_EVALUATION), Evaluator, "evaluated", 1, saved=3),
    "sampling while training": Phase(_train(*LONG_SAMPLING), samples, "write_step", 1, saved=3),
    "preparing before training": Phase(_train("data.train=FASTA"), preparing, "prepare"),
    "evaluate": Phase(("evaluate", "RUN", "--masks", "9999", "--no-controls"), Estimator, "_contributions"),
    "sample": Phase(("sample", "RUN", "-n", "100000", "--steps", "1000", "--out", "OUT"), Sampler, "__call__"),
    "prepare": Phase(("data", "prepare", "FASTA", "OUT", "--workers", "1"), preparing, "prepare"),
}


def signals_everywhere(scale: float, seed: int, workdir: Path) -> Result:
    """SIGTERM, Ctrl-C and SIGHUP at a random moment of every phase of training, evaluation, sampling and
    preparation.
    """
    random, repeats = Random(seed), max(1, round(REPEATS * scale))
    tally = Tally(workdir, len(PHASES) * len(SIGNALS) * repeats)
    straight = in_fork(lambda: digest(train(configuration(*SHORT), fresh(workdir, "straight")).run.path), workdir)
    in_fork(lambda: train(configuration(), fresh(workdir, "trained")).state.step, workdir)
    _write_proteins(workdir / "proteins.fasta", random)
    for name, phase in PHASES.items():
        seconds = []
        for signal_name in list(SIGNALS) * repeats:
            with tally.case(f"{name}, {signal_name}"):
                seconds.append(_stopped(phase, SIGNALS[signal_name], random, workdir))
                _check(phase, workdir, straight)
        if seconds:
            tally.note(
                f"from a signal to the end, {name}: median {statistics.median(seconds):.2f} s, "
                f"longest {max(seconds):.2f} s, {len(seconds)} signals"
            )
    return tally.result


def _stopped(phase: Phase, number: int, random: Random, workdir: Path) -> float:
    """Begin a command, send it a signal in a phase, and check its end; returns the seconds from signal to end."""
    fresh(workdir, "out"), fresh(workdir, "cache")
    marker, log = workdir / "phase", workdir / "log"
    for path in (marker, log):
        path.unlink(missing_ok=True)
    pid = fork(lambda: _command(phase, workdir, marker), log)
    while not marker.exists():
        if os.waitpid(pid, os.WNOHANG)[0]:
            raise RuntimeError(f"it ended before the phase began: {log.read_text(errors='replace')[-400:]}")
        time.sleep(0.001)
    time.sleep(random.choice((0.0, random.uniform(0.0, 0.02), random.uniform(0.0, 0.3))))
    began = time.monotonic()
    os.kill(pid, number)
    code = wait(pid, 300.0)
    seconds = time.monotonic() - began
    output = log.read_text(errors="replace")
    if "Traceback" in output:
        raise RuntimeError(output[-600:])
    if code == 0 and phase.resumed:  # it was done before the signal came
        return seconds
    expected = (128 + number,) if phase.saved is not None else (128 + number, -number)
    lost_unless(code in expected, f"exit code {code}: {output[-300:]}")
    return seconds


def _command(phase: Phase, workdir: Path, marker: Path) -> None:
    """Run the command of a phase, in a forked process that writes `marker` when the phase begins."""
    function, calls = getattr(phase.owner, phase.name), 0

    def marking(*arguments: Any, **options: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == phase.call:
            marker.write_bytes(b"")
        return function(*arguments, **options)

    setattr(phase.owner, phase.name, marking)
    for module in list(sys.modules.values()):  # where the function was imported by its name
        if getattr(module, "__name__", "").startswith("sedd") and getattr(module, phase.name, None) is function:
            setattr(module, phase.name, marking)
    os.environ["XDG_CACHE_HOME"] = str(workdir / "cache")
    paths = {"RUN": workdir / "trained", "FASTA": workdir / "proteins.fasta", "OUT": workdir / "out"}
    words = [part for word in phase.command for part in [_replaced(word, paths)]]
    sys.argv = ["sedd", *words]
    cli.main()


def _replaced(word: str, paths: dict[str, Path]) -> str:
    key, equals, value = word.rpartition("=")
    return key + equals + str(paths.get(value, value))


def _check(phase: Phase, workdir: Path, straight: str) -> None:
    out = workdir / "out"
    if phase.saved is None:
        return
    if phase.saved:
        lost_unless(newest_step(out) >= phase.saved, f"saved at step {newest_step(out)}, expected {phase.saved}")
        said = (workdir / "log").read_text(errors="replace").lower()
        silent_unless(
            "saved at step" in said or newest_step(out) == 20, f"where it is saved is not said: {said[-300:]}"
        )
    if phase.resumed:
        in_fork(lambda: train(configuration(*SHORT), out, resume=True).state.step, workdir)
        lost_unless(digest(out) == straight, "the resumed run differs")


def _write_proteins(path: Path, random: Random) -> None:
    """About 60 MB of random proteins: seconds of preparation."""
    lines = ["".join(random.choices("ACDEFGHIKLMNPQRSTVWY", k=60)) for _ in range(997)]
    with path.open("w") as file:
        for number in range(200_000):
            file.write(f">protein_{number}\n" + "\n".join(random.choices(lines, k=5)) + "\n")
