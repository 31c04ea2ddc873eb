"""The average of the weights in closed form: the decay of each update, and what is left of the initial weights."""

from __future__ import annotations

import math

from sedd.config.sections import Ema


def decay_at(ema: Ema, update: int) -> float:
    """The decay of the update that follows `update` earlier ones."""
    return min(ema.decay, (1 + update) / (10 + update)) if ema.warmup else ema.decay


def initial_share(ema: Ema, updates: int) -> float:
    """The weight of the untrained weights in the average after so many updates: the product of all decays, 0 to 1."""
    # With warm-up the decay is (1 + n) / (10 + n) at update n until that exceeds `decay`, from update w on:
    #     product over n < w of (1 + n) / (10 + n)  =  w! 9! / (w + 9)!
    warm = 0
    if ema.warmup:
        warm = min(updates, max(0, math.ceil((10.0 * ema.decay - 1.0) / (1.0 - ema.decay))))
    logarithm = math.lgamma(warm + 1) + math.lgamma(10) - math.lgamma(warm + 10)
    if updates > warm:
        logarithm += (updates - warm) * math.log(ema.decay) if ema.decay else -math.inf
    return math.exp(logarithm)
