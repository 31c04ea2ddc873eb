"""Faults in sampling: drawing, temperature, noise levels, caches, predictors, templates."""

from __future__ import annotations

from tests.planted_faults.fault import Fault, Room

CATEGORICAL, TEMPERATURE = "sampling/categorical.py", "sampling/temperature.py"
LEVELS, CACHE = "sampling/levels.py", "sampling/cached_score_model.py"
LENGTHS = "sampling/lengths.py"
HITTING, STEPS = "sampling/predictors/first_hitting.py", "sampling/predictors/steps.py"
INFILL = ("sampling/test_infill.py",)

FAULTS = (
    Fault("symbols without weight drawn", CATEGORICAL, "right=True", "right=False"),
    Fault("weights taken as normalised", CATEGORICAL, "(u * cumulative[..., -1])[..., None]", "u[..., None]"),
    Fault("temperature inverted", TEMPERATURE, "log_p / temperature", "log_p * temperature"),
    Fault(
        "nucleus without its last symbol",
        TEMPERATURE,
        "ordered.cumsum(-1) - ordered < share",
        "ordered.cumsum(-1) < share",
    ),
    Fault("nucleus not normalised", TEMPERATURE, "    kept = kept / kept.sum(-1, keepdim=True)\n", ""),
    Fault("symbols that are never drawn kept", TEMPERATURE, ".masked_fill(never.to(log_p.device), -torch.inf)", ""),
    Fault(
        "one step too few",
        LEVELS,
        "torch.linspace(1.0, 0.0, steps + 1, dtype=torch.float64)",
        "torch.linspace(1.0, 0.0, steps, dtype=torch.float64)",
    ),
    Fault(
        "bisection towards the wrong side",
        LEVELS,
        "dtype=torch.float64))) < sigma:",
        "dtype=torch.float64))) > sigma:",
        ("sampling/test_infill.py", "sampling/test_sampler.py"),
    ),
    Fault(
        "one residue more than the noise allows",
        LEVELS,
        "if to_draw <= share * length:",
        "if to_draw <= share * length + 1:",
        INFILL,
    ),
    Fault(
        "share the wrong way round",
        LEVELS,
        "to_draw.double() / lengths.double()",
        "lengths.double() / to_draw.double()",
        INFILL,
    ),
    Fault(
        "stale scores of changed tokens",
        CACHE,
        "needed = batch.tokens_changed | (batch.output_sigma != sigma_seen).numpy()",
        "needed = (batch.output_sigma != sigma_seen).numpy()",
    ),
    Fault(
        "stale scores of another sigma",
        CACHE,
        "sigma.float() if self.process.parametrization.time_conditioning else torch.zeros(len(batch))",
        "torch.zeros(len(batch))",
    ),
    Fault("unmasking rate inverted", HITTING, "* u[:, 0, 0] ** (1.0 / remaining)", "* u[:, 0, 0] ** remaining"),
    Fault("the position before", HITTING, "rank[:, None] + 1)", "rank[:, None])"),
    Fault("scores of the next noise level", STEPS, "score_model(batch, sigma_t)", "score_model(batch, sigma_s)"),
    Fault(
        "first batch dropped",
        "sampling/sampler.py",
        "range(first // size * size, len(templates), size)",
        "range(first // size * size + size, len(templates), size)",
    ),
    Fault(
        "lengths not limited",
        LENGTHS,
        'np.minimum(lengths[np.searchsorted(ends, ranks, side="right")], longest)',
        'lengths[np.searchsorted(ends, ranks, side="right")]',
    ),
    Fault("quantiles off by one", LENGTHS, 'side="right"', 'side="left"', ("data/test_store.py",)),
)

ROOM = Room("sampling", ("sampling/test_sampler.py", "sampling/test_infill.py"), FAULTS)
