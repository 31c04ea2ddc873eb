"""Does a fast path learn what float32 learns? The held-out bound after the same steps from the same seed.

    python benchmarks/numerics.py [--steps 500] [--graphs absorb uniform] [--heads normalised score] [--paths NAME...]
        [--set KEY=VALUE...] [--toy]

Trains the network of `quickstart` on the built-in source by each path, and evaluates all of them alike: averaged
weights, eager, in float32, on the same sequences at the same noise. The differences are in nats per residue, with their
standard errors over sequences. Exits with 1 if one is above the tolerance.

Training is chaotic: what moves a run a little at the beginning moves its end more. How much is measured by two paths in
float32, which do not count for the exit code: `in eight parts` has other sums (micro-batches of 8),
`nudged` a learning rate that is 0.1 % higher, a change of about the size of rounding to bfloat16.
"""

from __future__ import annotations

import argparse
import sys
import time
from typing import NamedTuple

import numpy as np

import sedd
from sedd.evaluation.estimator import Estimator
from sedd.plugins.backends import Cpu

TOLERANCE = 0.01
"""Nats per residue."""
EAGER, COMPILED = "training.compile=off", "training.compile=on"
FLOAT, HALF = "device.precision=float32", "device.precision=bfloat16"
BASE = "float32, eager"
CONTROLS = ("float32, in eight parts", "float32, nudged")
PATHS: dict[str, tuple[str, ...]] = {
    BASE: (FLOAT, EAGER),
    "bfloat16, compiled": (HALF, COMPILED),
    "bfloat16, eager": (HALF, EAGER),
    "float32, in eight parts": (FLOAT, EAGER, "training.batch_size=8", "training.accum=8"),
    "float32, nudged": (FLOAT, EAGER, "optim.lr=0.002002"),
    "bfloat16, eager, sdpa": (HALF, EAGER, "model.attention=sdpa"),
    "float32, compiled": (FLOAT, COMPILED),
}
TOY = (
    "model.hidden_size=32", "model.n_blocks=1", "model.n_heads=2", "data.synthetic.sequences=400",
    "data.synthetic.max_length=48", "model.length=48",
)  # fmt: skip


class Learnt(NamedTuple):
    """What came of one training."""

    nats: float
    by_sequence: np.ndarray
    """(sequences,): the bound of each, nats per residue."""
    residues: np.ndarray
    seconds: float


def learnt(path: str, *overrides: str, sequences: int) -> Learnt:
    """Train by one path; evaluate in float32."""
    config = sedd.load_config(
        "quickstart", "training.eval_every=1000000000", "device.type=cpu", "data.holdout=0.05", *overrides, *PATHS[path]
    )
    trainer = sedd.Trainer(config)
    began = time.perf_counter()
    for _ in zip(range(config.training.n_iters - 1), trainer.steps(), strict=False):
        pass
    trainer._step()  # the last one without the evaluation that belongs to it
    seconds = time.perf_counter() - began
    estimator = Estimator(
        trainer.data.valid, trainer.process, Cpu(precision="float32"), trainer.device, config.model.length,
        count=sequences, masks=8, batch_size=64,
    )  # fmt: skip
    bound, each = estimator.with_sequences(trainer.ema.network.eval())
    return Learnt(bound.nats, each.by_bin.sum(1), each.residues, seconds)


def difference(found: Learnt, base: Learnt) -> tuple[float, float]:
    """Of two bounds, and its standard error over sequences: they share sequences and noise."""
    gaps = found.by_sequence - base.by_sequence
    gap = found.nats - base.nats
    return gap, float(np.linalg.norm(base.residues * (gaps - gap)) / base.residues.sum())


def main() -> None:
    """Train everything, print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=500)
    parser.add_argument("--sequences", type=int, default=512)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--graphs", nargs="+", default=["absorb", "uniform"])
    parser.add_argument("--heads", nargs="+", default=["normalised", "score"])
    parser.add_argument("--paths", nargs="+", default=list(PATHS), choices=PATHS)
    parser.add_argument("--dropout", type=float, default=0.0)
    parser.add_argument("--set", nargs="+", default=[], help="overrides, such as model.hidden_size=48")
    parser.add_argument("--toy", action="store_true")
    given = parser.parse_args()
    shared = [f"training.n_iters={given.steps}", f"seed={given.seed}", f"model.dropout={given.dropout}", *given.set]
    if given.toy:
        shared += [*TOY, "training.n_iters=5"]
        given.paths = [path for path in given.paths if "compiled" not in path]
    worst = 0.0
    print(f"{', '.join(shared)}, {given.sequences} held-out sequences, 8 masks of each; ± is half of a 95 % interval\n")
    print("| graph | head | path | bound, nats | difference | ± | seconds |\n|---|---|---|---|---|---|---|")
    for graph in given.graphs:
        for head in given.heads:
            base = None
            for path in dict.fromkeys((BASE, *given.paths)):
                overrides = (*shared, f"graph.type={graph}", f"model.head={head}")
                found = learnt(path, *overrides, sequences=given.sequences)
                base = base or found
                gap, error = difference(found, base)
                worst = max(worst, 0.0 if path in CONTROLS else abs(gap))
                cells = (
                    graph,
                    head,
                    path,
                    f"{found.nats:.4f}",
                    f"{gap:+.4f}",
                    f"{1.96 * error:.4f}",
                    f"{found.seconds:.0f}",
                )
                print(f"| {' | '.join(cells)} |", flush=True)
    print(f"\nlargest difference {worst:.4f} nats; allowed {TOLERANCE}")
    sys.exit(worst > TOLERANCE)


if __name__ == "__main__":
    main()
