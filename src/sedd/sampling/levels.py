"""Noise levels: where each sequence starts, the levels of the steps, and what the noise of a model allows."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from sedd.config.config import Config
from sedd.diffusion.process import Process
from sedd.errors import SamplingError
from sedd.plugins.contracts import Noise
from sedd.sampling.sample_batch import Ids


def max_drawn_share(noise: Noise) -> float:
    """The largest share of a sequence that a model can draw: 1 if it can generate complete sequences."""
    kept = math.exp(-noise.sigma_max)
    return 1.0 if kept <= Config.GENERATES_BELOW else 1.0 - kept


def check_template(template: Ids, name: str, *, process: Process, max_length: int) -> None:
    """Check that a model can draw a template, (length,) with `graph.n` at the residues to draw.

    Raises:
        SamplingError: if the length is impossible, or more is to be drawn than the noise of the model allows.
    """
    length, to_draw = len(template), int((template == process.graph.n).sum())
    if not 1 <= length <= max_length:
        raise SamplingError(
            f"{name}: length {length} is impossible: this model makes 1 to {max_length} residues", about=name
        )
    share = max_drawn_share(process.noise)
    if to_draw <= share * length:
        return
    trained = f"this model was trained up to sigma_max={process.noise.sigma_max:g}, where {1 - share:.0%} of the "
    if to_draw == length:
        raise SamplingError(
            f"{trained}residues are still visible: it has never seen an empty sequence and cannot generate from "
            "nothing. Train with noise.sigma_max=6.9 (preset `uniref50`) to generate, or give a template and draw up "
            f"to {share:.0%} of it",
            about=name,
        )
    raise SamplingError(
        f"{name}: {to_draw} of {length} residues are to be drawn, {to_draw / length:.0%}, but {trained}residues are "
        f"still visible: it can draw {math.floor(share * length)} of {length} ({share:.1%}). Give more residues, draw "
        "part after part, or train with a larger noise.sigma_max",
        about=name,
    )


def start_mask_rates(process: Process, to_draw: Tensor, lengths: Tensor) -> Tensor:
    """The mask rate from which each sequence starts, (batch,) float64; see `Graph.start_mask_rate`.

    Args:
        process: forward process and noise schedule.
        to_draw: (batch,) residues to draw.
        lengths: (batch,) residues.
    """
    largest = torch.full(to_draw.shape, -math.expm1(-process.noise.sigma_max), dtype=torch.float64)
    return process.graph.start_mask_rate(largest, to_draw.double() / lengths.double())


def sigma_at(rate: Tensor) -> Tensor:
    """The sigma at mask rates below 1: -log(1 - rate)."""
    return -torch.log1p(-rate)


def noise_levels(noise: Noise, rates: Tensor, *, steps: int, removal: bool) -> Tensor:
    """The sigma of each step, (batch, steps + 1) float64: from the mask rates `rates` (batch,) down to sigma_min.

    The levels are even in the time of the schedule. With `removal` and a sigma_min above 0, a column of zeros follows.
    """
    # Each rate alone: vectorised functions may round differently at another index of another batch.
    descents = {rate: _descent(noise, rate, steps) for rate in set(rates.tolist())}
    levels = torch.stack([descents[rate] for rate in rates.tolist()])
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
