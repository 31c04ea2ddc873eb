"""How soon a signal ends each phase of a command, and whether everything is saved.

    python benchmarks/stopping.py [--phase NAME] [--repeats 3]

Each phase would go on for minutes. SIGTERM comes a few seconds into it. Reported are the times to the first word on
standard error, to the word that the run is saved, and to the end of the process, and what is left: a checkpoint, or
nothing half done.
"""

from __future__ import annotations

import argparse
import math
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

INTO = 4.0
"""Seconds from the beginning of a phase to the signal."""
SMALL = (
    "device.type=cpu", "model.n_blocks=2", "data.synthetic.sequences=30000", "training.n_iters=1000",
    "training.batch_size=8", "curriculum.preschool_time=10", "optim.warmup=2", "evaluation.sequences=8",
    "evaluation.train_sequences=0", "training.eval_every=1000", "data.holdout=0.9",
)  # fmt: skip


@dataclass(frozen=True)
class Phase:
    """A command, how to see that its phase has begun, and what has to be there in the end."""

    command: tuple[str, ...]
    begun: Callable[[], bool]
    left: Callable[[], str]


def phases(folder: Path) -> dict[str, Phase]:
    """All phases, by name; they write to `folder`."""

    def train(name: str, *overrides: str) -> Phase:
        run = folder / name
        checkpoints = run / "checkpoints"
        return Phase(
            ("train", "quickstart", *SMALL, *overrides, "--run", str(run), "--samples", "0"),
            (run / "config.yaml").exists,
            lambda: ", ".join(path.name for path in checkpoints.glob("step-*")) or "nothing",
        )

    def of_run(*command: str) -> Phase:
        return Phase((*command[:1], str(folder / "run"), *command[1:]), lambda: True, lambda: "")

    source, store = folder / "proteins.fasta", folder / "store"

    def prepare(workers: int) -> Phase:
        return Phase(
            ("data", "prepare", str(source), str(store), "--workers", str(workers)),
            (folder / ".store.partial").exists,
            lambda: ", ".join(path.name for path in folder.glob("*store*")) or "nothing",
        )

    return {
        "short-steps": train("short"),
        "long-step": train("long", "training.accum=1000"),
        "evaluation": train("evaluation", "training.eval_every=1", "evaluation.sequences=20000"),
        "samples": train("samples", "sampling.at_steps=[1]", "sampling.count=100000"),
        "evaluate": of_run("evaluate", "--sequences", "20000", "--masks", "64"),
        "sample": of_run("sample", "-n", "100000", "--out", str(folder / "samples.fasta")),
        "prepare-1": prepare(1),
        "prepare-2": prepare(2),
    }


def stopped(phase: Phase) -> tuple[float, float, float, int, str]:
    """Seconds to the first word, to the word that all is saved, and to the end; the exit code, and what is left."""
    # A script without the current directory on its path, as the command `sedd` is.
    command = [sys.executable, "-P", "-m", "sedd", *phase.command]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)  # noqa: S603
    assert process.stderr is not None
    while not phase.begun():
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.01)
    time.sleep(INTO if phase.command[0] in ("train", "data") else 3 * INTO)
    assert process.poll() is None, process.stderr.read()
    sent = time.perf_counter()
    process.send_signal(signal.SIGTERM)
    words: dict[str, float] = {}
    for line in process.stderr:
        for word in ("SIGTERM", "saved at step"):
            if word in line:
                words.setdefault(word, time.perf_counter() - sent)
    code = process.wait()
    saved = words.get("saved at step", math.nan)
    return words["SIGTERM"], saved, time.perf_counter() - sent, code, phase.left()


def write_proteins(path: Path, megabytes: int) -> None:
    """A FASTA file of random proteins."""
    draw = random.Random(0)  # noqa: S311
    lines = ["".join(draw.choices("ACDEFGHIKLMNPQRSTVWY", k=60)) for _ in range(997)]
    with path.open("w") as file:
        for number in range(megabytes * 1_000_000 // 310):
            file.write(f">protein_{number}\n" + "\n".join(draw.choices(lines, k=5)) + "\n")


def main() -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--phase")
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument("--megabytes", type=int, default=600)
    arguments = parser.parse_args()
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    print("| phase | first word | saved | end | exit code | left |\n|---|---|---|---|---|---|")
    with TemporaryDirectory() as name:
        folder = Path(name)
        chosen = {key: phase for key, phase in phases(folder).items() if arguments.phase in (None, key)}
        if any(key.startswith("prepare") for key in chosen):
            write_proteins(folder / "proteins.fasta", arguments.megabytes)
        if any(key in ("evaluate", "sample") for key in chosen):
            run = ["train", "quickstart", *SMALL, "training.n_iters=10", "--run", str(folder / "run"), "--samples", "0"]
            subprocess.run([sys.executable, "-P", "-m", "sedd", *run], check=True, capture_output=True)  # noqa: S603
        for key, phase in chosen.items():
            for _ in range(arguments.repeats):
                answered, saved, ended, code, left = stopped(phase)
                known = f"{saved:.2f} s" if math.isfinite(saved) else "-"
                print(f"| {key} | {answered:.2f} s | {known} | {ended:.2f} s | {code} | {left} |", flush=True)


if __name__ == "__main__":
    main()
