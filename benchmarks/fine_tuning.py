"""Fine-tuning a small model against low-rank changes and against training from nothing, by number of sequences.

    python benchmarks/fine_tuning.py PARENT FAMILY.fasta [--steps 200] [--counts 50 500 all] [--seeds 3]

PARENT is a run, such as of `sedd train small data.train=proteins.fasta.gz`. The sequences of the family are cut by a
hash into training (70 %), validation (10 %) and test (20 %). Every run takes as many optimizer steps, which cost the
same; its checkpoint is the one with the best bound on the validation part, and the table has its bound on the test
part, nats per residue: mean over seeds, ± half of a 95 % interval from the scatter of the seeds (t distribution). A
seed draws the training sequences, the order, the noise and the initial weights.

Results are appended to fine_tuning.jsonl in the current directory: interrupt it and start it again, it goes on.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import statistics
import time
import warnings
from pathlib import Path
from typing import Any

import sedd
from sedd.data import open_data

Record = dict[str, Any]
RESULTS, RUNS = Path("fine_tuning.jsonl"), Path("runs/fine-tuning")
METHODS = {
    "scratch": ("optim.lr=1e-3",),
    "full": ("optim.lr=3e-4", "curriculum={difficulty_ramp: constant}"),
    "lora": ("optim.lr=3e-3", "curriculum={difficulty_ramp: constant}", "model.lora={rank: 8}"),
}
"""What differs between the methods; fixed before anything was measured."""
T_975 = {2: 12.706, 3: 4.303, 4: 3.182, 5: 2.776}
"""Quantiles of the t distribution by number of seeds."""


def parts(file: str, length: int) -> dict[str, list[str]]:
    """The first `length` residues of the sequences of a FASTA file, parted by a hash of each sequence."""
    data = open_data(sedd.Config(data={"train": file, "holdout": 1e-9}).data, seed=0)
    found: dict[str, list[str]] = {"train": [], "valid": [], "test": []}
    for index in range(len(data.train)):
        text = data.alphabet.decode(data.train[index])
        share = int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "big") / 2**32
        found["train" if share < 0.7 else "valid" if share < 0.8 else "test"].append(text[:length])
    return found


def fasta(path: Path, texts: list[str]) -> str:
    """Write a FASTA file; returns its name."""
    path.write_text("".join(f">{number}\n{text}\n" for number, text in enumerate(texts)))
    return str(path)


def measure(
    parent: str, found: dict[str, list[str]], method: str, count: int, seed: int, options: argparse.Namespace
) -> Record:
    """Train one run, and return its bound on the test part."""
    folder = RUNS / f"{method}-{count}-{seed}"
    folder.mkdir(parents=True, exist_ok=True)
    order = sorted(found["train"], key=lambda text: hashlib.sha256(f"{seed} {text}".encode()).digest())
    overrides = [
        *METHODS[method],
        *([] if method == "scratch" else [f"training.init_from={parent}"]),
        f"data.train={fasta(folder / 'train.fasta', order[:count])}",
        f"data.valid={fasta(folder / 'valid.fasta', found['valid'][:100])}",
        f"training.n_iters={options.steps}", f"training.eval_every={max(1, options.steps // 10)}",
        f"training.batch_size={options.batch}", f"model.length={options.length}", f"seed={seed}",
        "lr_schedule.type=cosine", "optim.warmup=20", "ema.decay=0.99", "sampling.at_steps=[]",
        "evaluation.sequences=100", "evaluation.masks=2", "evaluation.train_sequences=0",
    ]  # fmt: skip
    if method == "scratch":
        overrides.append(f"curriculum.preschool_time={options.steps // 4}")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", sedd.SeddWarning)
        config = sedd.load_config(f"{parent}/config.yaml", *overrides)
        began = time.perf_counter()
        trainer = sedd.Trainer(config, run=folder / "run", resume=True)
        trainer.fit(progress=False)
        minutes = (time.perf_counter() - began) / 60
        model = sedd.load(folder / "run")
    bound = model.nelbo(found["test"][: options.test], masks=4)
    trained = sum(parameter.numel() for parameter in trainer.network.parameters() if parameter.requires_grad)
    return {
        "method": method, "count": count, "seed": seed, "steps": options.steps, "bound": bound.nats,
        "half_width": bound.half_width, "best_step": model.step, "minutes": minutes, "trained": trained,
    }  # fmt: skip


def table(records: list[Record]) -> None:
    """Print the bounds by number of sequences and method."""
    print(f"{'sequences':>10}{'method':>9}{'bound on the test part':>26}{'best step':>11}{'trained':>12}{'minutes':>9}")
    for count in sorted({record["count"] for record in records}):
        for method in METHODS:
            found = [r for r in records if r["count"] == count and r["method"] == method]
            if not found:
                continue
            values = [record["bound"] for record in found]
            spread = T_975.get(len(values), 2.0) * statistics.stdev(values) / len(values) ** 0.5 if values[1:] else None
            text = f"{statistics.mean(values):.4f}" + (f" ± {spread:.4f}" if spread is not None else "")
            steps, minutes = (statistics.mean(r[key] for r in found) for key in ("best_step", "minutes"))
            print(f"{count:>10,}{method:>9}{text:>26}{steps:>11,.0f}{found[0]['trained']:>12,}{minutes:>9.1f}")


def main() -> None:
    """Run what is not there yet, then print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parent")
    parser.add_argument("family")
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--counts", nargs="+", default=["50", "500", "all"])
    parser.add_argument("--methods", nargs="+", default=list(METHODS), choices=list(METHODS))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--length", type=int, default=128, help="residues to which sequences are cropped")
    parser.add_argument("--test", type=int, default=400, help="sequences of the test part, at most")
    options = parser.parse_args()
    found = parts(options.family, options.length)
    print({name: len(texts) for name, texts in found.items()})
    model = sedd.load(options.parent)
    before = model.nelbo(found["test"][: options.test], masks=4)
    print(f"parent, step {model.step:,}: {before.nats:.4f} ± {before.half_width:.4f} on the test part\n")
    records = [json.loads(line) for line in RESULTS.read_text().splitlines()] if RESULTS.exists() else []
    counts = [len(found["train"]) if count == "all" else int(count) for count in options.counts]
    done = {(record["method"], record["count"], record["seed"], record["steps"]) for record in records}
    for seed in range(options.seeds):
        for count in counts:
            for method in options.methods:
                if (method, count, seed, options.steps) not in done:
                    records.append(measure(options.parent, found, method, count, seed, options))
                    print(json.dumps(records[-1]), flush=True)
                    with RESULTS.open("a") as file:
                        file.write(json.dumps(records[-1]) + "\n")
    print()
    table([record for record in records if record["steps"] == options.steps])


if __name__ == "__main__":
    main()
