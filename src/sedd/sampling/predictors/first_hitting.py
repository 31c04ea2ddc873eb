"""`first_hitting`: unmask one residue at a time, at the times at which the process itself unmasks (Zheng et al. 2024).

With `absorb`, a position that is masked at mask rate m is unmasked at a rate that is uniform on [0, m], whatever its
symbol, and independently of all other positions. So the next of k masked positions is unmasked at the mask rate

    m' = m u^(1/k),   u uniform on [0, 1),

and it is any of them with equal chance. Nothing changes between two such times, so only they cost an evaluation.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from sedd.errors import SamplingError
from sedd.sampling.cached_score_model import CachedScoreModel
from sedd.sampling.categorical import categorical
from sedd.sampling.levels import sigma_at
from sedd.sampling.predictors.base import Predictor, Report
from sedd.sampling.sample_batch import SampleBatch

MAX_EVALUATIONS_PER_RESIDUE = 10
"""One is enough, unless the user's constraint masks residues again; beyond this it is refused."""


class FirstHitting(Predictor):
    """Draws exactly from the model, with one evaluation per residue that is drawn.

    With `tokens_per_step` = j, j residues are drawn from one evaluation, independently of each other: 1/j of the cost,
    and an approximation.
    """

    needs_mask: ClassVar[bool] = True
    parameters: ClassVar[tuple[str, ...]] = ("tokens_per_step",)

    def denoise(
        self, batch: SampleBatch, score_model: CachedScoreModel, start_rates: Tensor, *, report: Report
    ) -> None:
        noise, options = score_model.process.noise, score_model.options
        count = options.tokens_per_step
        rates = start_rates.clone()
        total = max(1, int(batch.masked().sum()))
        for _ in range(MAX_EVALUATIONS_PER_RESIDUE * batch.padded_length):
            batch.remove(~batch.masked().any(1))
            if not len(batch):
                return
            masked = batch.masked()
            remaining = masked.sum(1).cpu().double()
            u = batch.uniforms(3 * count).reshape(len(batch), count, 3)
            rate = rates[batch.indices] * u[:, 0, 0] ** (1.0 / remaining)
            if not options.noise_removal:
                above = sigma_at(rate) >= noise.sigma_min
                batch.remove(~above)  # masks that are left are the noise of sigma_min
                if not len(batch):
                    return
                masked, remaining, u, rate = masked[above.to(masked.device)], remaining[above], u[above], rate[above]
            log_score = score_model(batch, sigma_at(rate).clamp(noise.sigma_min, noise.sigma_max))
            log_p = torch.log_softmax(log_score, -1)
            tokens = batch.tokens
            for i in range(min(count, int(remaining.max()))):
                tokens, masked = _unmask_one(tokens, masked, log_p, u[:, i, 1:])
                factor = u[:, i, 0] ** (1.0 / (remaining - i).clamp(min=1.0))
                rates[batch.indices] *= torch.where(remaining > i, factor, 1.0)
            batch.update(tokens)
            report(max(0.0, 1.0 - int(batch.masked().sum()) / total))
        raise SamplingError(
            f"{len(batch)} sequences still have masks after {MAX_EVALUATIONS_PER_RESIDUE} evaluations per residue; "
            "does the constraint mask residues again? Let it return real symbols, or take a predictor with a fixed "
            "number of steps, such as ancestral",
            about="constraint",
        )


def _unmask_one(tokens: Tensor, masked: Tensor, log_p: Tensor, u: Tensor) -> tuple[Tensor, Tensor]:
    """Draw one of the masked positions of each sequence that has any.

    Args:
        tokens: (batch, length).
        masked: (batch, length) bool.
        log_p: (batch, length, n) log p(x0 | the other positions).
        u: (batch, 2) in [0, 1): one decides which position is drawn, the other its symbol.

    Returns:
        `tokens` and `masked` after it.
    """
    u_position = u[:, 0].to(tokens.device, torch.float32 if tokens.device.type == "mps" else torch.float64)
    remaining = masked.sum(1)
    rank = (u_position * remaining).long().clamp(max=remaining - 1)
    position = ((masked.cumsum(1) == rank[:, None] + 1) & masked).long().argmax(1, keepdim=True)
    symbols = categorical(log_p.gather(1, position[..., None].expand(-1, -1, log_p.shape[-1]))[:, 0], u[:, 1])
    any_masked = remaining[:, None] > 0
    new = torch.where(any_masked, symbols[:, None], tokens.gather(1, position))
    return tokens.scatter(1, position, new), masked.scatter(1, position, masked.gather(1, position) & ~any_masked)
