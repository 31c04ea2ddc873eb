"""Muon against AdamW at equal steps and at equal time, each with the best of four learning rates.

    python benchmarks/optimizers.py [--proteins FASTA] [--text TRAIN.txt TEST.txt] [--steps 300] [--seeds 1 2 3]

Sources are the built-in one of the quickstart, and the files that are named. The learning rate of each optimizer is
chosen by its bound with seed 0, and compared with the other seeds. A seed draws initial weights, order and noise, and
of the built-in source the sequences. The time of a step is measured first, in CPU seconds, both optimizers in turns; at
equal time AdamW has as many more steps. `--variants` adds other settings, at the best rate of their optimizer. `--rate`
is used instead of choosing one; then only the variants are measured, at equal steps.

Prints bounds of the averaged weights, nats per residue, on held-out sequences in float32, and differences to AdamW that
are paired by sequence and mask: of each seed with ± over its sequences, and their mean with ± over the seeds (halves of
95 % intervals, Student's t). Results are appended to optimizers.jsonl in the current directory: interrupt it and start
it again, it goes on. After `--minutes` no run is begun any more.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

import sedd
from sedd.diffusion.process import Process
from sedd.evaluation.estimator import Estimator
from sedd.evaluation.intervals import plus_minus, student
from sedd.evaluation.paired import Paired, paired_difference
from sedd.plugins.backends import Cpu

Record = dict[str, Any]
RESULTS = Path("optimizers.jsonl")
RATES = {"AdamW": (5e-4, 1e-3, 2e-3, 4e-3), "Muon": (1e-3, 2e-3, 4e-3, 8e-3)}
"""Powers of two around the best one."""
METHODS = {"AdamW": ("optim.optimizer=AdamW",), "Muon": ("optim.optimizer=Muon",)}
VARIANTS = {
    "AdamW, wsd": (*METHODS["AdamW"], "lr_schedule.type=wsd"),
    "AdamW, qk_norm": (*METHODS["AdamW"], "model.qk_norm=true"),
    "Muon, wsd": (*METHODS["Muon"], "lr_schedule.type=wsd"),
    "Muon, qk_norm": (*METHODS["Muon"], "model.qk_norm=true"),
    "Muon, the rest at a quarter": (
        *METHODS["Muon"],
        "optim.groups=[{pattern: 'blocks.*.attn_*'}, {pattern: 'blocks.*.mlp.*.weight'}, "
        "{pattern: '*', lr_factor: 0.25}]",
    ),
    "Muon, conditioning too": (
        *METHODS["Muon"],
        "optim.groups=[{pattern: 'blocks.*.adaLN_modulation.weight', optimizer: Muon}]",
    ),
}
NETWORK = (
    "model.hidden_size=96", "model.cond_dim=32", "model.n_blocks=3", "model.n_heads=3", "model.length=128",
    "training.batch_size=32", "training.compile=off", "ema.decay=0.99",
)  # fmt: skip
BUILT_IN = (
    "data.synthetic.sequences=5000", "data.synthetic.order=5.0",
    "data.synthetic.min_length=20", "data.synthetic.max_length=60",
)  # fmt: skip
"""Shorter and with stronger correlations than in the quickstart, so that some hundred small steps leave the plateau."""
TOY = ("model.hidden_size=16", "model.cond_dim=8", "model.n_blocks=1", "model.n_heads=2", "training.batch_size=4")


def sources(options: argparse.Namespace) -> dict[str, tuple[str, ...]]:
    """Overrides by source."""
    found: dict[str, tuple[str, ...]] = {"built-in": BUILT_IN}
    if options.proteins:
        found["proteins"] = (f"data.train={options.proteins}", "data.holdout=0.02")
    if options.text:
        train, test = options.text
        found["text"] = (f"data.train={train}", f"data.valid={test}", "data.alphabet=text", "data.chunk_length=128")
    return {name: found[name] for name in options.sources or found}


def made(source: tuple[str, ...], method: str, lr: float, seed: int, steps: int, *, toy: bool) -> sedd.Trainer:
    """A trainer whose clocks are fractions of its steps."""
    clocks = (
        f"training.n_iters={steps}", f"optim.warmup={max(1, steps // 10)}",
        f"curriculum.preschool_time={max(1, steps // 10)}", "training.eval_every=1000000000",
    )  # fmt: skip
    settings = (METHODS | VARIANTS)[method]
    overrides = (*NETWORK, *(TOY if toy else ()), *source, *clocks, *settings, f"optim.lr={lr}", f"seed={seed}")
    return sedd.Trainer(sedd.load_config("quickstart", *overrides))


def measure(name: str, source: tuple[str, ...], method: str, lr: float, seed: int, steps: int, *, toy: bool) -> Record:
    """Train, and measure the bound of every held-out sequence."""
    trainer = made(source, method, lr, seed, steps, toy=toy)
    began = time.process_time()
    skipped = sum(report.skipped for report in trainer.steps())
    seconds = time.process_time() - began
    backend = Cpu(precision="float32")
    process = Process.of(trainer.config, trainer.data.alphabet.n)
    length, count = trainer.config.model.length, 20 if toy else 200
    estimate = Estimator(
        trainer.data.valid, process, backend, backend.device(), length, count=count, masks=4, batch_size=50
    )
    bound, contributions = estimate.with_sequences(trainer.ema.network)
    return {
        "source": name, "method": method, "lr": lr, "seed": seed, "steps": steps, "bound": bound.nats,
        "half_width": bound.half_width, "cpu_seconds": seconds, "skipped": skipped,
        "values": contributions.values.mean(1).tolist(), "residues": contributions.residues.tolist(),
    }  # fmt: skip


def time_ratio(name: str, source: tuple[str, ...], *, toy: bool) -> Record:
    """CPU seconds of ten steps of each optimizer, in turns: the median of Muon over that of AdamW."""
    rounds, size = (2, 2) if toy else (7, 10)
    trainers = {method: made(source, method, 1e-3, 0, 1000, toy=toy) for method in METHODS}
    reports = {method: trainer.steps() for method, trainer in trainers.items()}
    seconds: dict[str, list[float]] = {method: [] for method in METHODS}
    for number in range(rounds + 1):
        for method, steps in reports.items():
            began = time.process_time()
            for _ in range(size):
                next(steps)
            if number:  # the first round warms up
                seconds[method].append((time.process_time() - began) / size)
    medians = {method: statistics.median(values) for method, values in seconds.items()}
    ratios = [muon / adamw for adamw, muon in zip(*seconds.values(), strict=True)]
    return {
        "source": name, "method": "time", "seconds": medians, "ratio": medians["Muon"] / medians["AdamW"],
        "ratios": ratios,
    }  # fmt: skip


class Results:
    """The records of the file, and of what is run now."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.options, self.ends = options, time.monotonic() + 60 * options.minutes
        lines = RESULTS.read_text().splitlines() if RESULTS.exists() else []
        self.records: list[Record] = [json.loads(line) for line in lines]

    def find(self, source: str, **wanted: Any) -> Record | None:
        """The record with these values."""
        wanted = {"source": source} | wanted
        return next((r for r in self.records if wanted.items() <= r.items()), None)

    def run(self, name: str, source: tuple[str, ...], method: str, lr: float, seed: int, steps: int) -> Record | None:
        """The record of a run, trained now if it is not there; None if there is no time left."""
        found = self.find(name, method=method, lr=lr, seed=seed, steps=steps)
        if found is None and time.monotonic() < self.ends:
            found = self.add(measure(name, source, method, lr, seed, steps, toy=self.options.toy))
        return found

    def ratio(self, name: str, source: tuple[str, ...]) -> Record:
        """The record of the time of a step."""
        return self.find(name, method="time") or self.add(time_ratio(name, source, toy=self.options.toy))

    def add(self, record: Record) -> Record:
        """Append a record to the file."""
        self.records.append(record)
        with RESULTS.open("a") as file:
            file.write(json.dumps(record) + "\n")
        shown = {key: value for key, value in record.items() if key not in ("values", "residues")}
        print(json.dumps(shown), flush=True)
        return record


def best_rate(results: Results, name: str, source: tuple[str, ...], method: str) -> float | None:
    """The learning rate with the best bound of seed 0; None if not all are measured."""
    found = [results.run(name, source, method, lr, 0, results.options.steps) for lr in RATES[method]]
    complete = [record for record in found if record is not None]
    if len(complete) < len(found):
        return None
    return float(min(complete, key=lambda record: record["bound"])["lr"])


def pairs(
    results: Results, name: str, source: tuple[str, ...], method: str, rates: tuple[float, float], steps: int
) -> Iterator[Paired]:
    """`method` minus AdamW, of each seed; AdamW with `steps`."""
    for seed in results.options.seeds:
        records = (
            results.run(name, source, method, rates[1], seed, results.options.steps),
            results.run(name, source, "AdamW", rates[0], seed, steps),
        )
        first, second = records
        if first is not None and second is not None:
            yield paired_difference(first["values"], second["values"], first["residues"])


def row(comparison: str, differences: list[Paired]) -> str:
    """A row of the table: the difference of each seed, and the mean over the seeds."""
    if not differences:
        return f"| {comparison} | not measured | |"
    values = [difference.nats for difference in differences]
    half = float("inf")
    if values[1:]:
        half = student(len(values) - 1) * statistics.stdev(values) / len(values) ** 0.5
    each = ", ".join(plus_minus(difference.nats, difference.half_width) for difference in differences)
    return f"| {comparison} | {each} | {plus_minus(statistics.mean(values), half)} |"


def compare_variants(
    results: Results, name: str, source: tuple[str, ...], rates: dict[str, float], lines: list[str]
) -> None:
    """Print the table of differences: rows so far, and one for each variant."""
    options = results.options
    for variant in options.variants:
        rate = rates["Muon" if variant.startswith("Muon") else "AdamW"]
        found = list(pairs(results, name, source, variant, (rates["AdamW"], rate), options.steps))
        lines = [*lines, row(f"{variant} - AdamW, equal steps", found)]
    print(f"| | seeds {', '.join(map(str, options.seeds))} | mean |\n|---|---|---|")
    print("\n".join(lines), flush=True)


def compare(results: Results, name: str, source: tuple[str, ...]) -> None:
    """Measure one source, and print its tables."""
    options = results.options
    if options.rate is not None:
        print(f"\n## {name}\n\nLearning rate {options.rate:g}, {options.steps} steps.\n")
        compare_variants(results, name, source, dict.fromkeys(METHODS, options.rate), [])
        return
    ratio = results.ratio(name, source)
    longer = round(options.steps * max(1.0, ratio["ratio"]))
    rates = {method: best_rate(results, name, source, method) for method in METHODS}
    print(f"\n## {name}\n\n| lr, seed 0 | " + " | ".join(METHODS) + " |\n|---|---|---|")
    for lr in sorted({lr for of_method in RATES.values() for lr in of_method}):
        found = [results.find(name, method=method, lr=lr, seed=0, steps=options.steps) for method in METHODS]
        cells = ["" if r is None else f"{r['bound']:.4f} ± {r['half_width']:.4f}" for r in found]
        print(f"| {lr:g} | {' | '.join(cells)} |")
    low, high = min(ratio["ratios"]), max(ratio["ratios"])
    print(f"\nA step with Muon takes {ratio['ratio']:.2f} times as long ({low:.2f} to {high:.2f} in single rounds).")
    adamw, muon = rates["AdamW"], rates["Muon"]
    if adamw is None or muon is None:
        return
    print(f"Learning rates {adamw:g} (AdamW) and {muon:g} (Muon); {options.steps} steps.\n")
    equal = list(pairs(results, name, source, "Muon", (adamw, muon), options.steps))
    longer_pairs = list(pairs(results, name, source, "Muon", (adamw, muon), longer))
    lines = [
        row("Muon - AdamW, equal steps", equal), row(f"Muon - AdamW with {longer} steps, equal time", longer_pairs)
    ]  # fmt: skip
    compare_variants(results, name, source, {"AdamW": adamw, "Muon": muon}, lines)


def main() -> None:
    """Run what is not there yet, then print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--proteins", metavar="FASTA")
    parser.add_argument("--text", nargs=2, metavar=("TRAIN", "TEST"))
    parser.add_argument("--sources", nargs="+", help="those to measure, in this order; all by default")
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--minutes", type=float, default=1e9, help="no run is begun after this time")
    parser.add_argument("--variants", nargs="+", default=[], choices=list(VARIANTS), help="also these")
    parser.add_argument("--rate", type=float, help="the learning rate of all")
    parser.add_argument("--toy", action="store_true")
    options = parser.parse_args()
    if options.toy:
        options.steps, options.seeds = 4, [1, 2]
    warnings.simplefilter("ignore", sedd.SeddWarning)
    print(f"{torch.get_num_threads()} threads, torch {torch.__version__}", flush=True)
    results = Results(options)
    for name, source in sources(options).items():
        compare(results, name, source)


if __name__ == "__main__":
    main()
