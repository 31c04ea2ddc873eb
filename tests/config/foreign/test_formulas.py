"""Noise, loss weight and learning rate of converted files, against the formulas of the original programs."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from sedd.config.foreign.convert import convert
from sedd.diffusion.graphs import make_graph
from sedd.diffusion.schedule import Schedule
from tests.config.foreign.cases import OWN, shared

pytestmark = pytest.mark.filterwarnings("ignore::sedd.errors.SeddWarning")
TIMES = np.linspace(0.05, 0.95, 10)
Noise = tuple[Callable[[float], float], Callable[[float], float]]


def loglinear(eps: float) -> Noise:
    return (lambda t: -math.log(1 - (1 - eps) * t)), (lambda t: (1 - eps) / (1 - (1 - eps) * t))


def geometric(low: float, high: float) -> Noise:
    return (
        lambda t: low ** (1 - t) * high**t,
        lambda t: low ** (1 - t) * high**t * (math.log(high) - math.log(low)),
    )


def cosine(low: float, high: float) -> Noise:
    return (
        lambda t: high + 0.5 * (low - high) * (1 + math.cos(math.pi * t)),
        lambda t: 0.5 * math.pi * (high - low) * math.sin(math.pi * t),
    )


def constant(lr: float, warmup: int) -> Callable[[int], float]:
    """SEDD: the learning rate of update number 1, 2, ..."""
    return lambda update: lr * min(update / warmup, 1.0)


def with_cosine(lr: float, warmup: int, end: int, ratio: float) -> Callable[[int], float]:
    """PLS, after the warm-up: at `step` optimizer steps."""

    def at(step: int) -> float:
        progress = min((step - warmup) / (end - warmup), 1.0)
        return lr * (ratio + (1 - ratio) * 0.5 * (1 + math.cos(math.pi * progress)))

    return at


CASES: dict[str, tuple[Callable[[], Path], Noise]] = {
    "sedd": (lambda: OWN / "sedd.yaml", loglinear(1e-3)),
    "pls": (lambda: OWN / "pls.yaml", cosine(1e-4, 0.7)),
    "mdlm": (lambda: OWN / "mdlm.yaml", loglinear(1e-3)),
    "d3": (lambda: OWN / "d3.yaml", geometric(1e-3, 15.0)),
    "shared sedd": (lambda: shared("sedd.yaml"), loglinear(1e-3)),
    "shared pls_proteins": (lambda: shared("pls_proteins.yaml"), loglinear(0.1)),
    "shared pls_uniref50": (lambda: shared("pls_uniref50.yaml"), cosine(0.01, 0.95)),
    "shared pls_uniref50_stable": (lambda: shared("pls_uniref50_stable.yaml"), cosine(1e-4, 0.5)),
    "shared mdlm": (lambda: shared("mdlm.yaml"), loglinear(1e-3)),
    "shared d3": (lambda: shared("d3_dna.yaml"), geometric(1e-4, 20.0)),
}


@pytest.mark.parametrize("name", CASES)
def test_sigma_and_its_derivative_are_those_of_the_program(name):
    file, (sigma, dsigma) = CASES[name]
    noise, t = convert(file()).config.noise, torch.from_numpy(TIMES)
    np.testing.assert_allclose(noise.total(t).numpy(), [sigma(x) for x in TIMES], rtol=1e-9)
    np.testing.assert_allclose(noise.rate(t).numpy(), [dsigma(x) for x in TIMES], rtol=1e-9)


@pytest.mark.parametrize("name", [name for name in CASES if "d3" not in name])
def test_the_weight_of_a_masked_position_is_that_of_the_program(name):
    """dsigma / (e^sigma - 1), which MDLM writes as dsigma / expm1(sigma) and SEDD has in its score entropy: the loss
    of p(x0 | x_t) at one masked position over -log p."""
    file, (sigma, dsigma) = CASES[name]
    config = convert(file()).config
    graph = make_graph(config.graph.type, 5)
    t = torch.from_numpy(TIMES)
    log_p = torch.log_softmax(torch.linspace(-1.0, 1.0, 5, dtype=torch.float64), -1).expand(10, 1, 5)
    masked, clean = torch.full((10, 1), 5), torch.full((10, 1), 2)
    sigmas = config.noise.total(t)
    score = graph.score_from_x0(log_p, masked, sigmas)
    loss = graph.score_entropy(score, sigmas, masked, clean)[:, 0] * config.noise.rate(t)
    expected = [-float(log_p[0, 0, 2]) * dsigma(x) / math.expm1(sigma(x)) for x in TIMES]
    np.testing.assert_allclose(loss.numpy(), expected, rtol=1e-5)


RATES: dict[str, tuple[Callable[[], Path], Callable[[int], float], list[int], int]] = {
    # file, formula, steps, how much later than ours theirs counts an update
    "sedd": (lambda: OWN / "sedd.yaml", constant(1e-4, 100), [*range(0, 100, 12), 500], 1),
    "shared sedd": (lambda: shared("sedd.yaml"), constant(3e-4, 2500), [*range(0, 2500, 300), 10**6], 1),
    "shared pls_proteins": (
        lambda: shared("pls_proteins.yaml"), constant(2e-5, 1000), [*range(0, 1000, 120), 10**6], 1,
    ),
    # MDLM: update k, from 0 on, has k / warmup; ours is one step ahead
    "mdlm": (lambda: OWN / "mdlm.yaml", constant(3e-4, 2500), [*range(1, 2500, 300), 4000], 1),
    "shared mdlm": (lambda: shared("mdlm.yaml"), constant(3e-4, 2500), [*range(1, 2500, 300), 10**5], 1),
    "pls": (lambda: OWN / "pls.yaml", with_cosine(4e-5, 300, 2400, 0.05), [*range(300, 2400, 250), 2900], 0),
    "shared pls_uniref50_stable": (
        lambda: shared("pls_uniref50_stable.yaml"), with_cosine(5e-5, 10_000, 500_000, 0.01),
        [*range(10_000, 125_000, 12_000)], 0,
    ),
    "shared pls_uniref50": (
        lambda: shared("pls_uniref50.yaml"), with_cosine(2e-5, 2000, 5_000_000, 0.1),
        [*range(2000, 6_000_000, 600_000)], 0,
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", RATES)
def test_the_learning_rate_is_that_of_the_program(name):
    file, formula, steps, later = RATES[name]
    schedule = Schedule(convert(file()).config)
    assert len(steps) >= 9
    np.testing.assert_allclose(
        [schedule.learning_rate(step) for step in steps], [formula(step + later) for step in steps], rtol=1e-9
    )


@pytest.mark.parametrize(("target", "more"), [
    ("utils.CosineDecayWarmupLRScheduler", {"t_initial": "${eval:${trainer.max_steps}-${.warmup_t}}",
                                            "warmup_t": "${eval:0.1*${trainer.max_steps}}", "lr_min": 1e-6}),
])  # fmt: skip
def test_the_cosine_of_mdlm_ends_where_theirs_does(target: str, more: dict[str, Any], tmp_path: Path) -> None:
    folder = tmp_path / "lr_scheduler"
    folder.mkdir()
    lines = "".join(f"{key}: {value}\n" for key, value in more.items())
    (folder / "constant_warmup.yaml").write_text(f"_target_: {target}\n{lines}")
    (tmp_path / "mdlm.yaml").write_text((OWN / "mdlm.yaml").read_text())
    schedule = Schedule(convert(tmp_path / "mdlm.yaml").config)
    for step in range(500, 5001, 500):
        t = (step - 500) / 4500
        expected = 1e-6 + 0.5 * (3e-4 - 1e-6) * (1 + math.cos(math.pi * t))
        assert schedule.learning_rate(step) == pytest.approx(expected, rel=1e-9)
