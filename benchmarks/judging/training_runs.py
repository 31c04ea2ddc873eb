"""Train short real runs, healthy and with planted faults, each into a directory of its own, with what was planted.

Run number i of a stream is healthy if i is a multiple of 3; the two after it are the same run with a fault. So every
faulty run has a twin without the fault, with the same weights, batches, noise and held-out sequences.
"""

from __future__ import annotations

import contextlib
import io
import json
import multiprocessing
import shutil
import time
import traceback
import warnings
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

import sedd
from judging.run_bases import Base, draw_base
from judging.run_data import Clock
from judging.run_faults import FAULTS, Planted
from sedd.config.config import Config
from sedd.data import Cursor, open_data
from sedd.diagnosis.api import load_without_advice
from sedd.files import write_atomically
from sedd.training.loading import StepInputs

PER_BASE = 3
"""One healthy run and two with faults."""
PLANTED = "truth.json"


@dataclass(frozen=True)
class Job:
    """One run to train."""

    number: int
    proteins: Path | None
    text: Path | None
    out: Path
    toy: bool = False

    @property
    def folder(self) -> Path:
        """Its run directory."""
        return self.out / f"{self.number:08}"

    @property
    def base(self) -> Base:
        """The healthy run that it is, or is derived from."""
        first = self.number - self.number % PER_BASE
        return draw_base(first, proteins=self.proteins, text=self.text, toy=self.toy)

    def planted(self) -> tuple[str, Planted | None]:
        """Name of the fault and what it changes; `none` for a healthy run."""
        if self.number % PER_BASE == 0:
            return "none", None
        random = np.random.default_rng([4711, self.number])
        name = str(random.choice(list(FAULTS)))
        return name, FAULTS[name](random, self.base.steps)


def train_all(jobs: Iterable[Job], *, processes: int) -> None:
    """Train those that are not finished, and print a line for each.

    A run that was stopped begins again.
    """
    todo = [job for job in jobs if not (job.folder / PLANTED).exists()]
    print(f"{len(todo)} runs to train", flush=True)
    with ProcessPoolExecutor(processes, mp_context=multiprocessing.get_context("spawn")) as pool:
        for line in pool.map(_train, todo):
            print(line, flush=True)


def _train(job: Job) -> str:
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    shutil.rmtree(job.folder, ignore_errors=True)
    name, planted = job.planted()
    began = time.perf_counter()
    try:
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            facts = _trained(job, planted)
    except Exception:  # one run that cannot be built is not to end the others
        return f"{job.number}: {name} failed\n{traceback.format_exc()}"
    shutil.rmtree(job.folder / "checkpoints", ignore_errors=True)
    facts |= {"number": job.number, "fault": name, "seconds": round(time.perf_counter() - began, 1)}
    write_atomically(job.folder / PLANTED, json.dumps(facts, indent=1).encode())
    return f"{job.number}: {name}, {facts['source']}, {facts['seconds']} s, bound {facts['bound']}"


def _config(job: Job, planted: Planted | None) -> Config:
    preset, *overrides = job.base.overrides
    return load_without_advice(preset, *overrides, *(() if planted is None else planted.overrides))


def _trained(job: Job, planted: Planted | None) -> dict[str, Any]:
    """Train one run; returns what was planted and how it ended."""
    config, clock = _config(job, planted), Clock()
    data = open_data(config.data, seed=config.seed)
    exact = data.exact_nll
    if planted is not None and planted.data is not None:
        data = planted.data(data, clock)
    trainer = sedd.Trainer(config, data=data, run=job.folder)
    _keep_time(trainer, clock)
    if planted is not None and planted.plant is not None:
        planted.plant(trainer)
    finished = True
    try:
        trainer.fit(progress=False)
    except sedd.TrainingError:
        finished = False
    bound = trainer.evaluate().nats
    return {
        "base": job.number - job.number % PER_BASE,
        "unusual": job.base.unusual,
        "source": job.base.source,
        "steps": config.training.n_iters,
        "accepted": [] if planted is None else list(planted.accepted),
        "onset": None if planted is None else planted.onset,
        "numbers": {} if planted is None else planted.numbers,
        "finished": finished,
        "bound": bound if np.isfinite(bound) else None,
        "exact_nll": exact,
        "h1": _entropy(data.token_counts),
        "symbols": data.alphabet.n,
    }


def _keep_time(trainer: sedd.Trainer, clock: Clock) -> None:
    """Set the clock of the data before the batch of a step is read, which is one step ahead of the training."""
    prepare = trainer.loader._prepare

    def timed(step: int, cursor: Cursor) -> StepInputs:
        clock.step = step
        return prepare(step, cursor)

    trainer.loader._prepare = timed  # type: ignore[method-assign]  # a clock for data that change


def _entropy(counts: np.ndarray) -> float:
    p = counts[counts > 0] / counts.sum()
    return float(-(p * np.log(p)).sum())
