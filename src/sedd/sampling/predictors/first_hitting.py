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
            drawn = min(count, int(remaining.max()))
            # Which positions are drawn does not depend on the scores, so that these are computed there only.
            positions = _positions(masked, u[:, :drawn, 1])
            log_score = score_model.at(batch, sigma_at(rate).clamp(noise.sigma_min, noise.sigma_max), positions)
            log_p = torch.log_softmax(log_score, -1)
            tokens = batch.tokens
            for i in range(drawn):
                symbols = categorical(log_p[:, i], u[:, i, 2])[:, None]
                position = positions[:, i, None]
                new = torch.where(remaining.to(tokens.device)[:, None] > i, symbols, tokens.gather(1, position))
                tokens = tokens.scatter(1, position, new)
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


def _positions(masked: Tensor, u: Tensor) -> Tensor:
    """Choose among the `masked` positions (batch, length) of each sequence, (batch, count), one after the other.

    `u` (batch, count) in [0, 1) decides. Where none is left, any position is returned.
    """
    u = u.to(masked.device, torch.float32 if masked.device.type == "mps" else torch.float64)
    chosen = []
    for i in range(u.shape[1]):
        remaining = masked.sum(1)
        rank = (u[:, i] * remaining).long().clamp(max=remaining - 1)
        position = ((masked.cumsum(1) == rank[:, None] + 1) & masked).long().argmax(1, keepdim=True)
        chosen.append(position)
        masked = masked.scatter(1, position, value=False)
    return torch.cat(chosen, 1)
