"""Is a step as fast, and the process as small, after 10,000 steps as at the beginning?

    python benchmarks/flat.py [--steps 10000] [--blocks 10] [--toy]

Trains a tiny network by `Trainer.fit` with a line of metrics every ten steps, so that whatever grows (the history of
the monitor, the loss profile, the metrics file) is met by the clock. Time is that between two lines, per residue, and
its median over each block of steps; CPU time is that of the whole process, and says more where other processes want the
same cores. Memory is what is resident at the end of the block. Exits with 1 if the CPU time per residue of a block is
more than 10 % above that of the first one, or if the memory of the last one is more than 10 % above it.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import NamedTuple

import sedd

ALLOWED = 1.1
LINE = 10
"""Steps between two lines of the metrics file."""
TINY = (
    "model.hidden_size=32", "model.n_blocks=1", "model.n_heads=2", "model.cond_dim=16", "model.length=64",
    "data.synthetic.sequences=2000", "data.synthetic.max_length=64", "training.batch_size=16",
    "training.eval_every=1000000000", "checkpoint.every=1000000000", "sampling.at_steps=[]", "evaluation.sequences=16",
    "training.compile=off", f"training.log_every={LINE}", "device.type=cpu", "device.precision=float32",
)  # fmt: skip


class Mark(NamedTuple):
    """A moment at which a step begins."""

    wall: float
    cpu: float
    residues: int
    memory: int


def resident() -> int:
    """Bytes of this process in memory now (Linux)."""
    for line in Path("/proc/self/status").read_text("ascii").splitlines():
        if line.startswith("VmRSS:"):
            return 1024 * int(line.split()[1])
    raise SystemExit("this system does not tell how much memory a process has")


def marks(steps: int) -> list[Mark]:
    """Train; one mark every `LINE` steps."""
    found: list[Mark] = []
    config = sedd.load_config("quickstart", *TINY, f"training.n_iters={steps + 1}")
    with tempfile.TemporaryDirectory() as folder:
        trainer = sedd.Trainer(config, run=Path(folder) / "run")
        step = trainer._step

        def marked() -> sedd.StepReport:
            state = trainer.state
            if state.step % LINE == 0:
                found.append(Mark(time.perf_counter(), time.process_time(), state.residues, resident()))
            return step()

        trainer._step = marked  # type: ignore[method-assign]  # a stopwatch around it
        trainer.fit(progress=False)
    return found


def main() -> None:
    """Train, print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=10_000)
    parser.add_argument("--blocks", type=int, default=10)
    parser.add_argument("--toy", action="store_true")
    given = parser.parse_args()
    if given.toy:
        given.steps, given.blocks = 80, 2
    found = marks(given.steps)
    each = given.steps // LINE // given.blocks
    first: tuple[float, float, int] | None = None
    flat = True
    print(
        "| steps | wall, µs per residue, median (range) | ratio | CPU, µs per residue | ratio | memory, MiB | ratio |"
    )
    print("|---|---|---|---|---|---|---|")
    for block in range(given.blocks):
        rows = found[block * each : (block + 1) * each + 1]
        pairs = list(pairwise(rows))[1 if block == 0 else 0 :]  # the first ones warm up
        walls = [1e6 * (b.wall - a.wall) / (b.residues - a.residues) for a, b in pairs]
        wall, memory = median(walls), rows[-1].memory
        cpu = median(1e6 * (b.cpu - a.cpu) / (b.residues - a.residues) for a, b in pairs)
        first = first or (wall, cpu, memory)
        ratios = wall / first[0], cpu / first[1], memory / first[2]
        flat = flat and ratios[1] <= ALLOWED and (block < given.blocks - 1 or ratios[2] <= ALLOWED)
        print(
            f"| {block * each * LINE + 1:,} to {(block + 1) * each * LINE:,} | {wall:.2f} ({min(walls):.2f} to "
            f"{max(walls):.2f}) | {ratios[0]:.2f} | {cpu:.2f} | {ratios[1]:.2f} | {memory / 2**20:.0f} | "
            f"{ratios[2]:.2f} |"
        )
    print(f"\n{'flat' if flat else 'not flat'} within 10 %")
    sys.exit(not given.toy and not flat)


if __name__ == "__main__":
    main()
