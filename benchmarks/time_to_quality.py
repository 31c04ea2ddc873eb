"""How long until a held-out bound is reached: the library against the plain float32 reference, from the same start.

    python benchmarks/time_to_quality.py proteins FASTA [--seconds 120] [--lr 1e-3]
    python benchmarks/time_to_quality.py text TRAIN.txt TEST.txt [--seconds 120] [--lr 1e-3]

Both train a network of one shape on the same sequences, in processes of their own that take turns, so that they meet
the same machine. The library has the preset `small` with `lr_schedule` cut to what it does in SECONDS; the reference
(reference.py; proteins padded to 512, text in chunks of 256) has FACTOR times as long, 4 by default, and the learning
rate of --lr, which may be tried out. Only training counts, not evaluation. Prints both curves: nats per residue on the
same held-out sequences with the same masks and averaged weights. `--factor 0` trains the library alone: with
`--strata 1` on batches of one length, with `--set model.gate_init=0` from SEDD's start.
"""

from __future__ import annotations

import argparse
import multiprocessing as mp
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from multiprocessing.connection import Connection
from typing import Any

import numpy as np
import torch
from reference import ChunkedRows, PaddedRows, Reference, Shape

import sedd
from sedd.data import order
from sedd.diffusion.graphs import make_graph
from sedd.diffusion.parametrization import Parametrization
from sedd.diffusion.process import Process
from sedd.evaluation.estimator import Estimator
from sedd.plugins.backends import Cpu

SLICE = 25.0
"""Seconds of training between turns."""
SHAPE = Shape(192, 4, 3, 256, cond_dim=64)
SETTINGS = {
    "proteins": ("data.holdout=0.02", "model.length=512", "training.batch_size=32"),
    "text": ("data.alphabet=text", "optim.lr=2e-3", "optim.weight_decay=0.05", "training.batch_size=48"),
}
"""What differs from the preset `small`."""


def configuration(kind: str, files: list[str], *overrides: str) -> sedd.Config:
    """The run file of the library, without evaluation and curriculum warm-up beyond a tenth of the run."""
    data = [f"data.train={files[0]}", *([f"data.valid={files[1]}"] if len(files) > 1 else [])]
    return sedd.load_config("small", *SETTINGS[kind], *data, "training.eval_every=1000000000", *overrides)


def held_out(config: sedd.Config, data: sedd.Dataset, model: sedd.Network) -> Estimator:
    """Measures both alike, in float32."""
    process = Process(make_graph("absorb", data.alphabet.n), config.noise, Parametrization.of(model))
    backend = Cpu(precision="float32")
    return Estimator(data.valid, process, backend, backend.device(), model.length, count=100, masks=2, batch_size=50)


def ours(
    kind: str, files: list[str], steps: int, toy: bool, strata: int, overrides: list[str]
) -> tuple[Callable[[], object], Callable[[], float]]:
    """One step, and the bound now."""
    order.STRATA = strata
    clocks = (f"training.n_iters={steps}", f"curriculum.preschool_time={steps // 10}", f"optim.warmup={steps // 15}")
    config = configuration(
        kind, files, *clocks, f"training.compile={'off' if toy else 'on'}", "ema.decay=0.99", *overrides
    )
    trainer = sedd.Trainer(config)
    estimate = held_out(config, trainer.data, config.model)
    reports: Iterator[sedd.StepReport] = trainer.steps()
    return lambda: next(reports, None), lambda: estimate(trainer.ema.network).nats


def plain(kind: str, files: list[str], lr: float) -> tuple[Callable[[], object], Callable[[], float]]:
    """The same for the reference."""
    config = configuration(kind, files)
    data = sedd.data.open_data(config.data, seed=0)
    rows = [np.array(data.train[index]) for index in range(len(data.train))]
    shape = replace(SHAPE, n=data.alphabet.n, length=config.model.length)
    loop = Reference(shape, lr=lr, warmup=50, ema=0.99)
    source: Any = (PaddedRows if kind == "proteins" else ChunkedRows)(rows, shape.length)
    batches = source.batches(config.training.batch_size)
    estimate = held_out(config, data, config.model.model_copy(update={"head": "score", "scale_by_sigma": False}))
    return lambda: loop.step(*next(batches)), lambda: estimate(loop.averaged()).nats


def serve(end: Connection, build: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
    """Train for as long as told, then report (steps done, bound)."""
    step, bound = build(*arguments)
    step(), step()  # compiled and warm; these two count as training that costs nothing, for both
    end.send(None)
    while seconds := end.recv():
        began, steps = time.perf_counter(), 0
        while time.perf_counter() - began < seconds:
            step()
            steps += 1
        end.send((time.perf_counter() - began, steps, bound()))


def main() -> None:
    """Take turns, print both curves."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kind", choices=tuple(SETTINGS))
    parser.add_argument("files", nargs="+")
    parser.add_argument("--seconds", type=float, default=120.0, help="training time of the library")
    parser.add_argument("--factor", type=float, default=4.0, help="how many times as long the reference may take")
    parser.add_argument("--lr", type=float, default=1e-3, help="learning rate of the reference")
    parser.add_argument("--step-seconds", type=float, default=0.5, help="of the library, to set its schedule by")
    parser.add_argument("--strata", type=int, default=order.STRATA, help="lengths in a batch of the library")
    parser.add_argument("--set", nargs="+", default=[], help="overrides for the library, such as seed=1")
    parser.add_argument("--toy", action="store_true")
    options = parser.parse_args()
    slice_, steps = (1.0, 20) if options.toy else (SLICE, round(options.seconds / options.step_seconds))
    builds = {
        "sedd": (ours, (options.kind, options.files, steps, options.toy, options.strata, options.set), options.seconds),
        "reference": (plain, (options.kind, options.files, options.lr), options.factor * options.seconds),
    }
    context = mp.get_context("spawn")
    ends, processes, spent = {}, [], {}
    for name, (build, arguments, _) in builds.items():
        mine, theirs = context.Pipe()
        processes.append(context.Process(target=serve, args=(theirs, build, arguments), daemon=True))
        processes[-1].start()
        mine.recv()
        ends[name], spent[name] = mine, [0.0, 0]
    config = configuration(options.kind, options.files)
    print(
        f"{options.kind}: {replace(SHAPE, length=config.model.length)}, batches of {config.training.batch_size}, lr "
        f"{config.optim.lr:g}, of the reference {options.lr:g}; {torch.get_num_threads()} threads\n"
    )
    print("| | training, s | steps | bound, nats per residue |\n|---|---|---|---|")
    while running := [name for name, (_, _, limit) in builds.items() if spent[name][0] < limit]:
        for name in running:
            ends[name].send(slice_)
            seconds, steps, bound = ends[name].recv()
            spent[name][0] += seconds
            spent[name][1] += steps
            print(f"| {name} | {spent[name][0]:.0f} | {spent[name][1]:,.0f} | {bound:.4f} |", flush=True)
    for end, process in zip(ends.values(), processes, strict=True):
        end.send(0.0)
        process.join()


if __name__ == "__main__":
    main()
