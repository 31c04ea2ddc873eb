"""The metrics of `evaluation.metrics` while a run trains. Whatever one of them does, training goes on as without it."""

from __future__ import annotations

import random
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from sedd.devices import seed_generators
from sedd.distributed.signals import interruptible
from sedd.errors import SeddWarning
from sedd.plugins.contracts import Backend, Metric
from sedd.pretrained import Pretrained
from sedd.randomness import seed_for
from sedd.runs.metrics_record import MetricsRecord, checked_numbers
from sedd.runs.step_report import StepReport
from sedd.sampling.predictors.base import Report

if TYPE_CHECKING:
    from sedd.training.trainer import Trainer


class MetricsAtEvaluations:
    """Computes the metrics of a run at the steps that are evaluated; called after every step, by all ranks.

    Args:
        trainer: a copy of its averaged model is evaluated, on the first rank.
        doing: opened, with what is done, around each metric.
    """

    def __init__(self, trainer: Trainer, doing: Callable[[str], AbstractContextManager[Report]]) -> None:
        self._trainer, self._doing = trainer, doing
        self._metrics = numbered(trainer.config.evaluation.metrics)
        self._failed: set[str] = set()

    def __call__(self, report: StepReport) -> list[dict[str, Any]]:
        """The record for the metrics file, if the step was evaluated.

        Raises:
            Interrupted: if a signal cuts it short; the run computes the metrics again when it goes on.
        """
        trainer = self._trainer
        if report.bound is None or not self._metrics:
            return []
        model = trainer.model
        if not trainer.world.is_main:
            return []
        numbers: dict[str, float] = {}
        # The other ranks wait for this one, so that only a single process can be cut short.
        with interruptible() if trainer.world.size == 1 else nullcontext():
            for name, metric in self._metrics.items():
                with self._doing(f"computing {name}"):
                    numbers |= self._numbers(name, metric, model)
        return [MetricsRecord(report.step, numbers).to_dict()] if numbers else []

    def _numbers(self, name: str, metric: Metric, model: Pretrained) -> dict[str, float]:
        """The numbers of one metric, none if it fails, which is said once."""
        trainer = self._trainer
        try:
            with _own_random_numbers(trainer.backend, seed_for(trainer.config.seed, "metric", 0)):
                found = checked_numbers(metric.evaluate(model, trainer.data), f"evaluate() of {name}")
        except Exception as error:  # a plugin may fail in any way
            if name not in self._failed:
                warnings.warn(
                    f"the metric {name!r} failed at step {trainer.state.step:,} ({type(error).__name__}: {error}); it "
                    "is left out there, and tried again at the next evaluation",
                    SeddWarning,
                    stacklevel=2,
                )
            self._failed.add(name)
            return {}
        return {f"{name}/{key}": value for key, value in found.items()}


def numbered(metrics: tuple[Metric, ...]) -> dict[str, Metric]:
    """The metrics by name; the second one of a type has the name `TYPE-2`, and so on."""
    count: Counter[str] = Counter()
    named = {}
    for metric in metrics:
        name = metric.part_name()
        count[name] += 1
        named[name if count[name] == 1 else f"{name}-{count[name]}"] = metric
    return named


@contextmanager
def _own_random_numbers(backend: Backend, seed: int) -> Iterator[None]:
    """A context in which the generators of torch, NumPy and Python begin with a seed, and are as before afterwards."""
    python, legacy, gradients = random.getstate(), np.random.get_state(), torch.is_grad_enabled()
    device = backend.device()
    try:
        with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
            random.seed(seed)
            np.random.seed(seed % 2**32)  # for the code of users
            seed_generators(backend, seed)
            yield
    finally:
        random.setstate(python)
        np.random.set_state(legacy)
        torch.set_grad_enabled(gradients)
