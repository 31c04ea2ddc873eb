"""What to do about an alarm: keys of the configuration with values that are computed for the run."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from sedd.config.config import Config
from sedd.runs.metrics import TrainRecord

CLIP_QUANTILE = 0.95
"""Share of the earlier gradient norms that lie under a new `optim.grad_clip`."""
LR_FACTOR = 0.4
"""Factor on the learning rate where the run does not show which one was still good: 5e-5 becomes 2e-5."""


def two_digits(value: float) -> float:
    """`value` rounded to two significant digits."""
    return float(f"{value:.2g}")


def of_rise(config: Config, needed: int | None) -> tuple[str, ...]:
    """The curriculum climbs faster than the rule allows; `needed` is the `preschool_time` that would not."""
    limit = config.monitoring.max_rise
    remedies = ["nothing is wrong: the curriculum explains the rise, and the held-out bound does not depend on it"]
    if needed is not None and needed > config.curriculum.preschool_time:
        remedies.append(
            f"for a gentler ramp, curriculum.preschool_time={needed} keeps it under {limit:g} per 1,000 steps (now "
            f"{config.curriculum.preschool_time:,})"
        )
    return tuple(remedies)


def of_divergence(config: Config, lines: Sequence[TrainRecord], since: int) -> tuple[str, ...]:
    """The model got worse after step `since`."""
    optim = config.optim
    before = [line for line in lines if line.step <= since] or list(lines[:1])
    now, good = lines[-1].lr, before[-1].lr
    remedies = []
    if now > 2.5 * max(line.lr for line in before) and since >= optim.warmup:
        remedies.append(
            f"the learning rate jumped from {good:.2g} to {now:.2g} after step {since:,} (a restart, or a schedule "
            "that rises again?): keep it at what it was"
        )
    elif since < optim.warmup and good < 0.7 * optim.lr:
        remedies.append(f"optim.lr={two_digits(good):g}: the warm-up went well up to this rate (step {since:,})")
        remedies.append(f"or optim.warmup={round(1.5 * optim.warmup)}: a slower warm-up to {optim.lr:g}")
    else:
        remedies.append(f"optim.lr={two_digits(LR_FACTOR * good):g} (now {good:.2g})")
    norms = np.array([line.grad_norm for line in before])
    clip = two_digits(float(np.quantile(norms, CLIP_QUANTILE)))
    if len(norms) >= 5 and clip > 0 and (optim.grad_clip == 0 or clip < 0.8 * optim.grad_clip):
        present = f"{optim.grad_clip:g}" if optim.grad_clip else "off"
        remedies.append(
            f"optim.grad_clip={clip:g} (now {present}): {CLIP_QUANTILE:.0%} of the earlier gradient norms are smaller"
        )
    remedies.append(
        f"go back to a checkpoint at or before step {since:,}; monitoring.on_divergence=rollback does it for you"
    )
    return tuple(remedies)


def of_data(lines: Sequence[TrainRecord]) -> tuple[str, ...]:
    """The token frequencies of the training sequences changed."""
    first, last = lines[max(0, len(lines) - 4)].step, lines[-1].step
    return (
        f"look at the training sequences of steps {first:,} to {last:,}, and at the file they come from: "
        "`sedd data prepare` reports what it repaired and dropped",
        "do not change the learning rate or the curriculum: neither is to blame",
    )


def of_skips(config: Config) -> tuple[str, ...]:
    """Gradients that are not finite."""
    optim = config.optim
    clip = () if optim.grad_clip else ("optim.grad_clip=1 (now off)",)
    return (
        "device.precision=float32: if the gradients are finite then, bfloat16 overflowed",
        f"optim.lr={two_digits(LR_FACTOR * optim.lr):g} (now {optim.lr:g})",
        *clip,
    )


def of_unigram_only(config: Config) -> tuple[str, ...]:
    """The model is no better than the unigram model."""
    optim, model = config.optim, config.model
    return (
        "wait, if this is early: the order of residues takes longer to learn than their frequencies",
        f"optim.lr={two_digits(LR_FACTOR * optim.lr):g} (now {optim.lr:g}), if the learning rate is too high",
        f"or optim.lr={two_digits(optim.lr / LR_FACTOR):g}, if it is too low",
        f"a larger model (now {model.n_blocks} blocks of width {model.hidden_size})",
    )


def of_plateau(config: Config) -> tuple[str, ...]:
    """The held-out bound no longer improves."""
    training, optim, preschool = config.training, config.optim, config.curriculum.preschool_time
    shorter = f"curriculum.preschool_time={round(0.75 * preschool)} (now {preschool})"
    return (
        "stop here, if the bound is good enough: the best checkpoint is kept",
        f"training.accum={2 * training.accum} (now {training.accum}): a less noisy gradient",
        f"optim.lr={two_digits(1.6 * optim.lr):g} (now {optim.lr:g}), if the loss by mask rate is flat and not noisy",
        *((shorter,) if preschool > config.monitoring.patience else ()),
        "a larger model, if its bound is still near that of the unigram model",
    )
