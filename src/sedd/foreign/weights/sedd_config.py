"""What a network of SEDD or PLS needs of its run configuration, in our terms.

The head is the raw score. `loglinear` has only `eps`: sigma(t) = -log(1 - (1 - eps) t), so that sigma(1) = -log(eps).
"""

from __future__ import annotations

import math
from typing import Any

from sedd.foreign.weights.given import Given

SEDD_EPS = 1e-3
"""`eps` of `loglinear` in SEDD, which has no key for it."""


def sections(given: Given) -> dict[str, Any]:
    """The sections graph, noise and model. Raises CheckpointError for a key that is missing or has no equivalent."""
    model = given.section("model")
    return {
        "graph": {"type": given.section("graph").choice("type", "absorb", "uniform")},
        "noise": _noise(given.section("noise")),
        "model": {
            "head": "score",
            "hidden_size": model.integer("hidden_size"),
            "cond_dim": model.integer("cond_dim"),
            "length": model.integer("length"),
            "n_blocks": model.integer("n_blocks", "n_blocks_prot"),
            "n_heads": model.integer("n_heads"),
            "dropout": model.number("dropout", 0.1),
            "scale_by_sigma": model.boolean("scale_by_sigma", default=True),
        },
    }


def optimizer_steps(given: Given, step: int) -> int:
    """Optimizer steps of a training directory: PLS, which has a curriculum, counts micro-batches."""
    if "curriculum" not in given.data:
        return step
    return step // given.section("training").integer("accum")


def _noise(noise: Given) -> dict[str, Any]:
    kind = noise.choice("type", "loglinear", "geometric", "cosine")
    if kind == "loglinear":
        return {"type": kind, "sigma_max": -math.log(noise.fraction("eps", SEDD_EPS))}
    return {"type": kind, "sigma_min": noise.number("sigma_min"), "sigma_max": noise.number("sigma_max")}
