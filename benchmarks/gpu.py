"""Everything to know of one GPU in one go: the step, its share of the peak, memory, evaluation, sampling, numerics.

    python benchmarks/gpu.py [--minutes 8] [--toy]

One table, whose rows answer questions in turn; each is printed once it is measured, and what does not fit in the time
is left out and named. Width 768, 12 blocks, length 1,024, batches of 16 and 64; sequences of one length, and of many.
Every training row is a process of its own. Without a GPU, or with --toy, all is at toy size in one process.

Rates are residues per second (sequences per second of sampling), the median of rounds with their range. The share of
the peak counts the operations in matrix products that were carried out, over the best large product measured now, and
over what the maker promises; where lengths differ none is shown, since the operations of attention depend on them.
"Recorded" is `device.graphs`: kernels that are recorded once and started together. Exits with 1 if the losses of 50
steps from the same seed differ from those of float32 on the CPU by more than the tolerance.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from statistics import median
from typing import Any

import numpy as np
import torch
from interleaved import Build, interleaved
from reference import ChunkedRows, Reference, Shape

import sedd
from sedd.training.compiling import missing_compiler
from training import make, operations, random_rows

NOMINAL = {"H100": 989e12, "H200": 989e12, "A100": 312e12}
"""Dense bfloat16 of the SXM modules, operations per second (NVIDIA's data sheets)."""
TOLERANCE = {"float32": 0.005, "bfloat16": 0.05}
"""Nats per residue, of any of the 50 losses; they are 1 to 3 nats."""
CUDA = torch.cuda.is_available() and "--toy" not in sys.argv
"""The processes of the rows are given the same arguments, and decide alike."""
DEVICE = torch.device("cuda" if CUDA else "cpu")
SHAPE = Shape(768, 12, 12, 1024) if CUDA else Shape(32, 2, 2, 32)
BATCH, ROUNDS, STEPS = (16, 5, 5) if CUDA else (4, 1, 1)
COMPILES = CUDA and not missing_compiler(DEVICE)
"""At toy size compiling would take longer than all the rest."""
WARM = 2
"""Steps that `interleaved` does before the first round."""
ROWS, PACKED, OFF = "device.layout=rows", "device.layout=packed", "device.graphs=off"
RECORDED = "device.graphs=on" if CUDA else "device.graphs=auto"
EAGER = ("device.precision=bfloat16", "training.compile=off", "model.attention=sdpa")
FAST = ("device.precision=bfloat16", f"training.compile={'on' if COMPILES else 'off'}", "model.attention=sdpa")
WORD = "compiled" if COMPILES else "eager"
RARELY = "training.log_every=1000000", "checkpoint.every=1000000"
"""Nothing is due in a benchmark, for which the results of a step would be read at once."""


def waiting(step: Callable[[], int]) -> Callable[[], int]:
    """The step; the host waits for the device after the last one of each round only, as it does in training."""
    calls = 0

    def timed_step() -> int:
        nonlocal calls
        residues, calls = step(), calls + 1
        if CUDA and (calls <= WARM or (calls - WARM) % STEPS == 0):
            torch.cuda.synchronize()
        return residues

    return timed_step


def library(sequences: str, batch: int, *overrides: str) -> Callable[[], int]:
    """A step of the library with sequences of `one` length or of `many`, after enough steps to have met all shapes.

    Raises:
        RuntimeError: if it was to be recorded, and could not be.
    """
    data = random_rows(SHAPE.length, count=1000) if sequences == "one" else many_lengths(20 * batch)
    trainer = make(SHAPE, data, batch, f"device.type={DEVICE.type}", *RARELY, *overrides)
    steps = trainer.steps()
    for _ in range(20 if CUDA else 3):
        next(steps)
    passes = trainer.train_step.recorded
    if "device.graphs=on" in overrides and (passes is None or passes.recorder is None):
        raise RuntimeError("the kernels of the step were not recorded")
    return waiting(lambda: next(steps).residues)


def many_lengths(count: int) -> list[np.ndarray]:
    """Sequences of log-normal lengths, whose median is a quarter of the longest."""
    random = np.random.default_rng(0)
    lengths = np.clip(random.lognormal(np.log(SHAPE.length / 4), 0.6, count), 8, SHAPE.length).astype(int)
    return [random.integers(0, 20, length).astype(np.uint8) for length in lengths]


def plain(batch: int) -> Callable[[], int]:
    """A step of the reference in float32."""
    loop = Reference(SHAPE, device=DEVICE.type)
    source: Iterator[Any] = ChunkedRows(random_rows(SHAPE.length, count=1000), SHAPE.length).batches(batch)
    return waiting(lambda: loop.step(*next(source))[1])


def peak() -> float:
    """bfloat16 operations per second of the best large matrix product."""
    size, best = 8192 if CUDA else 512, 0.0
    a, b = (torch.randn(size, size, device=DEVICE).bfloat16() for _ in range(2))
    for _ in range(20):
        began = time.perf_counter()
        (a @ b)[0, 0].item()  # waits for the device
        best = max(best, 2.0 * size**3 / (time.perf_counter() - began))
    return best


def once(step: Callable[[], int]) -> float:
    """Residues per second of one step."""
    began = time.perf_counter()
    return step() / (time.perf_counter() - began)


@dataclass
class Table:
    """The rows, printed one by one; ratios are to the first row of each question."""

    until: float
    """`time.monotonic()` after which nothing is begun."""
    top: float
    nominal: float | None
    left_out: list[str] = field(default_factory=list)
    _bases: dict[str, float] = field(default_factory=dict)

    def has_time(self, name: str) -> bool:
        """Whether something may begin; notes what may not."""
        if time.monotonic() < self.until:
            return True
        self.left_out.append(name)
        return False

    def row(self, question: str, name: str, rates: list[float], *, asked: float | None = None, memory: int = 0) -> None:
        """Print a row; `asked` is the share of residues that the loss evaluates, for the shares of the peak."""
        rate = median(rates)
        ratio = rate / self._bases.setdefault(question, rate)
        used = None if asked is None else rate * operations(SHAPE, asked=asked)
        shares = [f"{used / top:.1%}" if used and top else "-" for top in (self.top, self.nominal)]
        digits = ",.0f" if rate > 1000 else ".2f"
        spread = f"{rate:{digits}} ({min(rates):{digits}} to {max(rates):{digits}})"
        print(
            f"| {question} | {name} | {spread} | {ratio:.2f} | {shares[0]} | {shares[1]} | "
            f"{f'{memory / 2**30:.2f}' if memory else '-'} |",
            flush=True,
        )

    def training(self, question: str, name: str, build: Build, *, asked: float | None = None) -> None:
        """Measure a training step in a process of its own."""
        if not self.has_time(f"{question}: {name}"):
            return
        if not CUDA:
            self.row(question, name, [once(build[0](*build[1]))], asked=asked)
            return
        try:
            times = interleaved({name: build}, rounds=ROUNDS, steps=STEPS)[name]
        except (EOFError, OSError):
            print(f"| {question} | {name} | its process died, the error is above | - | - | - | - |", flush=True)
            return
        self.row(question, name, times.rates, asked=asked, memory=times.peak)


def steps(table: Table) -> None:
    """The rows of training, what matters most first."""
    size = 4 * BATCH
    mean = float(np.mean([len(row) for row in many_lengths(20 * size)]))
    residues = round(mean * size)
    budget = f"training.batch_residues={residues}"
    alike = max(1, round(residues / SHAPE.length))
    many, one, small = f"many lengths, {size} a step", f"one length, {size} a step", f"one length, {BATCH} a step"
    table.training(many, f"rows, {WORD}", (library, ("many", size, *FAST, ROWS, OFF)))
    table.training(many, f"packed, {WORD}, recorded", (library, ("many", size, *FAST, PACKED, RECORDED)))
    table.training(many, f"packed to {residues:,} residues, {WORD}, recorded",
                   (library, ("many", size, *FAST, PACKED, RECORDED, budget)))  # fmt: skip
    table.training(many, f"one length, {residues:,} residues, packed, {WORD}, recorded",
                   (library, ("one", alike, *FAST, PACKED, RECORDED)), asked=0.5)  # fmt: skip
    table.training(one, f"rows, {WORD}", (library, ("one", size, *FAST, ROWS, OFF)), asked=0.5)
    table.training(one, f"packed, {WORD}, recorded", (library, ("one", size, *FAST, PACKED, RECORDED)), asked=0.5)
    table.training(many, f"packed, {WORD}", (library, ("many", size, *FAST, PACKED, OFF)))
    table.training(many, "packed, eager, recorded", (library, ("many", size, *EAGER, PACKED, RECORDED)))
    table.training(small, "reference, float32", (plain, (BATCH,)), asked=1.0)
    table.training(small, f"rows, {WORD}", (library, ("one", BATCH, *FAST, ROWS, OFF)), asked=0.5)
    table.training(small, f"packed, {WORD}, recorded", (library, ("one", BATCH, *FAST, PACKED, RECORDED)), asked=0.5)


def untrained(*overrides: str) -> sedd.Trainer:
    """A trainer of the network of this benchmark, for evaluation and sampling."""
    return make(SHAPE, many_lengths(512 if CUDA else 40), BATCH, f"device.type={DEVICE.type}", *EAGER,
                "model.time_conditioning=false", *overrides)  # fmt: skip


def evaluation(table: Table) -> None:
    """Residues of the held-out bound per second, times its noise levels."""
    for name, overrides in (("rows", (ROWS, OFF)), ("packed, recorded", ("device.graphs=auto",))):
        if not table.has_time(f"evaluation: {name}"):
            continue
        trainer = untrained(*overrides, "data.holdout=0.5", "evaluation.masks=8", "evaluation.batch_size=64")
        rates = []
        for _ in range(3):
            began = time.perf_counter()
            bound = trainer.evaluate()
            rates.append(bound.residues * 8 / (time.perf_counter() - began))
        table.row("held-out bound", name, rates[1:])


def sampling(table: Table) -> None:
    """Sequences of 256 residues per second, untrained network."""
    length, count, rounds = (256, 64, 2) if CUDA else (16, 2, 1)
    for name in ("ancestral", "first_hitting"):
        for word, graphs in (("", OFF), (", recorded", "device.graphs=auto")):
            if not table.has_time(f"sampling: {name}{word}"):
                continue
            trainer = untrained(graphs, f"sampling.predictor={name}", f"sampling.batch_size={count}")
            rates = []
            for turn in range(rounds + 1):
                began = time.perf_counter()
                trainer.sample(count, length=length, seed=turn)
                rates.append(count / (time.perf_counter() - began))
            table.row(f"sampling, {length} residues, {count} at a time", f"{name}{word}", rates[1:])


def host(*overrides: str) -> None:
    """What the host does in a step: kernels and recordings that it starts, and calls that wait for the device."""
    count, batch = (10, 4 * BATCH) if CUDA else (3, BATCH)
    trainer = make(SHAPE, many_lengths(20 * batch), batch, f"device.type={DEVICE.type}", *RARELY, *overrides)
    reports = trainer.steps()
    for _ in range(20 if CUDA else 5):
        next(reports)
    activities = [torch.profiler.ProfilerActivity.CPU, *[torch.profiler.ProfilerActivity.CUDA] * CUDA]
    with torch.profiler.profile(activities=activities) as profile:
        for _ in range(count):
            next(reports)
    counts = {event.key: event.count for event in profile.key_averages() if event.key.startswith(("cuda", "cu"))}
    started = sum(number for name, number in counts.items() if "Launch" in name)
    waits = {name: number / count for name, number in counts.items() if "Synchronize" in name}
    print(f"| {', '.join(overrides[3:])} | {started / count:.1f} | {waits or 'none'} |", flush=True)


def numerics() -> bool:
    """Whether the losses of 50 steps are those of the CPU."""
    count = 50 if CUDA else 5
    size = () if CUDA else ("model.hidden_size=32", "model.n_blocks=1", "data.synthetic.sequences=400")

    def curve(*overrides: str) -> torch.Tensor:
        # Without a curriculum: at the start of its ramp all losses are small, and so are their differences.
        same = "training.compile=off", "curriculum.difficulty_ramp=constant"
        trainer = sedd.Trainer(sedd.load_config("quickstart", *same, *size, *overrides))
        return torch.tensor([report.loss for report, _ in zip(trainer.steps(), range(count), strict=False)])

    good = True
    print(f"\nLoss of {count} steps of quickstart against float32 on the CPU\n")
    print("| | largest difference, nats | mean | allowed |\n|---|---|---|---|")
    for layout in ("rows", "packed"):  # their batches differ
        expected = curve("device.type=cpu", "device.precision=float32", f"device.layout={layout}")
        for precision, allowed in TOLERANCE.items():
            for graphs in ("off", "auto") if layout == "packed" else ("off",):
                here = f"device.type={DEVICE.type}", f"device.precision={precision}", f"device.layout={layout}"
                gaps = (curve(*here, f"device.graphs={graphs}") - expected).abs()
                good = good and bool(gaps.max() <= allowed)
                name = f"{layout}, {precision}{', recorded' * (graphs == 'auto')}"
                print(f"| {name} | {gaps.max():.2g} | {gaps.mean():.2g} | {allowed} |", flush=True)
    return good


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--toy", action="store_true")
    parser.add_argument("--minutes", type=float, default=8.0)
    seconds = 60.0 * parser.parse_args().minutes
    until = time.monotonic() + (seconds if CUDA else float("inf"))
    name = torch.cuda.get_device_name() if CUDA else "on the CPU at toy size, for want of a GPU or by --toy"
    top, nominal = peak(), next((value for chip, value in NOMINAL.items() if chip in name), None)
    print(f"{name}; torch {torch.__version__}\n{SHAPE}\nmeasured bfloat16 peak: {top / 1e12:.3g} TFLOP/s", flush=True)
    if CUDA and not COMPILES:
        print(f"not compiled: torch needs {missing_compiler(DEVICE)}")
    # The last 40 seconds are for what is begun last, the 100 before for what follows the rows of training.
    table = Table(until - 140.0, top, nominal)
    print("\n| question | | per second, median (range) | ratio | of measured peak | of nominal peak | GiB |")
    print("|---|---|---|---|---|---|---|", flush=True)
    steps(table)
    table.until = until - 40.0
    sampling(table)
    evaluation(table)
    print("\n| a step of many lengths | kernels and recordings started | calls that wait |\n|---|---|---|")
    for graphs in (OFF, RECORDED):
        if table.has_time(f"calls of the host, {graphs}"):
            host(*FAST, PACKED, graphs)
    good = numerics() if table.has_time("numerics") else True
    if table.left_out:
        print(f"\nout of time, not measured: {'; '.join(table.left_out)}")
    sys.exit(not good)


if __name__ == "__main__":
    main()
