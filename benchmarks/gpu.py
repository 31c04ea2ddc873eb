"""Everything to know of one GPU in one go: the step, its share of the chip's peak, memory, sampling, and the numerics.

    python benchmarks/gpu.py [--toy]

Width 768, 12 blocks, length 1,024, batches of 16 and 64, then sequences of many lengths, in rows and packed, and what
the host does in a packed step; minutes on an H100. Without a GPU, or with --toy, it is at toy size, to show that it
runs. Contestants are timed in turn, in processes of their own.
The share of the peak counts the operations in matrix products that were carried out, over the best large product
measured now, and over what the maker promises. Exits with 1 if the losses of 50 steps from the same seed differ from
those of float32 on the CPU by more than the tolerance.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Iterator
from statistics import median
from typing import Any

import numpy as np
import torch
from interleaved import Build, Times, interleaved
from reference import ChunkedRows, Reference, Shape

import sedd
from sedd.sampling.generation import Generation
from sedd.training.compiling import missing_compiler
from training import make, operations, ours, random_rows

NOMINAL = {"H100": 989e12, "H200": 989e12, "A100": 312e12}
"""Dense bfloat16 of the SXM modules, operations per second (NVIDIA's data sheets)."""
TOLERANCE = {"float32": 0.005, "bfloat16": 0.05}
"""Nats per residue, of any of the 50 losses; they are 1 to 3 nats."""
CUDA = torch.cuda.is_available() and "--toy" not in sys.argv
"""The processes of the contestants are given the same arguments, and decide alike."""
DEVICE = torch.device("cuda" if CUDA else "cpu")
SHAPE = Shape(768, 12, 12, 1024) if CUDA else Shape(32, 2, 2, 32)
BATCH, ROUNDS, STEPS = (16, 5, 5) if CUDA else (4, 2, 1)
WARM = 2
"""Steps of a contestant before its first round."""
HALF = "device.precision=bfloat16"
RARELY = "training.log_every=1000000", "checkpoint.every=1000000"
"""Nothing is due in a benchmark, for which the results of a step would be read at once."""


def waiting(step: Callable[[], int]) -> Callable[[], int]:
    """The step; the host waits for the device after the last one of each round only, as it does in training."""
    calls = 0

    def whole() -> int:
        nonlocal calls
        residues, calls = step(), calls + 1
        if CUDA and (calls <= WARM or (calls - WARM) % STEPS == 0):
            torch.cuda.synchronize()
        return residues

    return whole


def library(batch: int, *overrides: str) -> Callable[[], int]:
    """A step of the library."""
    options = (f"device.type={DEVICE.type}", *RARELY, *overrides)
    return waiting(ours(SHAPE, random_rows(SHAPE.length, count=1000), batch, *options))


def many_lengths(count: int) -> list[np.ndarray]:
    """Sequences of log-normal lengths, whose median is a quarter of the longest."""
    random = np.random.default_rng(0)
    lengths = np.clip(random.lognormal(np.log(SHAPE.length / 4), 0.6, count), 8, SHAPE.length).astype(int)
    return [random.integers(0, 20, length).astype(np.uint8) for length in lengths]


def mixed(batch: int, *overrides: str) -> Callable[[], int]:
    """A step with sequences of many lengths; after enough steps to have met most widths."""
    warm = 20 if CUDA else 0
    options = (f"device.type={DEVICE.type}", *RARELY, *overrides)
    return waiting(ours(SHAPE, many_lengths(20 * batch), batch, *options, warm=warm))


def plain(batch: int, matmul: str) -> Callable[[], int]:
    """A step of the reference: `highest` is float32, `high` is TF32 where there is such a thing."""
    torch.set_float32_matmul_precision(matmul)
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


def table(title: str, contestants: dict[str, Build], *, top: float, nominal: float | None) -> None:
    """Time them in turn; a contestant that dies (out of memory) takes its table with it, not the others.

    Where lengths differ no share is shown: the operations of attention depend on them.
    """
    print(f"\n{title}\n", flush=True)
    try:
        found: dict[str, Times] = interleaved(contestants, rounds=ROUNDS, steps=STEPS)
    except (EOFError, OSError):
        print("one of the processes died; its error is above")
        return
    print("| | residues/s, median (range) | ratio | of the measured peak | of the nominal peak | peak memory, GiB |")
    print("|---|---|---|---|---|---|")
    base = next(iter(found.values()))
    for name, times in found.items():
        used = times.rate * operations(SHAPE, asked=1.0 if name.startswith("reference") else 0.5)
        equal = contestants[name][0] is not mixed
        print(
            f"| {name} | {times.rate:,.0f} ({min(times.rates):,.0f} to {max(times.rates):,.0f}) | "
            f"{times.rate / base.rate:.2f} | {f'{used / top:.1%}' if equal else '-'} | "
            f"{f'{used / nominal:.1%}' if nominal and equal else '-'} | {times.peak / 2**30:.2f} |",
            flush=True,
        )


def host(*overrides: str) -> None:
    """What the host does in a step: kernels that it starts, and calls in which it waits for the device."""
    steps, batch = (10, 4 * BATCH) if CUDA else (3, BATCH)
    trainer = make(SHAPE, many_lengths(20 * batch), batch, f"device.type={DEVICE.type}", *RARELY, *overrides)
    reports = trainer.steps()
    for _ in range(5):
        next(reports)
    activities = [torch.profiler.ProfilerActivity.CPU, *[torch.profiler.ProfilerActivity.CUDA] * CUDA]
    with torch.profiler.profile(activities=activities) as profile:
        for _ in range(steps):
            next(reports)
    print(f"\nCalls of the host in a step, packed, {'compiled' if trainer.compiled else 'eager'}\n")
    print("| call | per step |\n|---|---|")
    counts = {event.key: event.count for event in profile.key_averages() if event.key.startswith(("cuda", "cu"))}
    waits = {name: count for name, count in counts.items() if "Synchronize" in name}
    launches = sum(count for name, count in counts.items() if "Launch" in name)
    print(f"| kernels and graphs started | {launches / steps:.1f} |")
    for name, count in waits.items():
        print(f"| {name} | {count / steps:.1f} |", flush=True)


def sampling() -> None:
    """Sequences of 256 residues per second."""
    length, count, rounds = (256, 64, 3) if CUDA else (16, 2, 2)
    config = sedd.load_config(
        "small", "data.train=synthetic", f"model.hidden_size={SHAPE.hidden_size}", f"model.n_blocks={SHAPE.n_blocks}",
        f"model.n_heads={SHAPE.n_heads}", f"device.type={DEVICE.type}", HALF, "data.synthetic.sequences=400",
        "training.compile=off", "model.time_conditioning=false",
    )  # fmt: skip
    trainer = sedd.Trainer(config)
    generation = Generation(
        config,
        trainer.ema.network.eval(),
        trainer.process,
        trainer.backend,
        trainer.device,
        trainer.data.alphabet,
        trainer.lengths,
    )
    spent: dict[str, list[float]] = {"first_hitting": [], "ancestral": []}
    for turn in range(rounds + 1):
        for name, seconds in spent.items():
            began = time.perf_counter()
            options: Any = {"predictor": name, "batch_size": count}
            generation.texts(generation.sample(count, length=length, seed=turn, **options))
            seconds.append(time.perf_counter() - began)
    print(f"\nSampling, {length} residues, {count} at a time, untrained network\n")
    print("| predictor | sequences/s, median (range) | ratio |\n|---|---|---|")
    rates = {name: sorted(count / each for each in seconds[1:]) for name, seconds in spent.items()}
    for name, found in rates.items():
        ratio = median(found) / median(rates["ancestral"])
        print(f"| {name} | {median(found):.2f} ({found[0]:.2f} to {found[-1]:.2f}) | {ratio:.2f} |", flush=True)


def numerics() -> bool:
    """Whether the losses of 50 steps are those of the CPU."""
    steps = 50 if CUDA else 5
    size = () if CUDA else ("model.hidden_size=32", "model.n_blocks=1", "data.synthetic.sequences=400")

    def curve(*overrides: str) -> torch.Tensor:
        # Without a curriculum: at the start of its ramp all losses are small, and so are their differences.
        same = "training.compile=off", "curriculum.difficulty_ramp=constant"
        config = sedd.load_config("quickstart", *same, *size, *overrides)
        return torch.tensor(
            [report.loss for report, _ in zip(sedd.Trainer(config).steps(), range(steps), strict=False)]
        )

    expected, good = curve("device.type=cpu", "device.precision=float32", "device.layout=rows"), True
    print(f"\nLoss of {steps} steps of quickstart against float32 on the CPU\n")
    print("| precision | largest difference, nats | mean | allowed |\n|---|---|---|---|")
    for layout in ("rows", "packed"):
        if layout == "packed":  # its batches are others
            expected = curve("device.type=cpu", "device.precision=float32", "device.layout=packed")
        for precision, allowed in TOLERANCE.items():
            here = (f"device.type={DEVICE.type}", f"device.precision={precision}", f"device.layout={layout}")
            gaps = (curve(*here) - expected).abs()
            good = good and bool(gaps.max() <= allowed)
            print(f"| {precision}, {layout} | {gaps.max():.2g} | {gaps.mean():.2g} | {allowed} |", flush=True)
    return good


def main() -> None:
    """Print all tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--toy", action="store_true")
    parser.parse_args()
    name = torch.cuda.get_device_name() if CUDA else "on the CPU at toy size, for want of a GPU or by --toy"
    top, nominal = peak(), next((value for chip, value in NOMINAL.items() if chip in name), None)
    print(f"{name}; torch {torch.__version__}\n{SHAPE}\nmeasured bfloat16 peak: {top / 1e12:.3g} TFLOP/s", flush=True)
    missing = missing_compiler(DEVICE)
    compiles = CUDA and not missing  # at toy size compiling would take longer than all the rest
    if CUDA and missing:
        print(f"not compiled: torch needs {missing}")
    best = "training.compile=on" if compiles else "training.compile=off"
    word = "compiled" if compiles else "eager"
    eager = (HALF, "training.compile=off")
    first: dict[str, Build] = {
        "reference, float32": (plain, (BATCH, "highest")),
        "reference, TF32": (plain, (BATCH, "high")),
        "sedd, attention by products, eager": (library, (BATCH, *eager, "model.attention=matmul")),
        "sedd, eager": (library, (BATCH, *eager, "model.attention=sdpa")),
    }
    fast = (HALF, best, "model.attention=sdpa")
    if compiles:
        first["sedd, compiled"] = (library, (BATCH, *fast))
    batches: dict[str, Build] = {f"{word}, batch {size}": (library, (size, *fast)) for size in (BATCH, 4 * BATCH)}
    size = 4 * BATCH
    residues = round(float(np.mean([len(row) for row in many_lengths(20 * size)])) * size)
    rows, packed = "device.layout=rows", "device.layout=packed"
    lengths: dict[str, Build] = {
        f"{word}, rows, batch {size}": (mixed, (size, *fast, rows)),
        f"{word}, packed, batch {size}": (mixed, (size, *fast, packed)),
        f"{word}, packed, {residues:,} residues": (mixed, (size, *fast, packed, f"training.batch_residues={residues}")),
        f"{word}, one length, {residues:,} residues": (library, (max(1, round(residues / SHAPE.length)), *fast, rows)),
    }
    if compiles:
        lengths[f"eager, packed, batch {size}"] = (mixed, (size, *eager, "model.attention=sdpa", packed))
    table(f"The step, batch {BATCH}", first, top=top, nominal=nominal)
    table("A larger batch", batches, top=top, nominal=nominal)
    table("Many lengths", lengths, top=top, nominal=nominal)
    host(*fast, packed)
    sampling()
    good = numerics()
    sys.exit(not good)


if __name__ == "__main__":
    main()
