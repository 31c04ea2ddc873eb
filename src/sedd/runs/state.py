"""The state of a run: everything in a checkpoint besides tensors."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sedd.data.order import Cursor
from sedd.diffusion.loss_profile import LossProfile
from sedd.runs.step_report import StepReport


@dataclass(frozen=True)
class Window:
    """Sums over the optimizer steps since the last train record."""

    steps: int = 0
    seconds: float = 0.0
    grad_norm: float = 0.0
    grad_norm_max: float = 0.0
    bins: LossProfile = field(default_factory=LossProfile)
    token_counts: tuple[int, ...] = ()

    def add(self, report: StepReport) -> Window:
        """Return the window with one more step; a skipped step is left out, its numbers are not finite."""
        if report.skipped:
            return self
        counts = np.array(report.token_counts)
        return Window(
            steps=self.steps + 1,
            seconds=self.seconds + report.residues / report.residues_per_second,
            grad_norm=self.grad_norm + report.grad_norm,
            grad_norm_max=max(self.grad_norm_max, report.grad_norm),
            bins=self.bins + report.bins,
            token_counts=tuple((counts + self.token_counts if self.token_counts else counts).tolist()),
        )

    @property
    def loss(self) -> float:
        """Mean loss, nats per residue."""
        return float(self.bins.loss.sum()) / max(self.bins.residues, 1)

    def token_divergence(self, training_counts: NDArray[np.int64]) -> float | None:
        """KL divergence of the token frequencies of the window from those of the training set, nats per residue.

        Args:
            training_counts: (n,) how often each token occurs in the training set.
        """
        if not any(self.token_counts):
            return None
        # KL(p || q) = sum of p log(p / q); half a count more for each token keeps q above 0.
        p, q = np.array(self.token_counts, np.float64), training_counts + 0.5
        p, q = p / p.sum(), q / q.sum()
        occurs = p > 0
        return float(np.sum(p[occurs] * np.log(p[occurs] / q[occurs])))

    def to_dict(self) -> dict[str, Any]:
        """Plain data that `from_dict` reads back, bit for bit."""
        numbers = {name: getattr(self, name) for name in ("steps", "seconds", "grad_norm", "grad_norm_max")}
        return {**numbers, "bins": self.bins.to_dict(), "letters": self.token_counts}

    @staticmethod
    def from_dict(data: dict[str, Any]) -> Window:
        """Read what `to_dict` wrote."""
        numbers = {name: value for name, value in data.items() if name not in ("bins", "letters")}
        return Window(**numbers, bins=LossProfile.from_dict(data["bins"]), token_counts=tuple(data["letters"]))


@dataclass(frozen=True)
class TrainState:
    """Clocks and positions of a run."""

    step: int = 0
    """Optimizer steps tried, skipped ones included; the clock of the curriculum, the learning rate, the EMA, logs and
    checkpoints."""
    cursor: Cursor = field(default_factory=Cursor)
    """Position in the data."""
    residues: int = 0
    """Residues seen, without those of skipped steps."""
    skipped: int = 0
    """Steps skipped because the gradient was not finite."""
    skipped_in_a_row: int = 0
    """Steps skipped since the last one that was done."""
    seconds: float = 0.0
    """Time in training steps."""
    best_step: int | None = None
    """Step of the lowest held-out bound so far."""
    best_bound: float | None = None
    """The lowest held-out bound so far, nats per residue."""
    lr_scale: float = 1.0
    """Factor on the configured learning rate; each rollback lowers it."""
    rollbacks: int = 0
    """How often the run went back to an earlier checkpoint because it diverged."""
    profile: LossProfile = field(default_factory=LossProfile)
    """Exponentially weighted loss by mask rate."""
    window: Window = field(default_factory=Window)
    """Sums for the next train record."""
    pending: StepReport | None = None
    """The report of the last step, until the step is evaluated and recorded."""

    def recorded(self, *, ends_window: bool = False) -> TrainState:
        """The state once the last step is evaluated and recorded; a train record ends the window that it sums up."""
        return replace(self, pending=None, window=Window() if ends_window else self.window)

    @property
    def recorded_until(self) -> tuple[int, int]:
        """Optimizer steps whose records are complete, and how many of them were skipped."""
        if self.pending is None:
            return self.step, self.skipped
        return self.step - 1, self.skipped - self.pending.skipped

    def with_bound(self, step: int, nats: float) -> TrainState:
        """The state after an evaluation at `step`; notes the held-out bound, nats per residue, if it is the lowest."""
        if not math.isfinite(nats) or (self.best_bound is not None and nats >= self.best_bound):
            return self
        return replace(self, best_bound=nats, best_step=step)

    def to_dict(self) -> dict[str, Any]:
        """Plain data that `from_dict` reads back, bit for bit."""
        numbers = {item.name: getattr(self, item.name) for item in fields(self)}
        parts = {"cursor": asdict(self.cursor), "profile": self.profile.to_dict(), "window": self.window.to_dict()}
        return numbers | parts | {"pending": self.pending and self.pending.to_dict()}

    @staticmethod
    def from_dict(data: dict[str, Any]) -> TrainState:
        """Read what `to_dict` wrote. Raises ValueError if a count is not a natural number."""
        for name in ("step", "residues", "skipped", "skipped_in_a_row", "rollbacks"):
            if type(data[name]) is not int or data[name] < 0:
                raise ValueError(f"{name} is {data[name]!r}")
        parts = {
            "cursor": Cursor(**data["cursor"]),
            "profile": LossProfile.from_dict(data["profile"]),
            "window": Window.from_dict(data["window"]),
            "pending": StepReport.from_dict(data["pending"]) if data.get("pending") else None,
        }
        return TrainState(**data | parts)
