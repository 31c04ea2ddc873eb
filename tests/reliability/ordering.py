"""Every training sequence is read exactly once an epoch, however steps are cut, shared and resumed."""

from __future__ import annotations

import itertools
from collections import Counter
from pathlib import Path
from random import Random

import numpy as np

import sedd
from sedd.data import Batches, Cursor
from sedd.data.micro_batches import micro_batches
from tests.data.test_order import Lengths
from tests.reliability.result import Result, Tally, lost_unless, silent_unless
from tests.reliability.runs import configuration


def data_exactly_once(scale: float, seed: int, workdir: Path) -> Result:
    """Each training sequence is read exactly once an epoch, by any number of ranks, for any batch size,
    budget and resume point.
    """
    random, count = Random(seed), max(20, round(3000 * scale))
    trained = max(1, round(20 * scale))
    tally = Tally(workdir, count + trained)
    for number in range(count):
        n = random.choice((1, 2, 3, 7, random.randrange(1, 60), random.randrange(60, 400)))
        size, accum, ranks = random.randrange(1, 20), random.randrange(1, 5), random.randrange(1, 4)
        residues = random.choice((None, None, random.randrange(1, 4000)))
        resumed_every = random.choice((0, 1, random.randrange(1, 9)))
        with tally.case(f"n={n} {size}x{accum} residues={residues} ranks={ranks} resumed every {resumed_every}"):
            lengths = np.random.default_rng(number).integers(1, 90, n)
            read = _read(lengths, size, accum, ranks, residues, resumed_every, seed + number)
            _check(read, n)
    tally.control("a sequence that is read twice", found=_differs([0, 1, 1, 2], 4))
    tally.control("a sequence that is left out", found=_differs([0, 1, 3], 4))
    for number in range(trained):
        with tally.case(f"trained {number}"):
            _check_trained(random)
    return tally.result


def _read(
    lengths: np.ndarray, size: int, accum: int, ranks: int, residues: int | None, resumed_every: int, seed: int
) -> list[int]:
    """The items in the order in which all ranks read them, for at least two epochs and to the end of a window."""

    def fresh() -> Batches:
        return Batches(
            Lengths(lengths), seed=seed, batch_size=size, accum=accum, batch_residues=residues, max_length=50, window=4
        )

    batches, cursor, read = fresh(), Cursor(), []
    for step in itertools.count(1):
        batch, cursor = batches.at(cursor)
        for rank in range(ranks):
            for micro in micro_batches(batch, accum, rank=rank, size=ranks):
                if not micro.is_padding:
                    read += micro.batch.samples.tolist()
        if resumed_every and step % resumed_every == 0:
            batches, cursor = fresh(), Cursor(window=cursor.window, batch=cursor.batch)
        if cursor.batch == 0 and cursor.window * batches.window_samples >= 2 * len(lengths):
            break
    items = batches.items(np.array(sorted(read), dtype=np.int64))
    silent_unless(sorted(read) == list(range(cursor.window * batches.window_samples)), "a sample is missing or twice")
    return [int(item) for item in items]


def _check(read: list[int], n: int) -> None:
    """The reference: a plain count of each item in each complete epoch."""
    for epoch in range(len(read) // n):
        lost_unless(not _differs(read[epoch * n : (epoch + 1) * n], n), f"epoch {epoch} is not each item once")


def _differs(items: list[int], n: int) -> bool:
    return Counter(items) != Counter(range(n))


def _check_trained(random: Random) -> None:
    """What a trainer computes, not what it plans: the tokens of its micro-batches, over an epoch and more."""
    size, accum, n = random.randrange(1, 6), random.randrange(1, 4), random.randrange(9, 30)
    steps = -(-4 * n // (size * accum)) + 1
    generator = np.random.default_rng(random.randrange(2**32))
    own = [generator.integers(0, 20, 12) for _ in range(n)]
    config = configuration(
        f"training.n_iters={steps}", f"training.batch_size={size}", f"training.accum={accum}",
        "training.eval_every=100000",
    )  # fmt: skip
    trainer = sedd.Trainer(config, data=own)
    computed: list[tuple[int, ...]] = []
    gradient = trainer.train_step.gradient

    def watched(inputs, state):  # type: ignore[no-untyped-def]
        for micro in inputs.micro_steps:
            if not micro.micro_batch.is_padding:
                batch = micro.corrupted.batch
                rows = zip(batch.tokens, batch.mask, strict=True)
                computed.extend(tuple(row[mask].tolist()) for row, mask in rows)
        return gradient(inputs, state)

    trainer.train_step.gradient = watched  # type: ignore[method-assign]
    list(trainer.steps())
    expected = Counter(tuple(int(i) for i in trainer.data.train[item]) for item in range(len(trainer.data.train)))
    window = trainer.batches.window_samples  # only complete windows have a fixed content
    computed = computed[: len(computed) // window * window]
    epochs = len(computed) // len(trainer.data.train)
    found = Counter(computed)
    lost_unless(
        all(epochs * count <= found[row] <= (epochs + 1) * count for row, count in expected.items())
        and set(found) == set(expected),
        f"sequences computed otherwise than {epochs} times",
    )
