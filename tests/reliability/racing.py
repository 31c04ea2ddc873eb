"""Two processes that do the same at the same time."""

from __future__ import annotations

import os
import time
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path
from random import Random

import sedd
from sedd.errors import SeddWarning
from sedd.runs import checkpoint
from sedd.runs.directory import RunDirectory
from tests.reliability.forks import fork, in_fork, wait
from tests.reliability.killing import example
from tests.reliability.result import Result, Tally, lost_unless, silent_unless
from tests.reliability.runs import configuration, digest, fresh, train

REFUSED = 7
"""Exit code of a process that was refused with a typed error."""


def races(scale: float, seed: int, workdir: Path) -> Result:
    """Two processes begin, resume, read and prepare the same at the same moment."""
    random = Random(seed)
    counts = {name: max(1, round(count * scale)) for name, count in COUNTS.items()}
    tally = Tally(workdir, sum(counts.values()))
    config = configuration("training.n_iters=10")
    straight = in_fork(lambda: digest(train(config, fresh(workdir, "straight")).run.path), workdir)
    for name, count in counts.items():
        for number in range(count):
            with tally.case(f"{name} {number}"):
                RACES[name](workdir, config, straight, random.uniform(0.0, 0.05) * (number % 3))
    return tally.result


def _both(first: Callable[[], object], second: Callable[[], object], workdir: Path, delay: float) -> list[int | None]:
    """Run two actions at the same moment, the second one a little later; returns the exit codes."""
    moment = time.time() + 0.03

    def at(action: Callable[[], object], when: float) -> None:
        time.sleep(max(0.0, when - time.time()))
        try:
            action()
        except sedd.SeddError as error:
            print("refused:", error)
            raise SystemExit(REFUSED) from None

    (workdir / "log").write_bytes(b"")
    actions = ((first, moment), (second, moment + delay))
    pids = [fork(partial(at, action, when), workdir / "log") for action, when in actions]
    codes = [wait(pid, 120.0) for pid in pids]
    if unexpected := [code for code in codes if code not in (0, REFUSED)]:
        raise RuntimeError(f"exit codes {unexpected}: {(workdir / 'log').read_text(errors='replace')[-400:]}")
    return codes


def _begin_unnamed(workdir: Path, config: sedd.Config, straight: str, delay: float) -> None:
    """Runs that are begun in the same second without a name: two runs, both complete."""
    folder = fresh(workdir, "unnamed")
    folder.mkdir()

    def begin() -> None:
        os.chdir(folder)
        sedd.Trainer(config).fit(progress=False)

    codes = _both(begin, begin, workdir, delay)
    runs = sorted((folder / "runs").iterdir())
    lost_unless(codes == [0, 0], f"exit codes {codes}")
    lost_unless(len(runs) == 2, f"{len(runs)} run directories of two runs")
    lost_unless(all(digest(run) == straight for run in runs), "a run differs")


def _train_one(workdir: Path, config: sedd.Config, straight: str, delay: float) -> None:
    """Two processes train one run: one is refused, or finds it finished."""
    run = fresh(workdir)
    act = partial(train, config, run, resume=True)
    codes = _both(act, act, workdir, delay)
    lost_unless(0 in codes, f"exit codes {codes}")
    lost_unless(digest(run) == straight, "the run differs")


def _other_configuration(workdir: Path, config: sedd.Config, straight: str, delay: float) -> None:
    """Two processes begin runs of different configurations in one directory: one is refused, and nothing is mixed."""
    run = fresh(workdir)
    other = configuration("training.n_iters=10", "optim.lr=1e-4")
    codes = _both(partial(train, config, run), partial(train, other, run), workdir, delay)
    lost_unless(sorted(map(str, codes)) == ["0", str(REFUSED)], f"exit codes {codes}")
    owner = config if codes[0] == 0 else other
    found = checkpoint.latest(run / "checkpoints")
    silent_unless(found is not None and found[1].config == owner.to_dict(), "the checkpoint is of the other one")
    recorded = RunDirectory(run).config()
    silent_unless(recorded == owner.to_dict(), "config.yaml is that of the run that was refused")


def _read_while_writing(workdir: Path, config: sedd.Config, straight: str, delay: float) -> None:
    """A process reads the newest checkpoint while another one writes and prunes: it never finds none."""
    folder = fresh(workdir, "checkpoints")
    checkpoint.write(folder, 1, example(1.0))

    def write() -> None:
        for step in range(2, 12):
            checkpoint.write(folder, step, example(float(step)))
            checkpoint.prune(folder, keep=2, best=None)

    def read() -> None:
        newest = 0
        for _ in range(20):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", SeddWarning)  # one that was pruned meanwhile is "damaged"
                found = checkpoint.latest(folder)
            assert found is not None
            step = checkpoint.step_of(found[0])
            assert float(found[1].state["value"]) == step >= newest - 1
            newest = step

    lost_unless(_both(write, read, workdir, delay) == [0, 0], (workdir / "log").read_text(errors="replace")[-300:])


def _prepare(workdir: Path, config: sedd.Config, straight: str, delay: float) -> None:
    """Two processes prepare the same file for the cache: equal data, and nothing half done."""
    folder = fresh(workdir, "data")
    folder.mkdir()
    fasta, sequences = folder / "x.fasta", Random(1)
    letters = "ACDEFGHIKLMNPQRSTVWY"
    fasta.write_text("".join(f">s{i}\n{''.join(sequences.choices(letters, k=15))}\n" for i in range(400)))
    settings = (f"data.train={fasta}", f"data.cache={folder / 'cache'}", "data.holdout=0.2", "training.n_iters=1")

    def open_it(name: str) -> None:
        trainer = sedd.Trainer(configuration(*settings))
        (folder / name).write_text(str(trainer.data.fingerprint))

    codes = _both(partial(open_it, "a"), partial(open_it, "b"), workdir, delay)
    lost_unless(codes == [0, 0], f"exit codes {codes}: {(workdir / 'log').read_text(errors='replace')[-300:]}")
    silent_unless((folder / "a").read_text() == (folder / "b").read_text(), "the data differ")


COUNTS = {"begin without a name": 20, "train one run": 20, "other configuration": 20, "read": 20, "prepare": 20}
RACES: dict[str, Callable[[Path, sedd.Config, str, float], None]] = {
    "begin without a name": _begin_unnamed,
    "train one run": _train_one,
    "other configuration": _other_configuration,
    "read": _read_while_writing,
    "prepare": _prepare,
}
