"""The two plain sentences on a run: one golden text for each kind of verdict."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import sedd
from sedd.diagnosis.curve import Curve
from sedd.diagnosis.curve_fit.verdicts import judge_curve
from sedd.diagnosis.monitor import Monitor
from tests.diagnosis.test_external_curve import DENSE, hypothesis, wobble
from tests.diagnosis.test_external_curve import config as curve_config
from tests.diagnosis.test_external_curve import learning as learnt
from tests.diagnosis.test_monitor import H1, bound, learning, run, watch
from tests.golden import assert_golden

pytestmark = pytest.mark.filterwarnings("ignore::sedd.errors.SeddWarning")  # the presets stop the noise early
GOLDEN = Path(__file__).parent / "golden" / "summaries.txt"


@pytest.fixture
def config(tiny):
    return tiny(
        "training.n_iters=1000", "training.log_every=10", "curriculum.preschool_time=100",
        "curriculum.min_difficulty=0.2", "optim.warmup=20", "monitoring.max_rise=30", "monitoring.patience=300",
    )  # fmt: skip


def bounds(*nats: float) -> list[dict[str, object]]:
    return [bound(100 * number, value) for number, value in enumerate(nats, 1)]


def shifted(record: dict[str, object]) -> dict[str, object]:
    return record | {"letters_shift": 0.3} if 300 < int(str(record["step"])) <= 360 else record


def monitors(config: sedd.Config) -> dict[str, Monitor]:
    """A monitor for each kind of run."""
    flat = config.replace(curriculum={"difficulty_ramp": "constant"})
    noisy = config.replace(monitoring={"max_oscillation": 10.0})
    lines = run(config, learning)
    worse = run(config, lambda step: learning(step) + (step > 300))
    exploding = [record | {"grad_norm": 40.0} if record["step"] > 300 else record for record in worse]
    skipped = [{"kind": "skipped", "step": 300, "skipped": count} for count in range(1, 60)]
    return {
        "curriculum rise, bound improves": watch(config, lines + bounds(2.9, 2.6, 2.4)),
        "curriculum rise, bound within its error": watch(config, lines + bounds(2.41, 2.405, 2.4)),
        "curriculum rise, one bound": watch(config, lines + bounds(2.9)),
        "curriculum rise, no bound": watch(config, lines),
        "no curriculum, learning": watch(flat, run(flat, learning, noise=0.005) + bounds(2.9, 2.6, 2.4)),
        "no curriculum, no change": watch(flat, run(flat, lambda _: 2.4) + bounds(2.4, 2.4)),
        "overfitting": watch(config, lines + bounds(2.9, 2.4, 2.6)),
        "divergence": watch(config, worse + bounds(2.9, 2.6, 3.1)),
        "divergence, bound still improved": watch(config, worse + bounds(2.9, 2.6, 2.4)),
        "worse than untrained": watch(config, run(config, lambda step: 3.0 + 0.05 * step, steps=60)),
        "unstable": watch(config, exploding + bounds(2.9, 2.6, 3.1)),
        "skipped steps": watch(config, lines[:30] + skipped),
        "other data": watch(config, [shifted(record) for record in lines] + bounds(2.9, 2.6)),
        "plateau of the bound": watch(config, lines + bounds(*[2.5] * 6)),
        "plateau at the unigram model": watch(config, run(config, lambda _: H1, steps=900, noise=0.003)),
        "too few lines": watch(config, run(config, learning, steps=50)),
        "too noisy": watch(noisy, run(noisy, learning, steps=300, noise=1.0)),
        "nothing logged": watch(config, []),
    }


def curves() -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Steps and losses of curves of other programs."""
    noise = wobble(len(DENSE), share=0.02, seed=7)
    losses = hypothesis("consistent", curve_config(), DENSE) * noise
    growth = np.interp(DENSE, [6000, 20000], [1.0, 5.0])
    return {
        "curve, uniform plateau": (DENSE, losses),
        "curve, learning": (DENSE, losses * learnt(DENSE, 0.2)),
        "curve, token frequencies": (DENSE, losses * learnt(DENSE, 0.036)),
        "curve, divergence": (DENSE, losses * growth),
        "curve, not finite": (DENSE, np.where(DENSE > 5000, np.nan, losses)),
        "curve, in bits": (DENSE, losses * learnt(DENSE, 0.1) / np.log(2.0)),
        "curve, too few points": (DENSE[:2], losses[:2]),
    }


def test_every_kind_of_run_has_its_two_sentences(config):
    summaries = {name: monitor.verdict().summary for name, monitor in monitors(config).items()}
    forecast = sedd.forecast(curve_config())
    for name, (steps, losses) in curves().items():
        summaries[name] = judge_curve(Curve(steps, losses), forecast)[1].summary
    assert_golden("".join(f"{name}\n  {text}\n" for name, text in summaries.items()), GOLDEN)
