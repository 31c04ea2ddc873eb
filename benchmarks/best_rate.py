"""Does a sweep find the best learning rate, and the same one with one process and with two?

    python benchmarks/best_rate.py [--trials 30] [--sweeps 3] [--jobs 1 2] [--runs FOLDER] [--toy] [KEY=VALUE ...]

The truth comes first: a grid of learning rates, each with several seeds, on a reduced `quickstart`. The best of them
has the lowest mean bound. Then `sedd sweep` looks for it between the ends of the grid, from the smallest one, with
seeds that the grid has not used. The table says how many steps of the grid each sweep ends from the best.

All runs go on from the weights of one short run. From random weights the step at which a run leaves its plateau differs
so much from seed to seed that no learning rate is clearly the best. Interrupted, the script resumes.
"""

from __future__ import annotations

import argparse
import math
import warnings
from pathlib import Path

import numpy as np

import sedd
from sedd.evaluation.intervals import plus_minus
from sedd.results import Contrast, Trial
from sedd.sweeps.contrasts import over_seeds

KEY = "optim.lr"
LOW, DECADES, PER_DECADE = 1e-4, 3, 3
"""The grid: its smallest learning rate, and how many there are in how many factors of ten."""
REDUCED = (
    "data.synthetic.order=3", "data.synthetic.sequences=4000", "data.synthetic.min_length=20",
    "data.synthetic.max_length=40", "model.length=40", "model.hidden_size=64", "model.n_heads=2", "model.n_blocks=1",
    "training.batch_size=32", "training.n_iters=300", "training.eval_every=100", "optim.lr=1e-3", "optim.warmup=20",
    "curriculum.preschool_time=40", "ema.decay=0.9", "evaluation.train_sequences=0", "device.type=cpu", "seed=3",
)  # fmt: skip
"""The run from whose weights all others go on."""
SWEPT = (
    "training.batch_size=256", "training.n_iters=24", "training.eval_every=24", "training.log_every=6",
    "optim.warmup=5", "curriculum.difficulty_ramp=constant", "ema.decay=0.8", f"{KEY}={LOW}",
)  # fmt: skip
"""What differs in the others."""
TOY = (
    "training.n_iters=4", "training.batch_size=8", "curriculum.preschool_time=2", "optim.warmup=2",
    "model.hidden_size=16", "model.cond_dim=8", "data.synthetic.sequences=200", "evaluation.sequences=12",
    "evaluation.masks=2", "training.eval_every=4",
)  # fmt: skip


def grid(per_decade: int) -> list[float]:
    """Learning rates at equal ratios, with three significant digits."""
    return [float(f"{LOW * 10 ** (index / per_decade):.3g}") for index in range(DECADES * per_decade + 1)]


def parent(folder: Path, overrides: list[str]) -> Path:
    """The run from whose weights all others go on."""
    trainer = sedd.Trainer(sedd.load_config("quickstart", *REDUCED, *overrides), run=folder / "parent", resume=True)
    if trainer.state.step < trainer.config.training.n_iters:
        trainer.fit(progress=False)
    return folder / "parent"


def rate(sweep: sedd.Sweep, trial: Trial) -> float:
    """The learning rate of a trial."""
    return float(trial.changes.get(KEY, sweep.defaults[KEY]))


def bound(trial: Trial) -> str:
    """The mean bound of a trial over its seeds, and the range of its single runs."""
    nats = [one.nats for one in trial.seeds]
    return f"{np.mean(nats):.4f} | {min(nats):.4f} to {max(nats):.4f}"


def difference(contrast: Contrast | None) -> str:
    """A difference with half of its corrected 95 % interval."""
    return "" if contrast is None else plus_minus(contrast.nats, contrast.half_width)


def show_grid(truth: sedd.Sweep) -> None:
    """The bound at each learning rate of the grid, and its difference to the best one."""
    print("\n| learning rate | bound, mean of seeds | single runs | less the best |\n|---|---|---|---|")
    for trial in sorted(truth.trials, key=lambda one: rate(truth, one)):
        less = "the best" if trial is truth.leader else difference(truth.to_leader.get(trial.number))
        print(f"| {rate(truth, trial):.3g} | {bound(trial)} | {less} |")


def agreement(one: sedd.Sweep, other: sedd.Sweep) -> str:
    """Whether two sweeps are the same, or else by how much their leaders differ."""
    if one.to_dict() == other.to_dict():
        return "the same table, number by number"
    pair = np.array([[run.nats for run in sweep.leader.seeds] for sweep in (one, other)])
    _, widths = over_seeds(pair, 0, all_pairs=False)
    return f"leaders differ by {plus_minus(float((pair[1] - pair[0]).mean()), float(widths[1]))}"


def main() -> None:
    """Measure the grid, sweep, and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=30)
    parser.add_argument("--grid-seeds", type=int, default=6)
    parser.add_argument("--seeds", type=int, default=4, help="of each finalist")
    parser.add_argument("--sweeps", type=int, default=3)
    parser.add_argument("--jobs", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--runs", type=Path, default=Path("runs/best-rate"))
    parser.add_argument("--toy", action="store_true")
    parser.add_argument("overrides", nargs="*")
    options = parser.parse_args()
    warnings.simplefilter("ignore", sedd.SeddWarning)
    small = [*(TOY if options.toy else ()), *options.overrides]
    per_decade = 1 if options.toy else PER_DECADE
    start = f"training.init_from={parent(options.runs, small)}"
    config = sedd.load_config("quickstart", *REDUCED, *SWEPT, *small, start, f"{KEY}={LOW}", "seed=0")
    rates = grid(per_decade)
    truth = sedd.sweep(
        config, {KEY: rates[1:]}, one_at_a_time=True, seeds=options.grid_seeds, run=options.runs / "grid", say=print
    )
    show_grid(truth)
    rows = []
    for number in range(1, options.sweeps + 1):
        first: sedd.Sweep | None = None
        for jobs in options.jobs:
            found = sedd.sweep(
                config.replace(seed=100 * number), {KEY: (rates[0], rates[-1], "log")}, trials=options.trials,
                seeds=options.seeds, jobs=jobs, run=options.runs / f"sweep-{number}-jobs-{jobs}", say=print,
            )  # fmt: skip
            chosen = rate(found, found.leader)
            steps = abs(math.log10(chosen / rate(truth, truth.leader))) * per_decade
            less = difference(found.to_baseline.get(found.leader.number))
            same = "" if first is None else agreement(first, found)
            rows.append(f"| {number} | {jobs} | {chosen:.3g} | {steps:.2f} | {bound(found.leader)} | {less} | {same} |")
            first = first or found
    print(
        "\n| sweep | processes | best learning rate | steps of the grid from its best | bound, mean of seeds | ", end=""
    )
    print("single runs | less the run file | beside one process |\n|---|---|---|---|---|---|---|---|")
    print("\n".join(rows))


if __name__ == "__main__":
    main()
