"""The lines of `metrics.jsonl`: plain keys, plain numbers, units in `docs/reference/files.md`."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from sedd.training.report import StepReport
from sedd.training.state import TrainState


def train_line(report: StepReport, state: TrainState, memory: Mapping[str, int]) -> dict[str, Any]:
    """Means over the steps since the line before, and the clocks."""
    return {
        "kind": "train",
        "step": report.step,
        **state.window.means(),
        "difficulty": report.difficulty,
        "mask_rate_max": report.mask_rate_max,
        "lr": report.lr,
        "residues": state.residues,
        "skipped": state.skipped,
        "seconds": state.seconds,
        **{f"memory_{name}": value for name, value in memory.items()},
    }


def bound_line(report: StepReport, state: TrainState) -> dict[str, Any]:
    """The held-out bound; only for a report that has one."""
    if report.bound is None:
        raise ValueError(f"the report of step {report.step} has no bound")
    found = asdict(report.bound).items()
    numbers = {f"bound_{key}": value for key, value in found if math.isfinite(value)}  # JSON has no infinity
    return {
        "kind": "bound",
        "step": report.step,
        **numbers,
        "bound_bits": report.bound.bits,
        "residues": state.residues,
    }


def skipped_line(report: StepReport) -> dict[str, Any]:
    """A step whose gradient was not finite; `step` is the last one that was done."""
    return {"kind": "skipped", "step": report.step, "skipped": report.skipped_total}
