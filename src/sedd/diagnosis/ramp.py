"""Whether the ramp of a curriculum is worth a word about a run: not of one that ended long ago, and not without one."""

from __future__ import annotations

from sedd.config.config import Config
from sedd.diffusion.schedule import Schedule

ENDED_LONG_AGO = 0.1
"""A ramp of less than this share of the steps so far ended long ago."""


def ramp_matters(config: Config, step: int) -> bool:
    """Whether the mask rates change along the ramp, and it takes at least a tenth of the steps so far, or goes on.

    Args:
        config: of the run.
        step: optimizer steps so far.
    """
    schedule, end = Schedule(config), min(config.curriculum.preschool_time, config.training.n_iters)
    first, last = schedule.at(0), schedule.at(end)
    changes = (first.mask_low, first.mask_high) != (last.mask_low, last.mask_high)
    return changes and end >= ENDED_LONG_AGO * step
