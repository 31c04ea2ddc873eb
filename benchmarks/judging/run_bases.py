"""Healthy short runs, drawn at random: presets with all clocks divided by 100, other ramps, noises, modes and data."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from judging.setting import Random, log_uniform

CLOCK = 100
"""All clocks of the presets are divided by this; a rise of 0.1 per 1,000 steps becomes one of 10."""
SIZE = (
    "model.hidden_size=48", "model.n_heads=2", "model.n_blocks=2", "model.cond_dim=16", "model.length=64",
    "data.synthetic.sequences=4000", "data.synthetic.max_length=64", "data.chunk_length=64", "training.accum=1",
    "training.log_every=8", "training.eval_every=40", "training.compile=off", "evaluation.sequences=96",
    "evaluation.masks=4", "checkpoint.every=1000000", "optim.warmup=30", "ema.decay=0.95", "device.type=cpu",
    f"monitoring.max_rise={0.1 * CLOCK}", "monitoring.patience=100000", "sampling.at_steps=[]",
)  # fmt: skip
GENERATING = ("noise.type=loglinear", "noise.sigma_max=6.9")
STABLE = ("uniref50_stable", "optim.lr=4e-3", f"curriculum.preschool_time={20000 // CLOCK}")
AGGRESSIVE = ("uniref50_aggressive", "optim.lr=6e-3", f"curriculum.preschool_time={5000 // CLOCK}")
STAGES = (
    "curriculum.difficulty_ramp=stages",
    "curriculum.stages=[{step: 0, difficulty: 0.2}, {step: 60, difficulty: 0.2}, {step: 61, difficulty: 0.6}, "
    f"{{step: {20000 // CLOCK}, difficulty: 1.0}}]",
)
SHAPES: tuple[tuple[str, ...], ...] = (
    STABLE,
    AGGRESSIVE,
    (*STABLE, "curriculum.mode=truncate", *GENERATING),
    (*STABLE, "curriculum.mode=bias", "curriculum.min_difficulty=0.3", *GENERATING),
    (*STABLE, *GENERATING),
    (*STABLE, "graph.type=uniform", "curriculum.mode=truncate", *GENERATING),
    (*AGGRESSIVE, "graph.type=uniform", *GENERATING),
    (*AGGRESSIVE, "curriculum.difficulty_ramp=cosine"),
    (*AGGRESSIVE, "curriculum.difficulty_ramp=constant"),
    (*STABLE, "curriculum.difficulty_ramp=constant", *GENERATING),
    (*STABLE, "curriculum.difficulty_ramp=exponential"),
    (*STABLE, "model.head=score", *GENERATING, "curriculum.mode=truncate"),
    (*STABLE, *STAGES),
    (*AGGRESSIVE, "curriculum.preschool_time=15", "curriculum.rate=8"),  # as steep as a ramp can be
)
PLAIN = 0.5
"""Share of the runs without an unusual but harmless setting."""


@dataclass(frozen=True)
class Base:
    """A healthy run."""

    number: int
    """Of the run in its stream, and seed of its draws."""
    overrides: tuple[str, ...]
    """Preset and overrides."""
    steps: int
    unusual: str
    """Harmless settings in words; empty: none."""
    source: str


def draw_base(number: int, *, proteins: Path | None, text: Path | None, toy: bool = False) -> Base:
    """The healthy run of a number; equal numbers give equal runs for equal files."""
    random = np.random.default_rng([31337, number])
    overrides = SHAPES[int(random.integers(len(SHAPES)))]
    steps = 24 if toy else int(random.integers(300, 501))
    batch = 32
    source, data = _draw_data(random, proteins, text)
    unusual = ""
    further: tuple[str, ...] = (f"model.dropout={random.choice([0.0, 0.1])}",)
    if random.random() > PLAIN:
        unusual, own = _draw_unusual(random)
        further = (*further, *own)
        batch = 4 if unusual == "tiny batch" else batch
    size = (*SIZE, f"training.batch_size={batch}", f"training.n_iters={steps}", f"seed={random.integers(10**6)}")
    preset, *rest = overrides
    return Base(number, (preset, *size, *data, *rest, *further), steps, unusual, source)


def _draw_data(random: Random, proteins: Path | None, text: Path | None) -> tuple[str, tuple[str, ...]]:
    sources: list[tuple[str, tuple[str, ...]]] = [
        ("synthetic", ("data.train=synthetic", f"data.synthetic.order={random.choice([0.0, 1.0, 2.0, 4.0])}"))
    ]
    if proteins is not None:
        sources.append(("proteins", (f"data.train={proteins.resolve()}", "data.holdout=0.05")))
    if text is not None:
        sources.append(("text", (f"data.train={text.resolve()}", "data.alphabet=text", "data.holdout=0.05")))
    return sources[int(random.integers(len(sources)))]


def _draw_unusual(random: Random) -> tuple[str, tuple[str, ...]]:
    """A setting that makes a run noisier or slower, and harms nothing that a verdict should call wrong."""
    options: list[tuple[str, tuple[str, ...]]] = [
        ("tiny batch", ("optim.lr=1e-3",)),
        ("big dropout", (f"model.dropout={random.choice([0.3, 0.5])}",)),
        ("tiny network", ("model.hidden_size=8", "model.n_blocks=1", "model.cond_dim=4")),
        ("bfloat16", ("device.precision=bfloat16",)),
        ("small learning rate", (f"optim.lr={log_uniform(random, 3e-4, 2e-3):.2g}",)),
        ("constant learning rate", ("lr_schedule.type=constant",)),
        ("closed gates", ("model.gate_init=0",)),
    ]
    return options[int(random.integers(len(options)))]
