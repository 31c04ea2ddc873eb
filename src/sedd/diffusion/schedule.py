"""What changes from step to step, as a pure function of the optimizer step: difficulty, learning rate, mask rates."""

from __future__ import annotations

import math
from dataclasses import dataclass

from sedd.config.config import Config
from sedd.diffusion.loss_profile import mask_range
from sedd.plugins.checked import rising_difficulty


@dataclass(frozen=True)
class StepSettings:
    """The settings of one optimizer step."""

    difficulty: float
    """Difficulty of the curriculum, in [0, 1]."""
    lr: float
    """Learning rate."""
    mask_low: float
    """The least mask rate that a sequence can draw."""
    mask_high: float
    """The largest mask rate that a sequence can draw."""


@dataclass(frozen=True)
class Schedule:
    """The settings of every optimizer step of a configuration."""

    config: Config

    def at(self, step: int) -> StepSettings:
        """The settings of optimizer step `step`; 0 is the first.

        Raises:
            PluginError: if the curriculum fails, falls, or returns anything but a number in [0, 1].
        """
        difficulty = self.difficulty(step)
        low, high = self.mask_range(difficulty)
        return StepSettings(difficulty, self.learning_rate(step), low, high)

    def difficulty(self, step: int) -> float:
        """Difficulty in [0, 1] at optimizer step `step`."""
        return rising_difficulty(self.config.curriculum, step)

    def mask_range(self, difficulty: float) -> tuple[float, float]:
        """The least and the largest mask rate that a sequence can draw at `difficulty`."""
        return mask_range(self.config.noise, difficulty, self.config.curriculum.mode)

    def learning_rate(self, step: int) -> float:
        """Linear warm-up to `optim.lr`, then `lr_schedule`; of a schedule of the user's own an interpolation."""
        optim, schedule = self.config.optim, self.config.lr_schedule
        if schedule.own is not None:
            return optim.lr * schedule.own.factor(step)
        total = schedule.end_step or self.config.training.n_iters
        if step < optim.warmup:
            return optim.lr * (step + 1) / optim.warmup
        if schedule.type == "constant":
            return optim.lr
        decayed_steps = schedule.decay_share * total if schedule.type == "wsd" else total
        first = max(optim.warmup, total - decayed_steps)
        progress = min(max(step - first, 0.0) / max(1.0, total - first), 1.0)
        # Warm-up, stable, decay: Haegele et al. (2024) measured 1 - sqrt as the better shape of the decay.
        falling = 1.0 - math.sqrt(progress) if schedule.type == "wsd" else 0.5 * (1.0 + math.cos(math.pi * progress))
        return optim.lr * (schedule.min_ratio + (1.0 - schedule.min_ratio) * falling)
