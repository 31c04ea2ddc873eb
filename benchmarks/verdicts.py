"""Verdicts of the monitor on many short real runs, some with planted faults: curriculum or divergence?

    python benchmarks/verdicts.py [--data proteins.fasta.gz] [--seeds 3] [--jobs 2] [--only FAULT] [--toy]

Every run is trained by `Trainer.fit`, at the shapes of the presets `uniref50_stable` and `uniref50_aggressive` with all
clocks divided by 100, and with other ramps, modes, noises and both graphs. The verdict is read from the metrics file
alone. Prints the confusion matrix, and three requirements: at most 2 % of the healthy runs are called wrong, no
divergence is missed, and no steep curriculum is called a divergence.

That a run *diverged* is measured, not taken from the label: its last held-out bound is 0.1 nats per residue worse than
its best one, or than ln 20, or it could not be finished. That it was *harmed*: its last bound is 0.1 worse than that of
the same run without the fault.
"""

from __future__ import annotations

import argparse
import itertools
import tempfile
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

import sedd
from sedd.data.statistics import DataStatistics
from sedd.diagnosis.alarms import in_words
from sedd.diagnosis.monitor import Monitor
from sedd.diagnosis.predictors import both_predictors
from sedd.runs.history import read_metrics

STEPS = 480
ONSET = 300
"""Optimizer step at which faults of a later beginning are planted."""
CLOCK = 100
"""All clocks of the presets are divided by this; a rise of 0.1 per 1,000 steps becomes one of 10."""
SIZE = (
    "model.hidden_size=48", "model.n_heads=2", "model.n_blocks=2", "model.cond_dim=16", "model.length=64",
    "model.dropout=0.1", "data.synthetic.sequences=4000", "data.synthetic.max_length=64", "training.accum=1",
    "training.batch_size=32", f"training.n_iters={STEPS}", "training.log_every=8", "training.eval_every=60",
    "evaluation.sequences=96", "evaluation.masks=4", "checkpoint.every=1000", "optim.warmup=30", "ema.decay=0.95",
    "device.type=cpu", f"monitoring.max_rise={0.1 * CLOCK}", "monitoring.patience=100000",
)  # fmt: skip
STABLE = ("uniref50_stable", "optim.lr=4e-3", f"curriculum.preschool_time={20000 // CLOCK}")
AGGRESSIVE = ("uniref50_aggressive", "optim.lr=6e-3", f"curriculum.preschool_time={5000 // CLOCK}")
GENERATING = ("noise.type=loglinear", "noise.sigma_max=6.9")
BASES: dict[str, tuple[str, ...]] = {
    "stable": STABLE,
    "aggressive": AGGRESSIVE,
    "stable, truncate, loglinear": (*STABLE, "curriculum.mode=truncate", *GENERATING),
    "stable, bias, loglinear": (*STABLE, "curriculum.mode=bias", "curriculum.min_difficulty=0.3", *GENERATING),
    "stable, scale, loglinear": (*STABLE, *GENERATING),
    "stable, uniform graph": (*STABLE, "graph.type=uniform", "curriculum.mode=truncate", *GENERATING),
    "aggressive, cosine ramp": (*AGGRESSIVE, "curriculum.difficulty_ramp=cosine"),
    "aggressive, no curriculum": (*AGGRESSIVE, "curriculum.difficulty_ramp=constant"),
    "stable, exponential ramp": (*STABLE, "curriculum.difficulty_ramp=exponential"),
    "stable, score head": (*STABLE, "model.head=score", *GENERATING, "curriculum.mode=truncate"),
    "stable, stages": (
        *STABLE, "curriculum.difficulty_ramp=stages", f"curriculum.preschool_time={20000 // CLOCK}",
        "curriculum.stages=[{step: 0, difficulty: 0.2}, {step: 60, difficulty: 0.2}, {step: 61, difficulty: 0.6}, "
        f"{{step: {20000 // CLOCK}, difficulty: 1.0}}]",
    ),
}  # fmt: skip


def nothing(trainer: sedd.Trainer) -> None:
    """No fault."""


def wrong_sign(trainer: sedd.Trainer, *, since: int = 0) -> None:
    """The gradient has the wrong sign."""
    for parameter in trainer.network.parameters():
        parameter.register_hook(  # type: ignore[no-untyped-call]  # torch leaves it untyped
            lambda slope: -slope if trainer.state.step >= since else slope
        )


def shuffled_targets(trainer: sedd.Trainer) -> None:
    """From some step on each sequence is compared with the prediction for another one."""

    def roll(module: nn.Module, _: Any, output: Tensor) -> Tensor:
        return output.roll(1, 0) if module.training and trainer.state.step >= ONSET else output

    trainer.network.register_forward_hook(roll)


def overflow(trainer: sedd.Trainer) -> None:
    """Now and then a gradient overflows, as with bfloat16 and large activations."""
    random = np.random.default_rng(trainer.config.seed)
    parameter = next(iter(trainer.network.parameters()))

    def spoil(slope: Tensor) -> Tensor:
        return slope * float("inf") if trainer.state.step >= ONSET and random.random() < 0.2 else slope

    parameter.register_hook(spoil)  # type: ignore[no-untyped-call]  # torch leaves it untyped


@dataclass(frozen=True, eq=False)
class Shard:
    """Sequences that are corrupted while `broken` returns True."""

    sequences: Any
    broken: Callable[[], bool]
    corrupt: Callable[[np.ndarray], np.ndarray]

    @property
    def lengths(self) -> np.ndarray:
        return sedd.data.lengths_of(self.sequences, np.arange(len(self.sequences)))

    def __len__(self) -> int:
        return len(self.sequences)

    def __getitem__(self, index: int, /) -> np.ndarray:
        ids = np.asarray(self.sequences[index])
        return self.corrupt(ids) if self.broken() else ids


def broken_shard(trainer: sedd.Trainer, corrupt: Callable[[np.ndarray], np.ndarray]) -> None:
    """For 60 steps the tokens are not those of the file."""
    shard = Shard(trainer.data.train, lambda: ONSET <= trainer.state.step < ONSET + 60, corrupt)
    trainer.data = replace(trainer.data, train=shard)


def shifted(trainer: sedd.Trainer) -> None:
    """Ids off by one, as with another alphabet."""
    broken_shard(trainer, lambda ids: (ids + 1) % 20)


def repeated(trainer: sedd.Trainer) -> None:
    """Every token is the first of its sequence."""
    broken_shard(trainer, lambda ids: np.full_like(ids, ids[0]))


def restart(trainer: sedd.Trainer) -> None:
    """The learning rate jumps to many times its peak, as when a schedule starts again."""
    step = type(trainer)._step

    def jumping() -> sedd.StepReport:
        if trainer.state.step == ONSET:
            trainer.state = replace(trainer.state, lr_scale=30.0)
        return step(trainer)

    trainer._step = jumping  # type: ignore[method-assign]  # a fault, planted


def thirty_times(trainer: sedd.Trainer) -> None:
    """The learning rate is 30 times too high."""
    trainer.state = replace(trainer.state, lr_scale=30.0)


FAULTS: dict[str, tuple[Callable[[sedd.Trainer], None], tuple[str, ...]]] = {
    "none": (nothing, ()),
    "steep ramp": (nothing, ("curriculum.preschool_time=40", "curriculum.difficulty_ramp=exponential")),
    "small model": (nothing, ("model.hidden_size=8", "model.n_blocks=1", "model.cond_dim=4")),
    "lr x 30": (thirty_times, ()),
    "wrong sign": (wrong_sign, ()),
    "wrong sign later": (lambda trainer: wrong_sign(trainer, since=ONSET), ()),
    "shuffled targets": (shuffled_targets, ()),
    "shifted shard": (shifted, ()),
    "repeated shard": (repeated, ()),
    "lr restart": (restart, ()),
    "overflow": (overflow, ()),
}
HEALTHY = ("none", "steep ramp", "small model")
ANYWHERE = ("none",)
"""Planted on every base; the others on the two presets and one of each graph."""


@dataclass(frozen=True)
class Outcome:
    """The result of a run, and its verdict."""

    base: str
    fault: str
    seed: int
    verdict: str
    rules: tuple[str, ...]
    bound: float
    best: float
    sentence: str

    @property
    def diverged(self) -> bool:
        return not self.bound < min(self.best, np.log(20)) + 0.1


def cases(seeds: int) -> Iterator[tuple[str, str, int]]:
    """Base, fault and seed of every run."""
    for fault, base in itertools.product(FAULTS, BASES):
        if fault in ANYWHERE or base in (
            "stable",
            "aggressive",
            "stable, truncate, loglinear",
            "stable, uniform graph",
        ):
            for seed in range(2 * seeds if fault in HEALTHY else seeds):  # 2 % of few runs is nothing
                yield base, fault, seed


def run(base: str, fault: str, seed: int, data: str | None, steps: int = STEPS) -> Outcome:
    """Train a run, then judge it by its metrics file."""
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    plant, settings = FAULTS[fault]
    preset, *overrides = BASES[base]
    source = f"data.train={data or 'synthetic'}"
    config = sedd.load_config(preset, *SIZE, source, *overrides, *settings, f"seed={seed}", f"training.n_iters={steps}")
    with tempfile.TemporaryDirectory() as folder:
        trainer = sedd.Trainer(config, run=Path(folder) / "run")
        plant(trainer)
        try:
            bound = trainer.fit(progress=False).nats
        except sedd.TrainingError:
            bound = np.inf
        statistics = DataStatistics.of(trainer.data, longest=config.model.length)
        monitor = Monitor(config, both_predictors(trainer.process.graph, config.model, statistics.frequencies))
        for record in read_metrics(trainer.run.metrics_file):
            monitor.observe(record)
    verdict = monitor.verdict()
    rules = tuple(f"{alarm.rule}@{alarm.step}:{alarm.cause}:{alarm.severity}" for alarm in verdict.alarms)
    best = min((line.nats for line in monitor.history.bounds), default=np.inf)
    return Outcome(base, fault, seed, verdict.kind, rules, bound, best, verdict.sentence)


def main() -> None:
    """Run everything and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--only")
    parser.add_argument("--verbose", action="store_true")
    parser.add_argument("--toy", action="store_true", help="one short run, to show that it runs")
    options = parser.parse_args()
    chosen = [case for case in cases(options.seeds) if options.only in (None, case[1])]
    chosen, steps = (chosen[:1], 24) if options.toy else (chosen, STEPS)
    with ProcessPoolExecutor(options.jobs) as pool:
        shared = itertools.repeat(options.data), itertools.repeat(steps)
        outcomes = list(pool.map(run, *zip(*chosen, strict=True), *shared))
    if options.verbose:
        for o in outcomes:
            print(f"{o.fault:<17}{o.base:<29}{o.seed} {o.bound:7.3f} {o.verdict:<13}{' '.join(o.rules)[:200]}")
    kinds = ("healthy", "curriculum", "plateau", "inconclusive", "learning", "instability", "data")
    print(
        f"\n{len(outcomes)} runs; verdicts by planted fault\n{'':<18}"
        + "".join(f"{in_words(kind):>14}" for kind in kinds)
    )
    for fault in FAULTS:
        counts = Counter(outcome.verdict for outcome in outcomes if outcome.fault == fault)
        print(f"{fault:<18}" + "".join(f"{counts[kind] or '':>14}" for kind in kinds))
    twins = {(o.base, o.seed): o.bound for o in outcomes if o.fault == "none"}
    wrong = {"learning", "instability", "data"}
    healthy = [o for o in outcomes if o.fault in HEALTHY]
    alarmed = [o for o in healthy if o.verdict in wrong]
    diverged = [o for o in outcomes if o.diverged]
    missed = [o for o in diverged if o.verdict not in wrong]
    harmed = [o for o in outcomes if o.fault not in HEALTHY and o.bound > twins.get((o.base, o.seed), np.inf) + 0.1]
    silent = [o for o in harmed if o.verdict not in (*wrong, "plateau")]
    steep = [o for o in outcomes if o.fault == "steep ramp"]
    print(f"\nhealthy runs called wrong   {len(alarmed)} of {len(healthy)}")
    print(f"divergences missed          {len(missed)} of {len(diverged)}")
    print(f"steep ramps called wrong    {sum(o.verdict in wrong for o in steep)} of {len(steep)}")
    print(f"harmed, and no verdict      {len(silent)} of {len(harmed)}")
    for outcome in (*alarmed, *missed, *silent):
        print(f"  {outcome.base}, {outcome.fault}, seed {outcome.seed}: {outcome.verdict}. {outcome.sentence}")


if __name__ == "__main__":
    main()
