"""Noise levels: where a sequence starts on its way back to none, where it stops between, and what a model can reach."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from sedd.config.config import Config
from sedd.diffusion.process import Process
from sedd.errors import SamplingError
from sedd.plugins.contracts import Noise
from sedd.sampling.rows import Ids


def reach(noise: Noise) -> float:
    """The largest share of a sequence that a model can draw: 1 where it can start from nothing."""
    kept = math.exp(-noise.sigma_max)
    return 1.0 if kept <= Config.GENERATES_BELOW else 1.0 - kept


def check(template: Ids, name: str, *, process: Process, max_length: int) -> None:
    """Refuse what a model cannot draw.

    Raises:
        SamplingError: if the length is impossible, or more is to be drawn than the noise of the model reaches.
    """
    length, hidden = len(template), int((template == process.graph.n).sum())
    if not 1 <= length <= max_length:
        raise SamplingError(f"{name}: length {length} is impossible: this model makes 1 to {max_length} residues")
    noise = process.noise
    share = reach(noise)
    if hidden <= share * length:
        return
    trained = f"this model was trained up to sigma_max={noise.sigma_max:g}, where {1 - share:.0%} of the residues "
    if hidden == length:
        raise SamplingError(
            f"{trained}are still visible: it has never seen an empty sequence and cannot generate from nothing. Train "
            "with noise.sigma_max=6.9 (preset `uniref50`) to generate, or give a template and draw up to "
            f"{share:.0%} of it"
        )
    raise SamplingError(
        f"{name}: {hidden} of {length} residues are to be drawn, {hidden / length:.0%}, but {trained}are still "
        f"visible: it can draw {math.floor(share * length)} of {length} ({share:.1%}). Give more residues, draw part "
        "after part, or train with a larger noise.sigma_max"
    )


def start_rates(process: Process, hidden: Tensor, lengths: Tensor) -> Tensor:
    """The mask rate from which each sequence starts, (B,) float64; see `Graph.start_mask_rate`.

    Args:
        process: forward process and noise schedule.
        hidden: (B,) residues to draw.
        lengths: (B,) residues.
    """
    full = torch.full(hidden.shape, -math.expm1(-process.noise.sigma_max), dtype=torch.float64)
    return process.graph.start_mask_rate(full, hidden.double() / lengths.double())


def sigma_of(rate: Tensor) -> Tensor:
    """sigma at a mask rate below 1."""
    return -torch.log1p(-rate)


def grid(noise: Noise, rates: Tensor, *, steps: int, removal: bool) -> Tensor:
    """(B, steps + 1) float64: from the noise level of each start rate down to sigma_min, evenly in the schedule's time;
    one column more, of zeros, with `removal` where sigma_min is not 0."""
    # Each rate by itself: vectorised functions may round differently in another place of another batch.
    known = {rate: _descent(noise, rate, steps) for rate in set(rates.tolist())}
    levels = torch.stack([known[rate] for rate in rates.tolist()])
    if removal and bool(levels[0, -1] > 0):
        levels = torch.cat([levels, torch.zeros(len(levels), 1, dtype=torch.float64)], 1)
    return levels


def _descent(noise: Noise, rate: float, steps: int) -> Tensor:
    t = _time(noise, -math.log1p(-rate)) * torch.linspace(1.0, 0.0, steps + 1, dtype=torch.float64)
    return noise.total(t).clamp(min=0.0)


def _time(noise: Noise, sigma: float) -> float:
    """t with sigma(t) = sigma, by bisection, since a schedule promises no inverse."""
    if sigma >= noise.sigma_max * (1.0 - 1e-9):
        return 1.0
    low, high = 0.0, 1.0
    for _ in range(60):
        middle = 0.5 * (low + high)
        if float(noise.total(torch.tensor(middle, dtype=torch.float64))) < sigma:
            low = middle
        else:
            high = middle
    return high
