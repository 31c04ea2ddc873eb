"""The aggressive and the stable configuration on real proteins, and each of the six changes between them on its own.

    python benchmarks/users_table.py proteins.fasta.gz [--seeds 2] [--figure FILE.png] [--steps 1500] [--runs FOLDER]

Both presets at reduced scale: a small model, clocks divided by 20, learning rates times 20. Prints the training loss
beside its forecast, with and without a curriculum; then what each change does to the held-out bound over the mask rates
that all runs were trained on (those of sigma_max 0.5, up to 39 %): the table of `sedd sweep --one-at-a-time`, with
intervals over seeds. Interrupted, it resumes.
"""

from __future__ import annotations

import argparse
import math
import warnings
from pathlib import Path

import numpy as np
import torch

import sedd
from sedd.data.statistics import DataStatistics
from sedd.diagnosis.forecast import make_forecast
from sedd.diffusion.loss_profile import EDGES
from sedd.runs.history import History

SCALE = 20
SIZE = (
    "model.hidden_size=64", "model.n_heads=2", "model.n_blocks=2", "model.cond_dim=32", "model.length=96",
    "model.dropout=0", "data.holdout=0.02", "training.batch_size=32", "training.accum=1", "training.log_every=10",
    "training.eval_every=250", "evaluation.sequences=384", "evaluation.masks=4", "checkpoint.every=250",
    "lr_schedule.type=constant", "ema.decay=0.98", f"monitoring.max_rise={0.1 * SCALE}", "device.type=cpu",
)  # fmt: skip
AGGRESSIVE = {
    "optim.lr": 1e-4 * SCALE, "optim.grad_clip": 1.0, "noise.sigma_max": 0.8, "optim.warmup": 5000 // SCALE,
    "curriculum.difficulty_ramp": "exponential", "curriculum.preschool_time": 5000 // SCALE,
}  # fmt: skip
STABLE = {
    "optim.lr": 5e-5 * SCALE, "optim.grad_clip": 0.5, "noise.sigma_max": 0.5, "optim.warmup": 10_000 // SCALE,
    "curriculum.difficulty_ramp": "linear", "curriculum.preschool_time": 20_000 // SCALE,
}  # fmt: skip
OFF = {"curriculum.difficulty_ramp": "constant"}
RUNS: dict[str, dict[str, object]] = {
    "aggressive": AGGRESSIVE,
    "aggressive, no curriculum": AGGRESSIVE | OFF,
    "stable": STABLE,
    "stable, no curriculum": STABLE | OFF,
}  # fmt: skip
SHARED = -math.expm1(-0.5)
"""Every run is trained on the mask rates up to here."""


def configuration(name: str, data: str, steps: int) -> sedd.Config:
    """One of `RUNS` at reduced scale."""
    settings = [f"{key}={value}" for key, value in RUNS[name].items()]
    if RUNS[name]["curriculum.difficulty_ramp"] == "exponential":
        settings.append("curriculum.rate=5")  # the steepest ramp in use
    return sedd.load_config(
        "uniref50_stable", *SIZE, *settings, f"data.train={data}", f"training.n_iters={steps}", "seed=0"
    )


def train(name: str, data: str, steps: int, folder: Path) -> tuple[sedd.Trainer, History]:
    """One run, resumed if it was interrupted."""
    directory = "".join(character if character.isalnum() else "-" for character in name)
    trainer = sedd.Trainer(configuration(name, data, steps), run=folder / directory, resume=True)
    if trainer.state.step < steps:
        trainer.fit(progress=False)
    return trainer, History.read(trainer.run.path)


def changes(data: str, steps: int, seeds: int, folder: Path) -> sedd.Sweep:
    """Each change from the aggressive to the stable configuration on its own."""
    vary = {key: [value] for key, value in STABLE.items()}
    return sedd.sweep(
        configuration("aggressive", data, steps), vary, one_at_a_time=True, seeds=seeds, run=folder / "changes"
    )


def loss_at(history: History, step: int) -> float:
    """The logged training loss nearest to a step."""
    return min(history.lines, key=lambda line: abs(line.step - step)).loss


def curves(runs: dict[str, tuple[sedd.Trainer, History]]) -> None:
    """Loss and forecast of the four configurations, step by step."""
    names = list(RUNS)
    steps = [10, 25, 50, 125, 250, 500, 750, 1000, *range(1250, runs[names[0]][1].lines[-1].step + 1, 250)]
    print("\nTraining loss (forecast of the unigram model), nats per residue\n")
    print("| step | " + " | ".join(names) + " |\n|---|" + "---|" * len(names))
    forecasts = {name: forecast_of(runs[name][0]) for name in names}
    for step in steps:
        # A line is the mean of its ten steps, and so is the forecast next to it.
        expected = {name: np.mean([forecasts[name].loss(s) for s in range(step - 10, step)]) for name in names}
        cells = [f"{loss_at(runs[name][1], step):.3f} ({expected[name]:.3f})" for name in names]
        print(f"| {step:,} | " + " | ".join(cells) + " |")


def forecast_of(trainer: sedd.Trainer) -> sedd.diagnosis.forecast.Forecast:
    """The forecast of a run, from the token frequencies of its data."""
    return make_forecast(trainer.config, DataStatistics.of(trainer.data, longest=trainer.config.model.length))


def figure(runs: dict[str, tuple[sedd.Trainer, History]], file: Path) -> None:
    """Loss and forecast of the two presets, and their bounds, in one picture."""
    from matplotlib.figure import Figure

    canvas = Figure(figsize=(10, 4), layout="constrained")
    left, right = canvas.subplots(1, 2)
    for name, colour in (("aggressive", "#c2410c"), ("stable", "#0f766e")):
        trainer, history = runs[name]
        steps = [line.step for line in history.lines]
        forecast = forecast_of(trainer)
        left.plot(steps, [line.loss for line in history.lines], color=colour, lw=1, label=f"{name}: training loss")
        unigram = [forecast.loss(step) for step in steps]
        left.plot(steps, unigram, color=colour, ls="--", lw=1.5, label=f"{name}: forecast, unigram model")
        at = [bound.step for bound in history.bounds]
        values = [float(np.interp(SHARED, EDGES[1:], bound.up_to)) for bound in history.bounds]
        right.plot(at, values, color=colour, marker="o", ms=3, label=name)
        trainer, history = runs[f"{name}, no curriculum"]
        values = [float(np.interp(SHARED, EDGES[1:], bound.up_to)) for bound in history.bounds]
        right.plot(at, values, color=colour, marker="o", ms=3, ls=":", label=f"{name}, no curriculum")
    left.set(xlabel="optimizer step", ylabel="nats per residue", title="The training loss rises: the curriculum")
    right.set(xlabel="optimizer step", ylabel="nats per residue", title="The bound up to 39 % masks falls: learning")
    for axes in (left, right):
        axes.legend(frameon=False, fontsize=8)
        axes.spines[["top", "right"]].set_visible(False)
    canvas.savefig(file, dpi=150)
    print(f"\nfigure in {file}")


def main() -> None:
    """Train what is missing, print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data")
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--steps", type=int, default=1500)
    parser.add_argument("--runs", type=Path, default=Path("runs/users-table"))
    parser.add_argument("--figure", type=Path)
    options = parser.parse_args()
    warnings.simplefilter("ignore", sedd.SeddWarning)
    torch.set_num_threads(1)
    runs = {name: train(name, options.data, options.steps, options.runs) for name in RUNS}
    curves(runs)
    swept = changes(options.data, options.steps, options.seeds, options.runs)
    print(f"\nBound over mask rates up to {swept.mask_rates[1]:.0%}, nats per residue; ± is half of a 95 % interval\n")
    print(f"| configuration | bound, mean of {options.seeds} seeds | difference | verdict |\n|---|---|---|---|")
    for trial in sorted(swept.trials, key=lambda trial: trial.number):
        contrast = swept.to_baseline.get(trial.number)
        difference = "" if contrast is None else f"{contrast.nats:+.4f} ± {contrast.half_width:.4f}"
        name = f"aggressive, {trial.name}" if trial.changes else "aggressive"
        print(f"| {name} | {trial.nats:.4f} | {difference} | {trial.judged.kind} |")
    print(f"\n{swept.sentence}")
    if options.figure:
        figure(runs, options.figure)


if __name__ == "__main__":
    main()
