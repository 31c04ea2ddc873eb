"""What to do about an alarm, computed for the run at hand and said in the words of its configuration."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from sedd.config.config import Config
from sedd.runs.metrics import TrainRecord

CALM = 0.95
"""Share of the steps before trouble whose gradient a new `optim.grad_clip` leaves alone."""
CUT = 0.4
"""What is left of the learning rate when nothing tells which one was still good: 5e-5 becomes 2e-5."""


def two_digits(value: float) -> float:
    """Rounded to two significant digits."""
    return float(f"{value:.2g}")


def of_rise(config: Config, needed: int | None) -> tuple[str, ...]:
    """The curriculum climbs faster than the rule allows; `needed` is the `preschool_time` that would not."""
    limit = config.monitoring.max_rise
    found = ["nothing is wrong: the curriculum explains the rise, and the held-out bound does not see it"]
    if needed is not None and needed > config.curriculum.preschool_time:
        found.append(
            f"for a gentler ramp, curriculum.preschool_time={needed} keeps it under {limit:g} per 1,000 steps (now "
            f"{config.curriculum.preschool_time:,})"
        )
    return tuple(found)


def of_divergence(config: Config, lines: Sequence[TrainRecord], since: int) -> tuple[str, ...]:
    """The model got worse after step `since`."""
    optim = config.optim
    before = [line for line in lines if line.step <= since] or list(lines[:1])
    now, good = lines[-1].lr, before[-1].lr
    found = []
    if now > 2.5 * max(line.lr for line in before) and since >= optim.warmup:
        found.append(
            f"the learning rate jumped from {good:.2g} to {now:.2g} after step {since:,}: a restart, or a schedule "
            "that rises again? Keep it at what it was"
        )
    elif since < optim.warmup and good < 0.7 * optim.lr:
        found.append(f"optim.lr={two_digits(good):g}: up to there the warm-up went well (step {since:,})")
        found.append(f"or optim.warmup={round(1.5 * optim.warmup)}, a slower way up to {optim.lr:g}")
    else:
        found.append(f"optim.lr={two_digits(CUT * good):g} (now {good:.2g})")
    norms = np.array([line.grad_norm for line in before])
    calm = two_digits(float(np.quantile(norms, CALM)))
    if len(norms) >= 5 and calm > 0 and (optim.grad_clip == 0 or calm < 0.8 * optim.grad_clip):
        now_clip = f"{optim.grad_clip:g}" if optim.grad_clip else "off"
        found.append(f"optim.grad_clip={calm:g} (now {now_clip}): {CALM:.0%} of the lines before had less")
    found.append(
        f"go back to a checkpoint at or before step {since:,}; monitoring.on_divergence=rollback does it for you"
    )
    return tuple(found)


def of_data(lines: Sequence[TrainRecord]) -> tuple[str, ...]:
    """The training sequences are others than before."""
    first, last = lines[max(0, len(lines) - 4)].step, lines[-1].step
    return (
        f"look at the training sequences of steps {first:,} to {last:,}, and at the file they come from: "
        "`sedd data prepare` says what it repaired and dropped",
        "do not change the learning rate or the curriculum: neither is to blame",
    )


def of_noise(config: Config, scatter: float) -> tuple[str, ...]:
    """The loss scatters by luck alone, by this share of itself from line to line."""
    log_every = math.ceil(config.training.log_every * (scatter / config.monitoring.max_oscillation) ** 2)
    found = []
    if config.curriculum.mode == "scale":
        found.append("curriculum.mode=truncate draws noise levels that scatter less")
    found.append(f"training.log_every={log_every} would show it calmer; larger batches would train calmer")
    return tuple(found)


def of_skips(config: Config) -> tuple[str, ...]:
    """Gradients that are not finite."""
    optim = config.optim
    clip = () if optim.grad_clip else ("optim.grad_clip=1 (now off)",)
    return (
        "device.precision=float32: if the steps are finite then, it was bfloat16 that overflowed",
        f"optim.lr={two_digits(CUT * optim.lr):g} (now {optim.lr:g})",
        *clip,
    )


def of_letters_only(config: Config) -> tuple[str, ...]:
    """The model knows the letters and learns nothing else."""
    optim, model = config.optim, config.model
    return (
        "wait, if this is early: order takes longer than letters",
        f"optim.lr={two_digits(CUT * optim.lr):g} (now {optim.lr:g}): too high a learning rate looks like this",
        f"or optim.lr={two_digits(optim.lr / CUT):g}: and so does too low a one",
        f"a larger model (now {model.n_blocks} blocks of width {model.hidden_size})",
    )


def of_plateau(config: Config) -> tuple[str, ...]:
    """The held-out bound no longer improves."""
    training, optim, preschool = config.training, config.optim, config.curriculum.preschool_time
    shorter = f"curriculum.preschool_time={round(0.75 * preschool)} (now {preschool})"
    return (
        "stop here, if the bound is good enough: the best checkpoint is kept",
        f"training.accum={2 * training.accum} (now {training.accum}): a calmer gradient",
        f"optim.lr={two_digits(1.6 * optim.lr):g} (now {optim.lr:g}), if the loss by mask rate is flat and calm",
        *((shorter,) if preschool > config.monitoring.patience else ()),
        "a larger model, if its bound is still near that of the letters alone",
    )
