"""Where a run stands: everything that a checkpoint stores besides tensors."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, fields
from typing import Any

import numpy as np

from sedd.data.order import Cursor
from sedd.diffusion.loss_profile import LossProfile
from sedd.runs.step_report import StepReport


@dataclass(frozen=True)
class Window:
    """Sums since the last line of the metrics file."""

    steps: int = 0
    seconds: float = 0.0
    grad_norm: float = 0.0
    grad_norm_max: float = 0.0
    bins: LossProfile = field(default_factory=LossProfile)
    letters: tuple[int, ...] = ()

    def add(self, report: StepReport) -> Window:
        """The window with one more step in it; skipped steps have no finite numbers to add."""
        if report.skipped:
            return self
        letters = np.array(report.letters)
        return Window(
            steps=self.steps + 1,
            seconds=self.seconds + report.residues / report.residues_per_second,
            grad_norm=self.grad_norm + report.grad_norm,
            grad_norm_max=max(self.grad_norm_max, report.grad_norm),
            bins=self.bins + report.bins,
            letters=tuple((letters + self.letters if self.letters else letters).tolist()),
        )

    def means(self) -> dict[str, float]:
        """Mean loss and mask rate per residue, mean and largest gradient norm of a step, residues per second."""
        residues, steps = max(self.bins.residues, 1), max(self.steps, 1)
        return {
            "loss": float(self.bins.loss.sum()) / residues,
            "mask_rate": float(self.bins.corrupted.sum()) / residues,
            "grad_norm": self.grad_norm / steps,
            "grad_norm_max": self.grad_norm_max,
            "residues_per_second": self.bins.residues / max(self.seconds, 1e-9),
        }

    def letters_shift(self, counts: np.ndarray) -> float | None:
        """How far the letters of the window are from those of the training set, whose `counts` are given: KL, nats."""
        if not any(self.letters):
            return None
        seen, usual = np.array(self.letters, np.float64), counts + 0.5
        seen, usual = seen / seen.sum(), usual / usual.sum()
        there = seen > 0
        return float(np.sum(seen[there] * np.log(seen[there] / usual[there])))


@dataclass(frozen=True)
class TrainState:
    """Clocks and positions of a run."""

    step: int = 0
    """Optimizer steps done; the clock of the curriculum, the learning rate, the EMA, logs and checkpoints."""
    cursor: Cursor = field(default_factory=Cursor)
    """Position in the data; moves on also when a step is skipped."""
    residues: int = 0
    """Residues seen in steps that were done."""
    skipped: int = 0
    """Steps skipped because the gradient was not finite."""
    skipped_in_a_row: int = 0
    """Skipped steps since the last one that was done."""
    seconds: float = 0.0
    """Time spent in training steps."""
    best_step: int | None = None
    """Step of the lowest held-out bound so far."""
    best_bound: float | None = None
    """That bound, nats per residue."""
    lr_scale: float = 1.0
    """What rolling back has left of the configured learning rate."""
    rollbacks: int = 0
    """How often the run went back to an earlier checkpoint because it diverged."""
    profile: LossProfile = field(default_factory=LossProfile)
    """Exponentially weighted loss by mask rate."""
    window: Window = field(default_factory=Window)
    """What the next line of the metrics file sums up."""

    def to_json(self) -> dict[str, Any]:
        """Plain data that `from_json` reads back, bit for bit."""
        window = _fields(self.window) | {"bins": self.window.bins.to_json()}
        return _fields(self) | {"cursor": asdict(self.cursor), "profile": self.profile.to_json(), "window": window}

    @staticmethod
    def from_json(data: dict[str, Any]) -> TrainState:
        window = data["window"]
        window = Window(**window | {"bins": LossProfile.from_json(window["bins"]), "letters": tuple(window["letters"])})
        profile = LossProfile.from_json(data["profile"])
        return TrainState(**data | {"cursor": Cursor(**data["cursor"]), "profile": profile, "window": window})


def _fields(part: TrainState | Window) -> dict[str, Any]:
    return {each.name: getattr(part, each.name) for each in fields(part)}
