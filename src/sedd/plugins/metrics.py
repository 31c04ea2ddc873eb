"""The built-in evaluation metric."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Literal

import numpy as np
import torch
from annotated_types import Interval
from pydantic import FiniteFloat

from sedd.errors import ConfigError
from sedd.plugins.contracts import Metric
from sedd.plugins.hookspecs import hookimpl
from sedd.randomness import generator

if TYPE_CHECKING:
    from sedd.data import Dataset
    from sedd.pretrained import Pretrained


class MaskedAccuracy(Metric):
    """Share of masked residues whose likeliest token is the right one, on held-out sequences; needs `absorb`."""

    type: Literal["masked_accuracy"] = "masked_accuracy"
    mask_rate: Annotated[FiniteFloat, Interval(ge=0.001, le=0.999)] = 0.15
    """Share of the residues that are masked, at least one of each sequence."""
    sequences: Annotated[int, Interval(ge=1, le=1_000_000)] = 64
    """Number of held-out sequences, the first ones."""

    @torch.no_grad()
    def evaluate(self, model: Pretrained, data: Dataset) -> Mapping[str, float]:
        graph = model.process.graph
        if not graph.has_mask:
            raise ConfigError("evaluation.metrics: masked_accuracy needs graph.type=absorb, which has a mask token")
        right = masked = 0
        sigma = torch.full((1,), -math.log1p(-self.mask_rate), device=model.device)
        for index in range(min(self.sequences, len(data.valid))):
            tokens = torch.as_tensor(np.asarray(data.valid[index])[: model.config.model.length].astype(np.int64))
            draws = generator(0, "masked_accuracy", index).random(len(tokens))
            hidden = torch.from_numpy(draws <= max(self.mask_rate, float(draws.min())))
            noisy = torch.where(hidden, graph.n, tokens)[None].to(model.device)
            with model.backend.autocast():
                output = model.network(noisy, sigma, None)
            best = model.process.log_score(output, noisy, sigma)[0].argmax(-1).cpu()
            right += int((best == tokens)[hidden].sum())
            masked += int(hidden.sum())
        return {"accuracy": right / masked}


@hookimpl
def sedd_metrics() -> list[type[Metric]]:
    return [MaskedAccuracy]
