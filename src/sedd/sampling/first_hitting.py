"""`first_hitting`: one masked residue after the other, at the times at which the process itself unmasks them.

With `absorb`, a residue that is masked at mask rate m is unmasked at a rate that is uniform on [0, m], whatever its
letter and whatever happens elsewhere. So the next of k masked residues comes at m u^(1/k), and it is any of them with
equal chance (Zheng et al. 2024, "Masked diffusion models are secretly time-agnostic masked models"). Nothing happens
between, so the network is asked at these times only.

Draws exactly from the model: no error of step size. Costs one evaluation per residue that is drawn. With
`tokens_per_step` = j, j residues are drawn from one evaluation, independently of each other: 1/j of the cost, and an
approximation.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from sedd.config.sections import Sampling
from sedd.errors import SamplingError
from sedd.plugins.contracts import Noise
from sedd.sampling.categorical import categorical
from sedd.sampling.evaluations import CachedScoreModel
from sedd.sampling.levels import sigma_of
from sedd.sampling.rows import SampleBatch

PATIENCE = 10
"""Evaluations per residue after which a constraint that masks residues again is refused; without one, 1 is enough."""


def first_hitting(
    rows: SampleBatch,
    evaluate: CachedScoreModel,
    rates: Tensor,
    *,
    noise: Noise,
    options: Sampling,
    report: Callable[[float], None],
) -> None:
    """Unmask all rows, starting from mask rates `rates`, (B,) float64."""
    count = options.tokens_per_step
    ends = torch.tensor([noise.sigma_min, noise.sigma_max], dtype=torch.float64)
    rates = rates.clone()
    total = max(1, int(rows.hidden().sum()))
    for _ in range(PATIENCE * rows.width):
        rows.retire(~rows.hidden().any(1))
        if not len(rows):
            return
        hidden = rows.hidden()
        left = hidden.sum(1).cpu().double()
        u = rows.uniforms(3 * count).reshape(len(rows), count, 3)
        first = rates[rows.places] * u[:, 0, 0] ** (1.0 / left)
        if not options.noise_removal:
            here = sigma_of(first) >= noise.sigma_min
            rows.retire(~here)  # as they are: the noise that is left is sigma_min
            if not len(rows):
                return
            hidden, left, u, first = hidden[here.to(hidden.device)], left[here], u[here], first[here]
        log_p = torch.log_softmax(evaluate(rows, sigma_of(first).clamp(*ends)), -1)
        tokens = rows.tokens
        for i in range(min(count, int(left.max()))):
            tokens, hidden = _reveal(tokens, hidden, log_p, u[:, i, 1:])
            rates[rows.places] *= torch.where(left > i, u[:, i, 0] ** (1.0 / (left - i).clamp(min=1.0)), 1.0)
        rows.advance(tokens)
        report(max(0.0, 1.0 - int(rows.hidden().sum()) / total))
    raise SamplingError(
        f"{len(rows)} sequences still have masks after {PATIENCE} evaluations per residue; does project mask residues "
        "again? Let it return real symbols, or take a predictor with a fixed number of steps, such as ancestral"
    )


def _reveal(tokens: Tensor, hidden: Tensor, log_p: Tensor, u: Tensor) -> tuple[Tensor, Tensor]:
    """Draw one of the hidden residues of each row that has any; `u` (B, 2) decides which, and to what."""
    there = u.to(tokens.device, torch.float32 if tokens.device.type == "mps" else torch.float64)
    left = hidden.sum(1)
    chosen = (there[:, 0] * left).long().clamp(max=left - 1)
    place = ((hidden.cumsum(1) == chosen[:, None] + 1) & hidden).long().argmax(1, keepdim=True)
    symbols = categorical(log_p.gather(1, place[..., None].expand(-1, -1, log_p.shape[-1]))[:, 0], u[:, 1])
    some = left[:, None] > 0
    new = torch.where(some, symbols[:, None], tokens.gather(1, place))
    return tokens.scatter(1, place, new), hidden.scatter(1, place, hidden.gather(1, place) & ~some)
