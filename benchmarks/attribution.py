"""Does the true split of a loss lie in the stated interval? The attribution against the counterfactual.

    python benchmarks/attribution.py [--runs FOLDER] [--stream judge] [--seeds 4] [--jobs 1] [--toy]
        [--proteins FASTA] [--text FILE]

Trains tiny models on each data set, in each curriculum mode and with each graph, and evaluates their checkpoints
at all mask rates, on training sequences and in training mode, with many fresh draws. That gives the loss of each of two
networks at the difficulty of each, so the difficulty part and the learning part of the change between them (each the
mean over the two orders). Prints how often they lie in the 95 % interval of the attribution, which sees the logged
lines alone, and how wide the interval is.

Runs are added to `runs-STREAM.jsonl` in the folder; interrupted, it resumes. Seeds of the stream `set` were used to
choose the constants of `sedd.diagnosis.unmeasured`; those of the stream `judge` were not.
"""

from __future__ import annotations

import argparse
import itertools
import json
import warnings
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

import sedd
from sedd.data.batch import load
from sedd.data.order import GlobalBatch
from sedd.diagnosis.attribution import Attribution, between
from sedd.diffusion.loss import corrupt_batch, score_entropy_loss
from sedd.diffusion.loss_profile import EDGES, LossProfile, mask_range
from sedd.diffusion.noising import NoiseState
from sedd.randomness import generator
from sedd.runs.metrics import TrainRecord

STEPS, EVERY = 240, 8
CENTRES = (1, 4, 8, 14, 21, 27)
"""Indices of the lines between which changes are split."""
HALVES = 2
"""Cells of the truth in each bin of mask rate."""
POINTS = np.interp(np.arange(HALVES * (len(EDGES) - 1) + 1) / HALVES, np.arange(len(EDGES)), EDGES)
FEWEST_RUNS = 12
"""Runs below which the scatter between runs does not tell the error of a coverage."""
DRAWS = 24
"""Sequences in each cell."""
MODES, GRAPHS = ("truncate", "scale", "bias"), ("absorb", "uniform")
STREAMS = {"set": 1000, "judge": 5000}
"""First seed of each stream."""
SMALL = (
    "model.n_heads=2", "model.cond_dim=16", "model.length=48", "model.dropout=0.1", "training.accum=1",
    f"training.log_every={EVERY}", "training.eval_every=100000", "optim.warmup=10", "lr_schedule.type=constant",
    "data.synthetic.sequences=4000", "data.synthetic.min_length=24", "data.synthetic.max_length=48",
    "data.synthetic.order=2", "data.chunk_length=48", "device.type=cpu", "curriculum.difficulty_ramp=linear",
)  # fmt: skip


@dataclass(frozen=True)
class Case:
    """One run."""

    data: str
    mode: str
    graph: str
    seed: int

    @property
    def key(self) -> str:
        return f"{self.data} {self.mode} {self.graph} {self.seed}"

    def overrides(self, files: Mapping[str, str]) -> list[str]:
        """The settings, some of them drawn with the seed."""
        random = np.random.default_rng(self.seed)
        source = ["data.train=synthetic"] if self.data == "synthetic" else [f"data.train={files[self.data]}"]
        noise = random.choice(["noise.type=loglinear noise.sigma_max=6.9", "noise.type=cosine noise.sigma_max=1.5"])
        return [
            *SMALL, *source, *(["data.alphabet=text"] if self.data == "text" else []), *noise.split(),
            f"seed={self.seed}", f"curriculum.mode={self.mode}", f"graph.type={self.graph}",
            f"curriculum.preschool_time={random.integers(60, STEPS)}",
            f"curriculum.min_difficulty={random.uniform(0.05, 0.4):.3f}",
            f"optim.lr={random.choice([1e-3, 3e-3, 6e-3])}", f"training.batch_size={random.choice([16, 32])}",
            f"model.hidden_size={random.choice([24, 40])}", f"model.n_blocks={random.integers(1, 3)}",
        ]  # fmt: skip


def middle(line: int) -> int:
    """The optimizer step in the middle of the steps of a line."""
    return EVERY * line + EVERY // 2


def measured(case: Case, files: Mapping[str, str], centres: tuple[int, ...]) -> dict[str, Any]:
    """Train one run; its lines, and the true integral of the loss over mask rates in the middle of some lines."""
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    steps = EVERY * (centres[-1] + 2)
    trainer = sedd.Trainer(sedd.load_config("quickstart", *case.overrides(files), f"training.n_iters={STEPS}"))
    wanted = {middle(line + offset) for line in centres for offset in (-1, 0, 1)}
    truth, lines, window = {}, [], LossProfile()
    for report in trainer.steps(until=steps - 1):  # the last step of a run is evaluated, which takes time
        window += report.bins
        if report.step % EVERY == 0:
            lines.append(window.to_dict())
            window = LossProfile()
        if report.step in wanted:
            truth[str(report.step)] = [float(f"{value:.7g}") for value in integral(trainer)]
    highest = mask_range(trainer.config.noise, 1.0, trainer.config.curriculum.mode)[1]
    return {"key": case.key, "case": vars(case), "lines": lines, "truth": truth, "highest": highest}


@torch.no_grad()
def integral(trainer: sedd.Trainer) -> np.ndarray:
    """(points,): the loss over mask rates up to each of `POINTS`, of the network in training mode, nats per residue.

    Every network of a run sees the same sequences and masks, so that the error of differences is small.
    """
    random = np.random.default_rng(trainer.config.seed + 77)
    cell = np.tile(np.arange(len(POINTS) - 1), DRAWS)
    rates = (POINTS[cell] + np.diff(POINTS)[cell] * random.random(len(cell))).clip(1e-7, 1.0 - 1e-4)
    loss, drawn = np.zeros(len(POINTS) - 1), np.zeros(len(POINTS) - 1)
    torch.manual_seed(trainer.config.seed)
    state = torch.get_rng_state()
    trainer.network.train()
    for part in np.array_split(np.arange(len(cell)), max(1, len(cell) // 256)):
        indices = random.integers(len(trainer.data.train), size=len(part))
        plan = GlobalBatch(part, indices, np.zeros(len(part), np.int64))
        batch = load(trainer.data.train, plan, seed=trainer.config.seed + 78, max_length=trainer.config.model.length)
        at = torch.from_numpy(rates[part])
        noise = NoiseState((-torch.log1p(-at)).float(), (1.0 / (1.0 - at)).float())
        uniforms = torch.from_numpy(random.random((*batch.tokens.shape, 2), np.float32))
        corrupted = corrupt_batch(batch, noise, uniforms, graph=trainer.process.graph)
        keys = torch.from_numpy(random.integers(2**31, size=len(part)))
        parts = score_entropy_loss(trainer.network, corrupted, process=trainer.process, selective=True, keys=keys).parts
        loss += np.bincount(cell[part], parts[0].double().numpy(), len(loss))
        drawn += np.bincount(cell[part], parts[1].double().numpy(), len(loss))
    torch.set_rng_state(state)
    return np.concatenate([[0.0], np.cumsum(loss / np.maximum(drawn, 1e-12) * np.diff(POINTS))])


@dataclass(frozen=True)
class Split:
    """A change, its true parts, and the attribution."""

    case: Case
    true_difficulty: float
    true_learning: float
    found: Attribution
    opened: bool
    """Whether the curriculum reached mask rates between the two times."""


def splits(run: Mapping[str, Any], lines: list[TrainRecord]) -> Iterator[Split]:
    """Every pair of centres; single lines and pools of three in turn."""
    centres = sorted({(int(step) - EVERY // 2) // EVERY for step in run["truth"]})
    centres = [line for line in centres if {line - 1, line + 1} <= set(centres)]
    centres = [line for line in centres if line in CENTRES]
    for number, (first, last) in enumerate(itertools.combinations(centres, 2)):
        wide = number % 2
        around = (-1, 0, 1) if wide else (0,)
        pools = [[line + offset for offset in around if line + offset < len(lines)] for line in (first, last)]
        networks = [np.mean([run["truth"][str(middle(line))] for line in pool], axis=0) for pool in pools]
        ranges = [[allowed(lines[line].bins) for line in pool] for pool in pools]
        loss = np.array([[mean_loss(network, ends) for ends in ranges] for network in networks])
        found = between(lines, lines[first].step, lines[last].step, span=2 * EVERY if wide else 0)
        difficulty, learning = (loss[:, 1] - loss[:, 0]).mean(), (loss[1] - loss[0]).mean()
        opened = max(ranges[1]) > max(ranges[0]) + 1e-6
        yield Split(Case(**run["case"]), float(difficulty), float(learning), found, opened)


def allowed(bins: LossProfile) -> float:
    """The mean of the highest mask rate over the steps of a line; the lowest is 0."""
    return float(bins.expected.sum() / bins.residues)


def mean_loss(network: np.ndarray, ends: Iterable[float]) -> float:
    return float(np.mean([np.interp(end, POINTS, network) for end in ends]))


def records(run: Mapping[str, Any]) -> list[TrainRecord]:
    """The logged lines of a run; what the attribution does not read is left at 0."""
    made = []
    for number, sums in enumerate(run["lines"]):
        bins = LossProfile.from_dict(sums)
        loss = float(bins.loss.sum()) / bins.residues
        step = EVERY * (number + 1)
        made.append(TrainRecord(step, loss, bins, bins.values, 1.0, 1.0, 0.0, 0.0, 0.0, 0, 0.0, 0, None))
    return made


def inside(value: float, interval: tuple[float, float]) -> bool:
    return interval[0] <= value <= interval[1]


def table(found: list[Split], stream: str) -> None:
    """Coverage by data set, mode and graph."""
    print(
        f"\nSeeds of the stream `{stream}`. How often the true part lies in the 95 % interval, in percent, and the "
        "median of half of the interval, nats per residue and over the size of the change.\n\n"
        "| data | mode | graph | splits | difficulty | learning | half, difficulty | half, learning |\n"
        "|---|---|---|---|---|---|---|---|"
    )
    keys = sorted({(s.case.data, s.case.mode, s.case.graph) for s in found})
    groups: list[tuple[tuple[str, ...], list[Split]]]
    groups = [(key, [s for s in found if (s.case.data, s.case.mode, s.case.graph) == key]) for key in keys]
    for at, values in enumerate(sorted({key[at] for key in keys}) for at in range(3)):
        for value in values:
            chosen = [s for s in found if (s.case.data, s.case.mode, s.case.graph)[at] == value]
            groups.append((tuple(value if column == at else "" for column in range(3)), chosen))
    for name, opened in (("mask rates were opened", True), ("no mask rates were opened", False)):
        groups.append(((name, "", ""), [s for s in found if s.opened == opened]))
    groups.append((("**all**", "", ""), found))
    for key, group in groups:
        if group:
            cells = [*coverage(group), *width(group)]
            print(f"| {' | '.join(key)} | {len(group)} | {' | '.join(cells)} |")
    print(
        "\n± is half of a 95 % interval, from the scatter between runs (the splits of one run are not independent); "
        f"it is not known with fewer than {FEWEST_RUNS} runs, or without a miss."
    )


def coverage(group: list[Split]) -> list[str]:
    """Coverage of both parts in percent, with half of its 95 % interval by bootstrap over runs.

    A difficulty part that is 0, because the difficulty is the same, does not count.
    """
    runs = np.unique([s.case.key for s in group], return_inverse=True)[1]
    random = generator(0, "bootstrap", len(group))
    cells = []
    for hits, counts in (
        ([inside(s.true_difficulty, s.found.difficulty_interval) for s in group], [s.opened for s in group]),
        ([inside(s.true_learning, s.found.learning_interval) for s in group], [True] * len(group)),
    ):
        sums = np.stack([np.bincount(runs, np.array(hits) & counts), np.bincount(runs, counts)])
        drawn = np.stack([sums[:, random.integers(sums.shape[1], size=sums.shape[1])].sum(1) for _ in range(1000)])
        half = 1.96 * (drawn[:, 0] / np.maximum(drawn[:, 1], 1)).std()
        mean = sums[0].sum() / max(sums[1].sum(), 1)
        error = f" ± {100 * half:.1f}" if sums.shape[1] >= FEWEST_RUNS and half > 0 else ""
        cells.append(f"{100 * mean:.1f}{error}" if sums[1].any() else "")
    return cells


def width(group: list[Split]) -> list[str]:
    """Median of half of the interval: nats per residue, and over the size of the change of the loss."""
    cells = []
    for name in ("difficulty", "learning"):
        halves = [getattr(s.found, f"{name}_error") for s in group if s.opened or name == "learning"]
        changes = [abs(s.found.change) for s in group if s.opened or name == "learning"]
        ratio = np.median(np.array(halves) / changes) if halves else 0.0
        cells.append(f"{np.median(halves):.3f} ({ratio:.0%})" if halves else "")
    return cells


def main() -> None:
    """Train what is missing and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=Path, default=Path("runs/benchmark-attribution"))
    parser.add_argument("--stream", choices=STREAMS, default="judge")
    parser.add_argument("--seeds", type=int, default=4)
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--proteins")
    parser.add_argument("--text")
    parser.add_argument("--toy", action="store_true", help="one short run, to show that it runs")
    options = parser.parse_args()
    files = {name: path for name in ("proteins", "text") if (path := getattr(options, name))}
    first = STREAMS[options.stream]
    grid = itertools.product(range(options.seeds), ("synthetic", *files), MODES, GRAPHS)
    cases = [Case(data, mode, graph, first + 100 * number + seed) for number, (seed, data, mode, graph) in
             enumerate(grid)]  # fmt: skip
    centres = CENTRES[:2] if options.toy else CENTRES
    options.runs.mkdir(parents=True, exist_ok=True)
    file = options.runs / f"runs-{options.stream}{'-toy' if options.toy else ''}.jsonl"
    done = [json.loads(row) for row in file.read_text().splitlines()] if file.exists() else []
    missing = [case for case in cases if case.key not in {run["key"] for run in done}]
    with ProcessPoolExecutor(options.jobs) as pool, file.open("a") as out:
        for run in pool.map(partial(measured, files=files, centres=centres), missing[: 1 if options.toy else None]):
            out.write(json.dumps(run) + "\n")
            out.flush()
            done.append(run)
    table([split for run in done for split in splits(run, records(run))], options.stream)


if __name__ == "__main__":
    main()
