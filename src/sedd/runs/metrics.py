"""The lines of `metrics.jsonl`: plain keys, plain numbers, units in `docs/reference/files.md`."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import numpy as np

from sedd.data import Dataset
from sedd.data.statistics import DataStatistics
from sedd.diffusion.loss_profile import LossProfile, rounded
from sedd.runs.state import TrainState
from sedd.runs.step_report import StepReport


def data_line(data: Dataset, letters: DataStatistics) -> dict[str, Any]:
    """What the run trains on, once at its beginning: enough to forecast its loss without the data."""
    return {
        "kind": "data",
        "step": 0,
        "letter_counts": data.token_counts.tolist(),
        "mean_length": letters.length,
        "sequences": len(data.train),
    }


def rollback_line(state: TrainState, alarm: Mapping[str, Any]) -> dict[str, Any]:
    """Going back to the checkpoint of `state`, whose learning rate is already cut, because of `alarm`."""
    return {
        "kind": "rollback",
        "step": state.step,
        "from_step": alarm["step"],
        "lr_scale": state.lr_scale,
        "rollbacks": state.rollbacks,
        "alarm": dict(alarm),
    }


def train_line(
    report: StepReport, state: TrainState, token_counts: np.ndarray, memory: Mapping[str, int]
) -> dict[str, Any]:
    """Means over the steps since the line before, the clocks, and the loss by mask rate."""
    window = state.window
    shift = window.letters_shift(token_counts)
    return {
        "kind": "train",
        "step": report.step,
        **window.means(),
        "difficulty": report.difficulty,
        "mask_rate_max": report.mask_rate_max,
        "lr": report.lr,
        "residues": state.residues,
        "skipped": state.skipped,
        "seconds": state.seconds,
        **({} if shift is None else {"letters_shift": shift}),
        **{f"memory_{name}": value for name, value in memory.items()},
        **profile_lists(window.bins),
        "profile": rounded(state.profile.values, 5),
    }


def profile_lists(bins: LossProfile) -> dict[str, list[float | None]]:
    """Sums by mask rate as means per residue, so that they add up to the loss, the mask rates and so on."""
    return {
        f"by_mask_rate_{name}": rounded(array / max(bins.residues, 1))
        for name, array in (
            ("loss", bins.loss), ("drawn", bins.drawn), ("expected", bins.expected), ("corrupted", bins.corrupted)
        )
    }  # fmt: skip


def bound_line(report: StepReport, state: TrainState) -> dict[str, Any]:
    """The held-out bound; only for a report that has one."""
    if report.bound is None:
        raise ValueError(f"the report of step {report.step} has no bound")
    found = asdict(report.bound).items()
    numbers = {
        f"bound_{key}": rounded(value) if isinstance(value, tuple) else value
        for key, value in found
        if isinstance(value, tuple) or math.isfinite(value)  # JSON has no infinity
    }
    return {
        "kind": "bound",
        "step": report.step,
        **numbers,
        "bound_bits": report.bound.bits,
        "residues": state.residues,
        "seconds": state.seconds,
    }


def skipped_line(report: StepReport) -> dict[str, Any]:
    """A step whose gradient was not finite; `step` is the last one that was done."""
    return {"kind": "skipped", "step": report.step, "skipped": report.skipped_total}
