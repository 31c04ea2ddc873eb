"""The learning rate, a pure function of the optimizer step."""

from __future__ import annotations

import math

from sedd.config.config import Config


def learning_rate(config: Config, step: int) -> float:
    """Learning rate at optimizer step `step` (0 is the first): linear warm-up, then the schedule."""
    optim, schedule, total = config.optim, config.lr_schedule, config.training.n_iters
    if step < optim.warmup:
        return optim.lr * (step + 1) / optim.warmup
    if schedule.type == "constant":
        return optim.lr
    progress = min((step - optim.warmup) / max(1, total - optim.warmup), 1.0)
    share = schedule.min_ratio + (1.0 - schedule.min_ratio) * 0.5 * (1.0 + math.cos(math.pi * progress))
    return optim.lr * share
