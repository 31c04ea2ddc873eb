"""Train small models on real data and hold their bound against what letters alone and letter pairs can reach.

    python benchmarks/small_models.py proteins path/to/proteins.fasta.gz
    python benchmarks/small_models.py text path/to/train.txt path/to/test.txt

More arguments are overrides, such as training.n_iters=20 for a trial. Interrupt it and start it again: it resumes.
Prints a table in nats per residue. "Unigram" and "pairs" are a unigram and a bigram model with the frequencies of the
training part (add-one smoothing), measured on the same held-out sequences as the bound.
"""

from __future__ import annotations

import sys

import numpy as np

import sedd

TEXT = (
    "data.alphabet=text", "model.hidden_size=256", "model.n_heads=4", "model.dropout=0.1", "optim.lr=2e-3",
    "optim.weight_decay=0.05", "training.batch_size=48", "training.n_iters=1200",
)  # fmt: skip
SETTINGS: dict[str, tuple[str, ...]] = {"proteins": ("data.holdout=0.02",), "text": TEXT}
"""What differs from the preset `small`."""


def pair_counts(data: sedd.data.Sequences, n: int) -> np.ndarray:
    """(n, n): how often the second letter follows the first."""
    counts = np.zeros((n, n), np.int64)
    for index in range(len(data)):
        ids = np.asarray(data[index], np.int64)
        np.add.at(counts, (ids[:-1], ids[1:]), 1)
    return counts


def letters_and_pairs(trainer: sedd.Trainer) -> tuple[float, float]:
    """Cross-entropy of the unigram and the bigram model on the held-out sequences, nats per residue."""
    n = trainer.data.alphabet.n
    letters = trainer.data.token_counts + 1.0
    log_letters = np.log(letters / letters.sum())
    pairs = pair_counts(trainer.data.train, n) + 1.0
    log_pairs = np.log(pairs / pairs.sum(1, keepdims=True))
    totals = np.zeros(3)
    for index in range(len(trainer.data.valid)):
        ids = np.asarray(trainer.data.valid[index], np.int64)
        first = log_letters[ids[0]]
        totals += [log_letters[ids].sum(), first + log_pairs[ids[:-1], ids[1:]].sum(), len(ids)]
    return -totals[0] / totals[2], -totals[1] / totals[2]


def main(kind: str, *arguments: str) -> None:
    """Train, then print the table."""
    files = [argument for argument in arguments if "=" not in argument]
    overrides = [argument for argument in arguments if "=" in argument]
    data = [f"data.train={files[0]}", *([f"data.valid={files[1]}"] if len(files) > 1 else [])]
    config = sedd.load_config("small", *SETTINGS[kind], *data, *overrides)
    trainer = sedd.Trainer(config, run=f"runs/benchmark-{kind}", resume=True)
    bound = trainer.fit()
    letters, pairs = letters_and_pairs(trainer)
    parameters = sum(p.numel() for p in trainer.network.parameters())
    print(
        f"\n{kind}: {parameters:,} parameters, {trainer.state.step:,} steps, {trainer.state.seconds / 60:.0f} minutes"
    )
    print(f"{'uniform':<10}{np.log(trainer.data.alphabet.n):.4f}")
    print(f"{'letters':<10}{letters:.4f}")
    print(f"{'pairs':<10}{pairs:.4f}")
    about = f"{bound.sequences} sequences; ± is half of a 95 % interval"
    print(f"{'bound':<10}{bound.nats:.4f} ± {bound.half_width:.4f}  ({about})")


if __name__ == "__main__":
    if len(sys.argv) < 3 or sys.argv[1] not in SETTINGS:
        sys.exit(__doc__)
    main(*sys.argv[1:])
