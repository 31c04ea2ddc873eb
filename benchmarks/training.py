"""How fast a training step is, against the plain float32 reference of `reference.py`, all in one interleaved run.

    python benchmarks/training.py step [--hidden 256 --blocks 6 --heads 4 --length 256 --batch 32] [--dropout]
    python benchmarks/training.py proteins FASTA [--cap 512]
    python benchmarks/training.py parts [--hidden 256 ...]
    python benchmarks/training.py scaling
    python benchmarks/training.py memory

`step`: rows of one length without pads. `proteins`: real lengths, useful residues per second. `parts`: where the time
of a step goes. `scaling`: other batches and lengths. `memory`: peak memory of the process, with and without activation
checkpointing. --toy makes everything small (and compiles in `step` alone), --rounds says how often, --float32 leaves
bfloat16 out.

The share of the ceiling is that of the operations in matrix products that were carried out (what is skipped, because
the loss does not look there, is not counted) over the best of several large matrix products in the same precision.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from interleaved import Build, Times, interleaved
from overhead import spent, timed
from reference import ChunkedRows, PaddedRows, Reference, Shape

import sedd
from sedd.training import step as training


def random_rows(length: int, *, count: int = 2000) -> list[np.ndarray]:
    """Proteins of one length, letters at random: what they are does not matter here."""
    return list(np.random.default_rng(0).integers(0, 20, (count, length)).astype(np.uint8))


def proteins(path: str) -> list[np.ndarray]:
    """The training part of a FASTA file, as ids."""
    data = sedd.data.open_data(sedd.load_config("small", f"data.train={path}").data, seed=0)
    return [np.array(data.train[index]) for index in range(len(data.train))]


def ours(shape: Shape, rows: list[np.ndarray], batch: int, *overrides: str, warm: int = 0) -> Callable[[], int]:
    """A step of the library: the whole of it, with loading, profile and state; after `warm` steps."""
    trainer = make(shape, rows, batch, *overrides)
    steps = trainer.steps()
    for _ in range(warm):
        next(steps)
    return lambda: next(steps).residues


def warmed(shape: Shape, rows: list[np.ndarray], batch: int, *overrides: str) -> Callable[[], int]:
    """The same when most widths of batches have been met: kernels are made for each, once in a run."""
    return ours(shape, rows, batch, *overrides, warm=min(200, len(rows) // batch))


def make(shape: Shape, rows: list[np.ndarray], batch: int, *overrides: str) -> sedd.Trainer:
    """A trainer that neither evaluates nor stops."""
    config = sedd.load_config(
        "small", f"model.hidden_size={shape.hidden_size}", f"model.n_blocks={shape.n_blocks}",
        f"model.n_heads={shape.n_heads}", f"model.cond_dim={shape.cond_dim}", f"model.length={shape.length}",
        f"model.dropout={shape.dropout}", f"training.batch_size={batch}", "training.n_iters=1000000",
        "training.eval_every=1000000000", "curriculum.preschool_time=0", "data.train=synthetic", *overrides,
    )  # fmt: skip
    return sedd.Trainer(config, data=rows)


def reference(kind: str, shape: Shape, rows: list[np.ndarray], batch: int) -> Callable[[], int]:
    """A step of the reference on `padded` or `chunked` rows."""
    loop = Reference(shape)
    make_rows = PaddedRows if kind == "padded" else ChunkedRows
    source: Iterator[Any] = make_rows(rows, shape.length).batches(batch)
    return lambda: loop.step(*next(source))[1]


def ceiling(dtype: torch.dtype, size: int) -> float:
    """Operations per second of the best large matrix product with this inner size."""
    best = 0.0
    for rows, inner, columns in ((8192, size, 4 * size), (8192, 4 * size, size), (4096, 4096, 4096)):
        a, b = torch.randn(rows, inner).to(dtype), torch.randn(inner, columns).to(dtype)
        for _ in range(6):
            began = time.perf_counter()
            a @ b
            best = max(best, 2 * rows * inner * columns / (time.perf_counter() - began))
    return best


def operations(shape: Shape, *, asked: float = 1.0) -> float:
    """Of all matrix products of a training step, per residue; `asked` is the share of residues the loss looks at."""
    d = shape.hidden_size
    block = 2 * 12 * d * d + 4 * shape.length * d
    saved = (1.0 - asked) * 2 * 8 * d * d
    return 3.0 * (shape.n_blocks * block - saved)


def table(found: dict[str, Times], shape: Shape, tops: dict[str, float], *, base: str) -> None:
    """Residues per second, ratios, shares of the ceiling."""
    print("| | residues/s, median (range) | ratio | share of the matmul ceiling | ready after, s |")
    print("|---|---|---|---|---|")
    for name, times in found.items():
        rate, rates = times.rate, times.rates
        top = tops["bfloat16" if "bfloat16" in name else "float32"]
        share = rate * operations(shape, asked=1.0 if name.startswith("reference") else 0.5) / top
        print(
            f"| {name} | {rate:,.0f} ({min(rates):,.0f} to {max(rates):,.0f}) | {rate / found[base].rate:.2f} | "
            f"{share:.0%} | {times.first:.0f} |"
        )


def step(shape: Shape, options: argparse.Namespace) -> None:
    """One length, no pads."""
    rows = random_rows(shape.length, count=200 if options.toy else 2000)
    size = options.batch
    contestants: dict[str, Build] = {"reference, float32": (reference, ("chunked", shape, rows, size))}
    for precision in options.precisions:
        for compiled in ("off", "on"):
            name = f"sedd, {precision}, {'compiled' if compiled == 'on' else 'eager'}"
            overrides = (f"device.precision={precision}", f"training.compile={compiled}")
            contestants[name] = (ours, (shape, rows, size, *overrides))
    if options.dropout:
        wet = Shape(**{**vars(shape), "dropout": 0.1})
        contestants["reference, float32, dropout 0.1"] = (reference, ("chunked", wet, rows, size))
        for compiled in ("off", "on"):
            overrides = ("device.precision=bfloat16", f"training.compile={compiled}")
            name = f"sedd, bfloat16, {'compiled' if compiled == 'on' else 'eager'}, dropout 0.1"
            contestants[name] = (ours, (wet, rows, size, *overrides))
    found = interleaved(contestants, rounds=options.rounds, steps=options.steps)
    tops = {name: ceiling(getattr(torch, name), shape.hidden_size) for name in ("bfloat16", "float32")}
    print(f"\n{shape}, batch {size}, {options.steps} steps a round, {torch.get_num_threads()} threads")
    print(f"ceiling: bfloat16 {tops['bfloat16'] / 1e9:.0f}, float32 {tops['float32'] / 1e9:.0f} GFLOP/s\n")
    table(found, shape, tops, base="reference, float32")


def on_proteins(shape: Shape, options: argparse.Namespace) -> None:
    """Real lengths."""
    rows = proteins(options.fasta)
    size = options.batch
    contestants: dict[str, Build] = {
        "reference, padded": (reference, ("padded", shape, rows, size)),
        "reference, chunked": (reference, ("chunked", shape, rows, size)),
        "sedd, eager": (warmed, (shape, rows, size, "training.compile=off")),
    }
    if not options.toy:
        contestants["sedd, compiled"] = (warmed, (shape, rows, size, "training.compile=on"))
    found = interleaved(contestants, rounds=options.rounds, steps=options.steps)
    print(f"\n{shape}, batch {size}, {options.steps} steps a round, {torch.get_num_threads()} threads\n")
    print("| | useful residues/s, median (range) | to padded | to chunked | ready after, s |")
    print("|---|---|---|---|---|")
    padded, chunked = found["reference, padded"].rate, found["reference, chunked"].rate
    for name, times in found.items():
        rate, rates = times.rate, times.rates
        print(
            f"| {name} | {rate:,.0f} ({min(rates):,.0f} to {max(rates):,.0f}) | {rate / padded:.2f} | "
            f"{rate / chunked:.2f} | {times.first:.0f} |"
        )
    pads(shape, rows, size)


def pads(shape: Shape, rows: list[np.ndarray], batch: int) -> None:
    """The share of positions that are pads, over the first 500 steps."""
    trainer = make(shape, rows, batch, "training.compile=off")
    cursor, residues, positions = trainer.state.cursor, 0, 0
    for _ in range(500):
        plan, cursor = trainer.batches.at(cursor)
        for part in plan.parts():
            widest = min(shape.length, -(-int(part.lengths.max()) // 8) * 8)
            residues, positions = residues + part.residues, positions + widest * len(part)
    print(f"\npads: {1 - residues / positions:.1%} of the positions computed, over 500 steps")


def parts(shape: Shape, options: argparse.Namespace) -> None:
    """Where the time of a step goes."""
    for compiled in ("off",) if options.toy else ("off", "on"):
        trainer = make(shape, random_rows(shape.length), options.batch, f"training.compile={compiled}")
        steps = trainer.steps()
        next(steps), next(steps)
        originals = vars(training)["score_entropy_loss"], torch.Tensor.backward
        vars(training)["score_entropy_loss"] = timed("forward and loss", originals[0])
        torch.Tensor.backward = timed("backward", torch.Tensor.backward)  # type: ignore[method-assign]  # a stopwatch
        for name, owner, method in (
            ("waiting for data", trainer, "loader"), ("clipping", trainer.parallel, "clip_grad_norm_"),
            ("optimizer", trainer.optimizer, "step"), ("average of the weights", trainer.ema, "update"),
        ):  # fmt: skip
            setattr(owner, method, timed(name, getattr(owner, method)))
        spent.clear()
        rows = []
        for _ in range(options.rounds):
            began = time.perf_counter()
            next(steps)
            rows.append({**spent, "whole step": time.perf_counter() - began})
            spent.clear()
        vars(training)["score_entropy_loss"], torch.Tensor.backward = originals  # type: ignore[method-assign]  # put back
        whole = median(row["whole step"] for row in rows)
        print(
            f"\n{shape}, batch {options.batch}, compile {compiled}: {whole:.3f} s a step\n\n| part | share |\n|---|---|"
        )
        rest = whole
        for name in [name for name in rows[0] if name != "whole step"]:
            value = median(row[name] for row in rows)
            rest -= value
            print(f"| {name} | {value / whole:.1%} |")
        print(f"| everything else (reports, profile, state) | {rest / whole:.1%} |")


def scaling(shape: Shape, options: argparse.Namespace) -> None:
    """Other batches and lengths, each beside the reference."""
    print("| batch | length | reference, residues/s | sedd, residues/s | ratio |\n|---|---|---|---|---|")
    sizes = ((2, 32),) if options.toy else ((8, 256), (32, 256), (128, 256), (64, 128), (16, 512), (8, 1024))
    for batch, length in sizes:
        at = Shape(**{**vars(shape), "length": length})
        rows = random_rows(length, count=1000)
        found = interleaved(
            {
                "reference": (reference, ("chunked", at, rows, batch)),
                "sedd": (ours, (at, rows, batch, "training.compile=off" if options.toy else "training.compile=on")),
            },
            rounds=options.rounds,
        )
        first, second = found["reference"].rate, found["sedd"].rate
        print(f"| {batch} | {length} | {first:,.0f} | {second:,.0f} | {second / first:.2f} |", flush=True)


def memory(shape: Shape, options: argparse.Namespace) -> None:
    """Peak memory of the process."""
    rows = random_rows(shape.length, count=100)
    compiled = "off" if options.toy else "on"
    contestants: dict[str, Build] = {"reference": (reference, ("chunked", shape, rows, options.batch))}
    for name, overrides in (
        ("sedd, eager", ("training.compile=off",)),
        ("sedd, compiled", (f"training.compile={compiled}",)),
        ("sedd, eager, activation checkpointing", ("training.compile=off", "training.activation_checkpointing=true")),
    ):
        contestants[name] = (ours, (shape, rows, options.batch, *overrides))
    found = interleaved(contestants, rounds=min(2, options.rounds))
    print(f"\n{shape}, batch {options.batch}\n\n| | peak memory, GiB | ratio |\n|---|---|---|")
    for name, times in found.items():
        print(f"| {name} | {times.peak / 2**30:.2f} | {times.peak / found['reference'].peak:.2f} |")


def main() -> None:
    """Parse, run one table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("step", "proteins", "parts", "scaling", "memory"))
    parser.add_argument("fasta", nargs="?")
    for name, value in (("hidden", 256), ("blocks", 6), ("heads", 4), ("length", 256), ("batch", 32), ("rounds", 7)):
        parser.add_argument(f"--{name}", type=int, default=value)
    parser.add_argument("--cap", type=int, default=512, help="proteins: longest sequence")
    parser.add_argument("--steps", type=int, default=4, help="step and proteins: steps in a round")
    parser.add_argument("--precisions", nargs="+", default=["bfloat16", "float32"])
    for name in ("dropout", "toy"):
        parser.add_argument(f"--{name}", action="store_true")
    options = parser.parse_args()
    if options.toy:
        options.hidden, options.blocks, options.heads, options.length, options.batch = 32, 2, 2, 32, 4
        options.cap, options.rounds, options.steps = 32, 2, 1
    if options.what == "proteins" and (options.fasta is None or not Path(options.fasta).exists()):
        parser.error("proteins needs a FASTA file")
    length = options.cap if options.what == "proteins" else options.length
    shape = Shape(options.hidden, options.blocks, options.heads, length)
    tables = {"step": step, "proteins": on_proteins, "parts": parts, "scaling": scaling, "memory": memory}
    tables[options.what](shape, options)


if __name__ == "__main__":
    main()
