"""How soon is a model as good as one that the plain float32 reference trains in ten times the time?

    python benchmarks/time_to_quality.py proteins FASTA [--steps 300] [--seeds 0 1 2]
    python benchmarks/time_to_quality.py text TRAIN.txt TEST.txt [--steps 300] [--rates 1e-3 2e-3 4e-3]

Both programs train a network of one shape on the same sequences with the same batch size, in processes of their own
that take turns, so that they meet the same machine. The library has the preset `small` with its schedule cut to STEPS.
Whenever it has done a tenth of them, in T seconds, the reference (reference.py; proteins padded to 512, text in chunks
of 256) trains for FACTOR times T. Only training counts, not evaluation, and not the first two steps, which compile.
Of several learning rates the reference gets the best: each is tried for a third of its time, with another seed.
`--cpu-seconds` counts CPU seconds instead, which on a busy machine suit a single thread (OMP_NUM_THREADS=1).

Bounds are of the averaged weights in float32, nats per residue, of the same held-out sequences with the same masks. The
answer is printed for each seed (initial weights, order, noise) and over the seeds: how many times as long the reference
takes to the last bound of the library, and the difference of the last bounds, paired by sequence and mask.

`--factor 0` trains the library alone: with `--strata 1` on batches of one length, with `--set model.gate_init=0` from
SEDD's start.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from reference import ChunkedRows, PaddedRows, Reference, Shape
from turns import Program, Turns, Values, over_seeds, ratio_over_seeds, reached

import sedd
from sedd.data import order
from sedd.diffusion.graphs import make_graph
from sedd.diffusion.parametrization import Network, Parametrization
from sedd.diffusion.process import Process
from sedd.evaluation.estimator import Estimator
from sedd.evaluation.intervals import plus_minus
from sedd.evaluation.paired import Paired, paired_difference
from sedd.plugins.backends import Cpu

ROUNDS = 10
"""Turns of each program."""
TRIAL_SEED = 1000
"""Seed of the runs that choose the learning rate of the reference."""
SHAPE = Shape(192, 4, 3, 256, cond_dim=64)
SETTINGS = {
    "proteins": ("data.holdout=0.02", "model.length=512"),
    "text": ("data.alphabet=text", "optim.lr=2e-3", "optim.weight_decay=0.05"),
}
"""What differs from the preset `small`."""


def configuration(options: argparse.Namespace, *overrides: str) -> sedd.Config:
    """The run file of the library, without evaluation and curriculum warm-up beyond a tenth of the run."""
    files = options.files
    data = [f"data.train={files[0]}", *([f"data.valid={files[1]}"] if len(files) > 1 else [])]
    steps = options.steps  # two more are warm-up, and the last of a run, which evaluates, is not done
    clocks = (
        f"training.n_iters={steps + 3}",
        f"curriculum.preschool_time={steps // 10}",
        f"optim.warmup={steps // 15}",
    )
    fixed = ("training.eval_every=1000000000", f"training.compile={'off' if options.toy else 'on'}", "ema.decay=0.99")
    batch = f"training.batch_size={options.batch}"
    return sedd.load_config("small", *SETTINGS[options.kind], *data, *clocks, *fixed, batch, *options.set, *overrides)


def held_out(config: sedd.Config, data: sedd.Dataset, model: sedd.Network) -> Callable[[Network], Values]:
    """Measures both programs alike, in float32."""
    process = Process(make_graph("absorb", data.alphabet.n), config.noise, Parametrization.of(model))
    backend = Cpu(precision="float32")
    estimate = Estimator(
        data.valid, process, backend, backend.device(), model.length, count=100, masks=2, batch_size=50
    )

    def values(network: Network) -> Values:
        contributions = estimate.with_sequences(network)[1]
        return contributions.values.mean(1), contributions.residues

    return values


def ours(options: argparse.Namespace, seed: int) -> Program:
    """The library."""
    order.STRATA = options.strata
    trainer = sedd.Trainer(configuration(options, f"seed={seed}"))
    measure = held_out(trainer.config, trainer.data, trainer.config.model)
    reports: Iterator[sedd.StepReport] = trainer.steps()
    return lambda: next(reports), lambda: measure(trainer.ema.network)


def plain(options: argparse.Namespace, seed: int, rate: float) -> Program:
    """The reference."""
    config = configuration(options)
    data = sedd.data.open_data(config.data, seed=0)
    rows = [np.array(data.train[index]) for index in range(len(data.train))]
    shape = replace(SHAPE, n=data.alphabet.n, length=config.model.length)
    loop = Reference(shape, lr=rate, warmup=50, ema=0.99, seed=seed)
    source: Any = (PaddedRows if options.kind == "proteins" else ChunkedRows)(rows, shape.length, seed=seed)
    batches = source.batches(config.training.batch_size)
    measure = held_out(config, data, config.model.model_copy(update={"head": "score", "scale_by_sigma": False}))
    return lambda: loop.step(*next(batches)), lambda: measure(loop.averaged())


@dataclass(frozen=True)
class Outcome:
    """What one seed gave."""

    seconds: tuple[float, float]
    """Of training, the library and the reference."""
    bounds: tuple[float, float]
    """The last ones."""
    ratio: float
    """Of the times to the last bound of the library; infinite where the reference did not reach it."""
    difference: Paired
    """Last bound of the library minus last bound of the reference."""


def race(options: argparse.Namespace, seed: int, rate: float) -> Outcome | None:
    """Both programs with one seed; None where the library is alone."""
    library = Turns.start(f"sedd, seed {seed}", ours, options, seed, cpu_seconds=options.cpu_seconds)
    reference = None
    if options.factor:
        reference = Turns.start(f"reference, seed {seed}", plain, options, seed, rate, cpu_seconds=options.cpu_seconds)
    turns = np.diff(np.linspace(0, options.steps, ROUNDS + 1).astype(int))
    for turn, steps in enumerate(turns, 1):
        library.train(steps=int(steps), measured=reference is None or turn == ROUNDS)
        if reference is not None:
            reference.train(seconds=options.factor * library.spent - reference.spent, measured=turn % 2 == 0)
    library.stop()
    if reference is None:
        return None
    reference.stop()
    first, second = library.values[-1], reference.values[-1]
    time_of = reached(reference.seconds, reference.bounds, library.bounds[-1])
    return Outcome(
        (library.spent, reference.spent),
        (library.bounds[-1], reference.bounds[-1]),
        time_of / library.spent,
        paired_difference(first[0], second[0], first[1]),
    )


def best_rate(options: argparse.Namespace) -> float:
    """Of the learning rates, the one with which the reference has the lowest bound after a part of its time."""
    if len(options.rates) == 1 or not options.factor:
        return float(options.rates[0])
    library = Turns.start("sedd, its speed", ours, options, TRIAL_SEED, cpu_seconds=options.cpu_seconds)
    turn = library.train(steps=options.steps // ROUNDS, measured=False)
    seconds = turn * ROUNDS * options.factor / 3
    library.stop()
    bounds = {}
    for rate in options.rates:
        name = f"reference, learning rate {rate:g}"
        reference = Turns.start(name, plain, options, TRIAL_SEED, rate, cpu_seconds=options.cpu_seconds)
        reference.train(seconds=seconds)
        reference.stop()
        bounds[rate] = reference.bounds[-1]
    return float(min(bounds, key=bounds.__getitem__))


def table_row(seed: int, found: Outcome, factor: float) -> str:
    """The answer of one seed."""
    ratio = f"more than {factor:g}" if math.isinf(found.ratio) else f"{found.ratio:.1f}"
    seconds, bounds = ((f"{a:.{n}f}", f"{b:.{n}f}") for (a, b), n in ((found.seconds, 0), (found.bounds, 4)))
    difference = plus_minus(found.difference.nats, found.difference.half_width)
    return f"| {seed} | {' | '.join((*seconds, *bounds))} | {difference} | {ratio} |"


def answer(options: argparse.Namespace, rate: float, outcomes: dict[int, Outcome]) -> None:
    """Print the table of the question for the seeds so far."""
    print(
        f"\n{options.kind}; learning rate of the reference {rate:g}. Time ratio: reference over library, to the last "
        "bound of the library. ± and brackets: 95 % intervals, of a seed over sequences, of all over seeds.\n"
    )
    print("| seed | seconds, sedd | seconds, reference | bound, sedd | bound, reference | difference | time ratio |")
    print("|---|---|---|---|---|---|---|")
    for seed, found in outcomes.items():
        print(table_row(seed, found, options.factor))
    difference = plus_minus(*over_seeds([found.difference.nats for found in outcomes.values()]))
    ratio = ratio_over_seeds([found.ratio for found in outcomes.values()], options.factor)
    print(f"| all | | | | | {difference} | {ratio} |\n", flush=True)


def main() -> None:
    """Choose the learning rate of the reference, then one race for each seed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kind", choices=tuple(SETTINGS))
    parser.add_argument("files", nargs="+")
    parser.add_argument("--steps", type=int, default=300, help="of the library")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--factor", type=float, default=10.0, help="how many times as long the reference may take")
    parser.add_argument("--rates", type=float, nargs="+", default=[1e-3], help="learning rates of the reference")
    parser.add_argument("--batch", type=int, default=16, help="sequences in a batch of both")
    parser.add_argument("--strata", type=int, default=order.STRATA, help="lengths in a batch of the library")
    parser.add_argument("--set", nargs="+", default=[], help="overrides for the library, such as model.gate_init=0")
    parser.add_argument("--cpu-seconds", action="store_true", help="count these instead of seconds")
    parser.add_argument("--toy", action="store_true")
    options = parser.parse_args()
    if options.toy:
        options.steps, options.batch, options.seeds = 10, 2, options.seeds[:2]
        options.factor = min(options.factor, 2.0)
    config = configuration(options)
    print(
        f"{options.kind}: {replace(SHAPE, length=config.model.length)}, batches of {config.training.batch_size}, lr "
        f"{config.optim.lr:g}; {torch.get_num_threads()} threads\n"
    )
    seconds = "CPU seconds" if options.cpu_seconds else "seconds"
    print(f"| | {seconds} of training | steps | bound, nats per residue |\n|---|---|---|---|")
    rate = best_rate(options)
    outcomes: dict[int, Outcome] = {}
    for seed in options.seeds:
        outcome = race(options, seed, rate)
        if outcome is not None:
            outcomes[seed] = outcome
            answer(options, rate, outcomes)


if __name__ == "__main__":
    main()
