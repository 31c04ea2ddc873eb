"""Faults of real short runs: each draws its severity, what it changes, and which kinds are right if it harms."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

import sedd
from judging import run_data, run_hooks
from judging.run_data import Clock, Ids
from judging.setting import Random, log_uniform
from sedd.diagnosis.verdict import Kind

Change = Callable[[sedd.Dataset, Clock], sedd.Dataset]


@dataclass(frozen=True, eq=False)
class Planted:
    """A fault with its severity drawn."""

    accepted: tuple[Kind, ...]
    """Kinds that are right if it harms, the wanted one first."""
    overrides: tuple[str, ...] = ()
    data: Change | None = None
    plant: run_hooks.Plant | None = None
    onset: int | None = None
    numbers: dict[str, Any] = field(default_factory=dict)
    """Its severity as drawn."""


def _later(random: Random, steps: int) -> int:
    return int(random.uniform(0.35, 0.75) * steps)


MODEL: tuple[Kind, ...] = ("learning", "instability")


def memorising(random: Random, steps: int) -> Planted:
    count = int(log_uniform(random, 40, 400))
    # A network that can memorise, and a rate at which it does within the run.
    size = ("model.hidden_size=64", "model.dropout=0", "optim.lr=1e-2")
    change: Change = lambda data, clock: run_data.only(data, count)  # noqa: E731  # short enough to read
    return Planted(("overfitting",), size, change, numbers={"sequences": count})


def duplicates(random: Random, steps: int) -> Planted:
    count, times = int(log_uniform(random, 50, 1500)), int(random.integers(2, 9))
    return Planted(
        ("overfitting",), data=lambda data, clock: run_data.only(data, count, times=times),
        numbers={"sequences": count, "times": times},
    )  # fmt: skip


def leak(random: Random, steps: int) -> Planted:
    strength, share = log_uniform(random, 0.1, 5.0), random.uniform(0.1, 1.0)
    numbers = {"strength": round(strength, 2), "share": round(share, 2)}
    return Planted(("leak",), plant=run_hooks.label_leak(strength, share), numbers=numbers)


def mixed_batch(random: Random, steps: int) -> Planted:
    strength = log_uniform(random, 0.1, 5.0)
    numbers = {"strength": round(strength, 2)}
    return Planted(("leak", "averages"), plant=run_hooks.batch_mean(strength), numbers=numbers)


def averages(random: Random, steps: int) -> Planted:
    decay = 1.0 - log_uniform(random, 1e-6, 0.02)
    return Planted(("averages",), (f"ema.decay={decay:.8f}", "ema.warmup=false"), numbers={"decay": decay})


def other_held_out(random: Random, steps: int) -> Planted:
    which = str(random.choice(["shuffled", "reversed", "composition"]))
    concentration = log_uniform(random, 0.5, 50)

    def change(data: sedd.Dataset, clock: Clock) -> sedd.Dataset:
        changes: dict[str, Callable[[Ids], Ids]] = {
            "shuffled": random.permutation,
            "reversed": lambda ids: ids[::-1].copy(),
            "composition": run_data.random_tokens(random, data.alphabet.n, concentration),
        }
        return run_data.held_out(data, changes[which])

    return Planted(("held_out",), data=change, numbers={"how": which, "concentration": round(concentration, 2)})


def rate_too_high(random: Random, steps: int) -> Planted:
    factor = log_uniform(random, 3, 200)
    return Planted((*MODEL, "plateau"), plant=run_hooks.lr_jump(factor, 0), onset=0, numbers={"factor": factor})


def rate_too_low(random: Random, steps: int) -> Planted:
    factor = log_uniform(random, 1e-4, 0.1)
    return Planted(("plateau",), plant=run_hooks.lr_jump(factor, 0), numbers={"factor": factor})


def dead_head(random: Random, steps: int) -> Planted:
    return Planted(("plateau",), plant=run_hooks.dead_head)


def standstill(random: Random, steps: int) -> Planted:
    since = int(random.uniform(0.1, 0.6) * steps)
    return Planted(("plateau",), plant=run_hooks.still(since), onset=since)


def frozen_blocks(random: Random, steps: int) -> Planted:
    return Planted(("plateau",), plant=run_hooks.frozen_blocks)


def wrong_sign(random: Random, steps: int) -> Planted:
    since = 0 if random.random() < 0.3 else _later(random, steps)
    share = random.uniform(0.1, 1.0)
    return Planted(MODEL, plant=run_hooks.wrong_sign(share, since), onset=since, numbers={"share": round(share, 2)})


def shuffled_targets(random: Random, steps: int) -> Planted:
    since, share = _later(random, steps), random.uniform(0.05, 1.0)
    plant = run_hooks.shuffled_targets(share, since)
    return Planted(("learning", "data", "leak"), plant=plant, onset=since, numbers={"share": round(share, 2)})


def gradient_noise(random: Random, steps: int) -> Planted:
    since, factor = _later(random, steps), log_uniform(random, 0.5, 50)
    return Planted((*MODEL, "plateau"), plant=run_hooks.gradient_noise(factor, since), onset=since,
                   numbers={"factor": round(factor, 1)})  # fmt: skip


def label_noise(random: Random, steps: int) -> Planted:
    since, most = _later(random, steps), random.uniform(0.02, 0.8)

    def change(data: sedd.Dataset, clock: Clock) -> sedd.Dataset:
        def noisy(ids: Ids, index: int, step: int) -> Ids:
            share = most * max(0.0, (step - since) / max(1, steps - since))
            own = np.random.default_rng([index, step])
            return np.where(own.random(len(ids)) < share, own.integers(0, data.alphabet.n, len(ids)), ids)

        return run_data.changing(data, clock, noisy)

    return Planted(("data", "learning"), data=change, onset=since, numbers={"share at the end": round(most, 2)})


def eval_dropout(random: Random, steps: int) -> Planted:
    dropout = random.choice([0.1, 0.3, 0.5])
    return Planted(("averages", "leak", "held_out", "healthy", "curriculum", "inconclusive"),
                   (f"model.dropout={dropout}",), plant=run_hooks.dropout_in_evaluation,
                   numbers={"dropout": float(dropout)})  # fmt: skip


def exploding(random: Random, steps: int) -> Planted:
    since, rate = _later(random, steps), log_uniform(random, 5e-4, 0.03)
    return Planted(MODEL, plant=run_hooks.exploding(rate, since), onset=since, numbers={"rate": round(rate, 4)})


def overflow(random: Random, steps: int) -> Planted:
    since, share = _later(random, steps), log_uniform(random, 0.005, 0.6)
    return Planted(("instability",), plant=run_hooks.overflow(share, since), onset=since,
                   numbers={"share": round(share, 3)})  # fmt: skip


def rate_restarted(random: Random, steps: int) -> Planted:
    since, factor = _later(random, steps), log_uniform(random, 2, 100)
    return Planted((*MODEL, "plateau"), plant=run_hooks.lr_jump(factor, since), onset=since,
                   numbers={"factor": round(factor, 1)})  # fmt: skip


def spike(random: Random, steps: int) -> Planted:
    since, factor = _later(random, steps), log_uniform(random, 10, 1000)
    plant = run_hooks.lr_jump(factor, since, steps=int(random.integers(1, 4)))
    return Planted(("instability", "learning"), plant=plant, onset=since, numbers={"factor": round(factor, 1)})


def decay_too_high(random: Random, steps: int) -> Planted:
    decay = log_uniform(random, 0.3, 10.0)
    return Planted(("plateau", "learning"), (f"optim.weight_decay={decay:.3g}",), numbers={"weight_decay": decay})


def clipped_too_low(random: Random, steps: int) -> Planted:
    clip = log_uniform(random, 1e-8, 1e-2)
    return Planted(("plateau",), (f"optim.grad_clip={clip:.2e}",), numbers={"grad_clip": clip})


def _replaced(random: Random, steps: int, change: Callable[[Ids, int], Ids], *, lasting: bool) -> Planted:
    """Sequences that are changed from a step on, each with probability `share`."""
    since, share = _later(random, steps), random.uniform(0.1, 1.0)
    end = steps + 1 if lasting else since + int(random.integers(10, 80))

    def planted(data: sedd.Dataset, clock: Clock) -> sedd.Dataset:
        def changed(ids: Ids, index: int, step: int) -> Ids:
            hit = since <= step < end and np.random.default_rng([index, 7]).random() < share
            return change(ids, data.alphabet.n) if hit else ids

        return run_data.changing(data, clock, changed)

    numbers = {"share": round(share, 2), "steps": end - since}
    return Planted(("data",), data=planted, onset=since, numbers=numbers)


def shifted_shard(random: Random, steps: int) -> Planted:
    return _replaced(random, steps, lambda ids, n: (ids + 1) % n, lasting=False)


def repeated_shard(random: Random, steps: int) -> Planted:
    return _replaced(random, steps, lambda ids, n: np.full_like(ids, ids[0]), lasting=False)


def other_data(random: Random, steps: int) -> Planted:
    """Resumed with other data: other tokens in the same order, to the end."""
    key = int(random.integers(1000))
    return _replaced(random, steps, lambda ids, n: np.random.default_rng(key).permutation(n)[ids], lasting=True)


def shuffled_data(random: Random, steps: int) -> Planted:
    """From a step on, the residues of a sequence come in random order."""
    return _replaced(random, steps, lambda ids, n: random.permutation(ids), lasting=True)


def sorted_data(random: Random, steps: int) -> Planted:
    return Planted(("data",), data=lambda data, clock: run_data.by_composition(data, steps, clock))


FAULTS: dict[str, Callable[[Random, int], Planted]] = {
    function.__name__.replace("_", " "): function
    for function in (
        memorising, duplicates, leak, mixed_batch, averages, other_held_out, rate_too_high, rate_too_low, dead_head,
        standstill, frozen_blocks, wrong_sign, shuffled_targets, gradient_noise, label_noise, eval_dropout, exploding,
        overflow, rate_restarted, spike, decay_too_high, clipped_too_low, shifted_shard, repeated_shard, other_data,
        shuffled_data, sorted_data,
    )
}  # fmt: skip
"""A fault from its random draws and the number of steps, by name."""
