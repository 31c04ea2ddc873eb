"""What the curriculum changes: the bound at the end, and the step at which a run leaves the plateau, by pairs.

    sedd sweep quickstart --one-at-a-time --seeds 8 training.eval_every=25 --run sweeps/curricula \
        --vary curriculum.difficulty_ramp=constant --vary curriculum.mode=bias
    python benchmarks/curricula.py sweeps/curricula [--below 0.1]

Reads a finished sweep of single changes and its runs; trains nothing. A run is on the plateau until its held-out bound
is `--below` nats under that of a unigram model; the step is interpolated between two evaluations. A run that never
leaves it counts with its last step. Intervals are 95 %, paired by seed, corrected for all pairs of settings. The sign
test, corrected likewise, needs no normal distribution; a few runs that stay on the plateau are none.
"""

from __future__ import annotations

import argparse
import json
import math
from itertools import combinations
from pathlib import Path

import numpy as np

from sedd.config.config import Config
from sedd.config.run_file import load_config
from sedd.data import open_data
from sedd.data.statistics import DataStatistics
from sedd.runs.directory import RunDirectory
from sedd.sweeps.contrasts import over_seeds


def unigram(config: Config) -> float:
    """Entropy of the token frequencies of the training data, nats per residue."""
    statistics = DataStatistics.of(open_data(config.data, seed=config.seed), longest=config.model.length)
    frequencies = statistics.frequencies[statistics.frequencies > 0]
    return float(-frequencies @ np.log(frequencies))


def leaves(run: Path, level: float) -> tuple[float, bool]:
    """The step from which the bound of a run stays below a level, and whether it does before the end."""
    bounds = RunDirectory(run).history().bounds
    steps, nats = [one.step for one in bounds], [one.nats for one in bounds]
    above = [index for index, value in enumerate(nats) if value >= level]
    if not above:
        return float(steps[0]), True
    last = above[-1]
    if last == len(nats) - 1:
        return float(steps[-1]), False
    return float(np.interp(-level, [-nats[last], -nats[last + 1]], steps[last : last + 2])), True


def name(changes: dict[str, object]) -> str:
    """A setting in words."""
    return ", ".join(f"{key.rpartition('.')[2]}={value}" for key, value in changes.items()) or "the run file"


def sign_test(lower: int, seeds: int) -> float:
    """Two-sided p of so many signs of one kind if both are equally likely."""
    tail = sum(math.comb(seeds, count) for count in range(min(lower, seeds - lower) + 1))
    return min(1.0, 2.0 * tail / 2.0**seeds)


def pairs(names: list[str], values: np.ndarray, digits: int) -> list[str]:
    """The difference of each pair, with its interval, in how many seeds the first is lower, and the sign test."""
    found, count = [], math.comb(len(names), 2)
    for first, second in combinations(range(len(names)), 2):
        _, widths = over_seeds(values, second, all_pairs=True)
        difference = values[first] - values[second]
        ahead = int((difference < 0).sum())
        text = f"{difference.mean():+.{digits}f} ± {widths[first]:.{digits}f}"
        p = min(1.0, count * sign_test(ahead, len(difference)))
        found.append(f"| {names[first]} less {names[second]} | {text} | {ahead} of {len(difference)} | {p:.2f} |")
    return found


def main() -> None:
    """Print the two tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sweep", type=Path)
    parser.add_argument("--below", type=float, default=0.1, help="nats under a unigram model that end the plateau")
    options = parser.parse_args()
    result = json.loads((options.sweep / "result.json").read_text())
    trials = sorted((one for one in result["trials"] if one["seeds"]), key=lambda one: one["trial"])
    names, seeds = [name(one["changes"]) for one in trials], result["seeds"]
    runs = [[options.sweep / "runs" / f"{one['trial']:03d}-seed-{seed}" for seed in seeds] for one in trials]
    level = unigram(load_config(RunDirectory(runs[0][0]).config())) - options.below
    left = [[leaves(run, level) for run in row] for row in runs]
    nats = np.array([one["seeds"] for one in trials], np.float64)
    steps = np.array([[step for step, _ in row] for row in left])
    print(f"Plateau: bound above {level:.3f} nats per residue. ± is half of a 95 % interval.\n")
    print("| setting | bound | of single runs | leaves the plateau at step | runs that do |\n|---|---|---|---|---|")
    for index, title in enumerate(names):
        span = f"{nats[index].min():.3f} to {nats[index].max():.3f}"
        count = sum(done for _, done in left[index])
        print(f"| {title} | {nats[index].mean():.4f} | {span} | {steps[index].mean():.0f} | {count} of {len(seeds)} |")
    for title, values, digits in (("bound, nats per residue", nats, 3), ("step", steps, 0)):
        print(f"\n| {title} | difference | lower in | p, sign test |\n|---|---|---|---|")
        print("\n".join(pairs(names, values, digits)))


if __name__ == "__main__":
    main()
