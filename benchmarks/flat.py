"""Is a step as fast, and the process as small, after 10,000 steps as at the beginning?

    python benchmarks/flat.py [--steps 10000] [--rounds 21] [--toy]

Trains a tiny network by `Trainer.fit` with a line of metrics every ten steps, so that whatever grows (the history of
the monitor, the loss profile, the metrics file) is met by the clock. Runs that have come to different steps take
turns, each in a process of its own, so that they meet the same machine; ratios are medians over the rounds of that to
the youngest run. Exits with 1 if the time per residue of one is more than 10 % above that of the youngest, or its peak
memory is.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path
from queue import SimpleQueue
from statistics import median

from interleaved import interleaved

import sedd

ALLOWED = 1.1
LINE = 10
"""Steps between two lines of the metrics file."""
YOUNGEST = 100
"""The step of the first run: kernels are made for the first batches of each width."""
TINY = (
    "model.hidden_size=32", "model.n_blocks=1", "model.n_heads=2", "model.cond_dim=16", "model.length=64",
    "data.synthetic.sequences=2000", "data.synthetic.max_length=64", "training.batch_size=16",
    "training.n_iters=1000000", "training.eval_every=1000000000", "checkpoint.every=1000000000",
    "sampling.at_steps=[]", "curriculum.preschool_time=0", "training.compile=off", f"training.log_every={LINE}",
    "device.type=cpu", "device.precision=float32",
)  # fmt: skip


def trained(folder: str, after: int) -> Callable[[], int]:
    """A run that has come to step `after`, and goes on `LINE` steps at each call, which returns their residues."""
    trainer = sedd.Trainer(sedd.load_config("quickstart", *TINY), run=Path(folder) / f"after-{after}")
    step = trainer._step
    allowed: SimpleQueue[None] = SimpleQueue()
    reached: SimpleQueue[int] = SimpleQueue()

    def gated() -> sedd.StepReport:
        state = trainer.state
        if state.step >= after and state.step % LINE == 0:
            reached.put(state.residues)
            allowed.get()
        return step()

    trainer._step = gated  # type: ignore[method-assign]  # so that `fit` itself waits for its turn

    def train() -> None:
        try:
            trainer.fit(progress=False)
        finally:
            reached.put(-1)  # it is far from its end: this is an error, which the thread prints

    def arrived() -> int:
        if (residues := reached.get()) < 0:
            raise RuntimeError(f"the run after step {after} failed")
        return residues

    threading.Thread(target=train, daemon=True).start()
    seen = arrived()

    def go_on() -> int:
        nonlocal seen
        allowed.put(None)
        before, seen = seen, arrived()
        return seen - before

    return go_on


def main() -> None:
    """Train, take turns, print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=21)
    parser.add_argument("--toy", action="store_true")
    given = parser.parse_args()
    if given.toy:
        given.steps, given.rounds = 800, 2
    ages = (YOUNGEST, given.steps // 4, given.steps // 2, given.steps)
    with tempfile.TemporaryDirectory() as folder:
        # Forty steps a turn: the youngest must not grow old meanwhile.
        found = interleaved({f"{age:,}": (trained, (folder, age)) for age in ages}, rounds=given.rounds, steps=4)
    youngest, flat = found[f"{YOUNGEST:,}"], True
    print("| from step | µs per residue, median (range) | ratio | peak memory, MiB | ratio |\n|---|---|---|---|---|")
    for name, times in found.items():
        costs = [1e6 / rate for rate in times.rates]
        ratio = median(base / rate for base, rate in zip(youngest.rates, times.rates, strict=True))
        larger = times.peak / youngest.peak
        flat = flat and max(ratio, larger) <= ALLOWED
        print(
            f"| {name} | {median(costs):.2f} ({min(costs):.2f} to {max(costs):.2f}) | {ratio:.2f} | "
            f"{times.peak / 2**20:.0f} | {larger:.2f} |"
        )
    print(f"\n{'flat' if flat else 'not flat'} within 10 %")
    sys.exit(not given.toy and not flat)


if __name__ == "__main__":
    main()
