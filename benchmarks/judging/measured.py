"""The truth of a real run, from what was measured: its held-out bounds and losses against those of its twin.

    harm      last bound - last bound of the twin, nats per residue: the same held-out sequences and masks
    excess    mean of log(loss / loss of the twin) over the worst tenth of the lines: the same batches and masks

A planted fault is one only if harm or |excess| is above 0.03, and the evidence decides from 0.1 on: healthy runs that
differ by their seed alone differ by about 0.01. A run on few sequences overfits only if its last bound is above its own
best one. That a run *diverged* needs no twin: its last bound is 0.1 above its
best, or above that of the uniform predictor, or it could not be finished.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from judging.expected import Array
from judging.training_runs import PER_BASE, PLANTED
from judging.truth import DECIDES, FINE, Truth
from sedd.diagnosis.verdict import WENT_WRONG, Kind
from sedd.runs.history import History

EFFECT = 0.03
"""Harm (nats per residue) or excess (relative) below which nothing was measured."""
NOTHING = 0.01
"""Harm or excess below which there is nothing that a verdict may name."""
LARGE = 0.1
"""Harm or excess from which the evidence decides."""
CERTAIN = ("mixed batch",)
"""Faults that are computed and not estimated: to name them is right however little harm they do."""
STILL = 0.01
"""Improvement of the bound in the second half of a run, nats per residue, below which it stands still."""


@dataclass(frozen=True, eq=False)
class Measured:
    """A finished run as it was recorded."""

    facts: dict[str, Any]
    steps: Array
    """(lines,)"""
    losses: Array
    """(lines,): nats per residue."""
    bounds: Array
    """(evaluations,): held-out bounds, nats per residue."""
    skipped: int

    @classmethod
    def read(cls, folder: Path) -> Measured:
        """Read a run directory."""
        history = History.read(folder)
        lines, bounds = history.lines, history.bounds
        return cls(
            json.loads((folder / PLANTED).read_text("utf-8")),
            np.array([line.step for line in lines], float),
            np.array([line.loss for line in lines]),
            np.array([bound.nats for bound in bounds]),
            lines[-1].skipped if lines else len(history.skipped),
        )

    @property
    def last(self) -> float:
        """The last bound; infinite where there is none."""
        return float(self.bounds[-1]) if len(self.bounds) and np.isfinite(self.bounds[-1]) else np.inf

    @property
    def worse_than_best(self) -> float:
        """Last bound minus the best one."""
        return self.last - float(np.nanmin(self.bounds)) if len(self.bounds) else np.inf

    @property
    def diverged(self) -> bool:
        """Whether the model got worse, whatever was planted."""
        over = self.last - np.log(self.facts["symbols"])
        return not self.facts["finished"] or max(self.worse_than_best, over) > LARGE

    @property
    def stands_still(self) -> bool:
        """Whether the bound did not improve in the second half, or is no better than the unigram model's."""
        middle = self.bounds[len(self.bounds) // 2 - 1] if len(self.bounds) > 1 else np.inf
        return bool(middle - self.last < STILL or self.last > self.facts["h1"] - EFFECT)

    def harm(self, twin: Measured) -> float:
        """How much worse the last bound is than that of the twin."""
        return self.last - twin.last

    def excess(self, twin: Measured) -> float:
        """Mean of log(loss / loss of the twin) where it is largest in size, over a tenth of the lines."""
        count = min(len(self.losses), len(twin.losses))
        if count < 2:
            return 0.0
        ratio = np.log(np.maximum(self.losses[:count], 1e-9) / np.maximum(twin.losses[:count], 1e-9))
        width = max(1, count // 10)
        means = np.convolve(np.nan_to_num(ratio, nan=3.0, posinf=3.0), np.full(width, 1 / width), "valid")
        return float(means[np.abs(means).argmax()])


def read_all(out: Path) -> dict[int, Measured]:
    """All finished runs in a directory, by number."""
    folders = sorted(folder.parent for folder in out.glob(f"*/{PLANTED}"))
    return {int(folder.name): Measured.read(folder) for folder in folders}


def truth_of(number: int, runs: dict[int, Measured]) -> Truth | None:
    """What is true of a run; None for a faulty one whose twin is not there."""
    run, twin = runs[number], runs.get(number - number % PER_BASE)
    if twin is None:
        return None
    harm, excess = (0.0, 0.0) if run is twin else (run.harm(twin), run.excess(twin))
    accepted: list[Kind] = list(run.facts["accepted"])
    if accepted == ["overfitting"] and run.worse_than_best <= EFFECT:
        # It learns less than its twin because it has fewer sequences, and has not memorised them: no fault of the run.
        accepted, harm, excess = [], 0.0, 0.0
    skips = run.skipped / max(1, run.facts["steps"])
    severity = max(harm, abs(excess), skips if "instability" in accepted else 0.0)
    own = run.diverged and (run is twin or not twin.diverged)
    if own:  # whatever was planted, the model got worse
        severity = max(severity, run.worse_than_best)
        accepted += ["learning", "instability"]
    if run.worse_than_best > EFFECT and np.log(run.losses[-5:].mean() / run.losses.min()) < EFFECT:
        accepted.append("overfitting")  # held-out data get worse while training data do not
    faultless = (severity <= EFFECT and not own) or (run is twin and not own)
    z = 0.0 if faultless else DECIDES * severity / LARGE
    fine: list[Kind] = ["healthy", "curriculum", *(["plateau"] if run.stands_still else [])]  # type: ignore[list-item]
    if faultless and severity < NOTHING:
        accepted = [kind for kind in accepted if kind == "overfitting" and run is twin]  # measured, not planted
    if faultless or z <= DECIDES or not WENT_WRONG & {*accepted}:
        accepted = [*fine, *accepted] if faultless else [*accepted, *fine, "inconclusive"]
    elif run.stands_still:
        accepted.append("plateau")
    if run.facts["fault"] in CERTAIN and run is not twin:
        accepted, faultless = [*run.facts["accepted"], *accepted], False
    onset = run.facts["onset"]
    return Truth(
        number, run.facts["fault"], tuple(dict.fromkeys(accepted)),
        tuple(WENT_WRONG - {*accepted}) if faultless else tuple(FINE - {*accepted}),
        onset=None if onset is None or faultless else (onset, onset + 8),
        severity=float(severity), z=float(z), faultless=bool(faultless),
        facts=run.facts | {"harm": harm, "excess": excess, "last - best": run.worse_than_best, "skipped": skips},
    )  # fmt: skip
