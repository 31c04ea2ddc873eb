"""Runs that are interrupted and resumed equal those that are not, bit for bit."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from random import Random

import pytest
import torch

import sedd
from tests.reliability.result import Result, Tally, lost_unless, sampled
from tests.reliability.runs import configuration, digest, error_of, fresh, train, weights_digest
from tests.training.test_interruptions import Interrupter
from tests.training.test_trainer import VARIANTS

GRID = {
    "graph.type": ("absorb", "uniform"),
    "model.head": ("normalised", "score"),
    "curriculum.mode": ("scale", "truncate", "bias"),
    "training.accum": (1, 3),
    "model.dropout": (0.0, 0.2),
    "ema.warmup": ("true", "false"),
}
INTERRUPTED_AT = (1, 2, 4, 5)


def resume_grid(scale: float, seed: int, workdir: Path) -> Result:
    """A run is interrupted at a step and resumed: graphs x heads x curriculum modes x accumulation x dropout
    x averages. It ends bit for bit as undisturbed; 12 negative controls must differ.
    """
    random = Random(seed)
    grid = [tuple(f"{key}={value}" for key, value in zip(GRID, cell, strict=True)) for cell in _cells()]
    cases = sampled(list(itertools.product(grid, INTERRUPTED_AT)), scale, random)
    tally = Tally(workdir, len(cases) + len(CONTROLS))
    expected: dict[tuple[str, ...], str] = {}
    for number, (overrides, step) in enumerate(cases):
        config = configuration(*overrides)
        if overrides not in expected:
            expected[overrides] = digest(train(config, fresh(workdir, "straight")).run.path)
        with tally.case(f"{' '.join(overrides)}, step {step}"):
            run = fresh(workdir)
            (_pause if number % 2 else _interrupt)(config, run, step)
            train(config, run, resume=True)
            lost_unless(digest(run) == expected[overrides], "the resumed run differs")
    _check_controls(tally, workdir)
    return tally.result


def _cells() -> list[tuple[object, ...]]:
    return list(itertools.product(*GRID.values()))


def _pause(config: sedd.Config, run: Path, step: int) -> None:
    train(config, run, until=step)


def _interrupt(config: sedd.Config, run: Path, step: int) -> None:
    """Raise Ctrl-C in the forward pass after `step` steps."""
    trainer = sedd.Trainer(config, run=run)
    with pytest.MonkeyPatch.context() as patched:
        Interrupter(KeyboardInterrupt(), step + 1, after=True).patch(patched, trainer.train_step, "_gradient")
        lost_unless(error_of(lambda: trainer.fit(progress=False)) is not None, "the interruption did not happen")


Disturb = Callable[[sedd.Trainer], None]


def _by_one_ulp(tensor: torch.Tensor) -> None:
    with torch.no_grad():
        tensor.copy_(torch.nextafter(tensor, torch.full_like(tensor, torch.inf)))


def _disturb_weights(trainer: sedd.Trainer) -> None:
    for parameter in trainer.network.parameters():
        _by_one_ulp(parameter)


def _disturb_average(trainer: sedd.Trainer) -> None:
    for parameter in trainer.ema.network.parameters():
        _by_one_ulp(parameter)


def _disturb_moment(name: str) -> Disturb:
    def disturb(trainer: sedd.Trainer) -> None:
        for state in trainer.optimizer.state.values():
            state[name].mul_(1.01)

    return disturb


def _disturb_clock(trainer: sedd.Trainer) -> None:
    for state in trainer.optimizer.state.values():
        state["step"] += 1


def _drop_moments(trainer: sedd.Trainer) -> None:
    trainer.optimizer.state.clear()


def _count_an_update(trainer: sedd.Trainer) -> None:
    trainer.ema.updates += 1


def _skip_a_batch(trainer: sedd.Trainer) -> None:
    _, cursor = trainer.batches.at(trainer.state.cursor)
    trainer.state = replace(trainer.state, cursor=cursor)


def _lower_the_rate(trainer: sedd.Trainer) -> None:
    trainer.state = replace(trainer.state, lr_scale=0.999)


def _forget_the_profile(trainer: sedd.Trainer) -> None:
    trainer.state = replace(trainer.state, profile=type(trainer.state.profile)())


def _forget_residues(trainer: sedd.Trainer) -> None:
    trainer.state = replace(trainer.state, residues=trainer.state.residues - 1)


def _forget_the_best(trainer: sedd.Trainer) -> None:
    trainer.state = replace(trainer.state, best_bound=1e-3, best_step=1)


CONTROLS: dict[str, Disturb] = {
    "weights by one ulp": _disturb_weights,
    "averaged weights by one ulp": _disturb_average,
    "first moments by 1 %": _disturb_moment("exp_avg"),
    "second moments by 1 %": _disturb_moment("exp_avg_sq"),
    "the clock of AdamW by a step": _disturb_clock,
    "no moments": _drop_moments,
    "an update of the average more": _count_an_update,
    "a batch left out": _skip_a_batch,
    "the learning rate by 0.1 %": _lower_the_rate,
    "no loss profile": _forget_the_profile,
    "a residue less": _forget_residues,
    "another best bound": _forget_the_best,
}
"""What is changed after resuming; the end of the run must differ."""


def _check_controls(tally: Tally, workdir: Path) -> None:
    config = configuration("model.dropout=0.1", "training.n_iters=16", "training.eval_every=8")
    expected = weights_digest(train(config, fresh(workdir, "straight")).run.path)
    for name, disturb in CONTROLS.items():
        run = fresh(workdir)
        train(config, run, until=12)
        trainer = sedd.Trainer(config, run=run, resume=True)
        disturb(trainer)
        trainer.fit(progress=False)
        tally.control(name, found=weights_digest(run) != expected)


def chained_resume(scale: float, seed: int, workdir: Path) -> Result:
    """Runs are resumed in a new trainer after every single step."""
    steps = max(4, round(40 * scale))
    tally = Tally(workdir, (steps - 1) * len(VARIANTS))
    for name, variant in VARIANTS.items():
        config = configuration(
            "model.dropout=0.1", f"training.n_iters={steps}", "training.eval_every=7", f"seed={seed}", *variant
        )
        straight = train(config, fresh(workdir, "straight")).run.path
        expected, run = digest(straight), fresh(workdir)
        for step in range(1, steps):
            with tally.case(f"{name}, step {step}"):
                trainer = train(config, run, until=step, resume=True)
                lost_unless(trainer.state.step == step, f"it is at step {trainer.state.step}")
        with tally.case(f"{name}, end"):
            train(config, run, resume=True)
            lost_unless(digest(run) == expected, "the resumed run differs")
    return tally.result
