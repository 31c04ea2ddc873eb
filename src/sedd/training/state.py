"""Where a run stands: everything that a checkpoint stores besides tensors."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

from sedd.data.order import Cursor
from sedd.training.report import StepReport


@dataclass(frozen=True)
class Window:
    """Sums since the last line of the metrics file."""

    steps: int = 0
    residues: int = 0
    loss: float = 0.0
    corrupted: float = 0.0
    grad_norm: float = 0.0
    seconds: float = 0.0

    def add(self, report: StepReport) -> Window:
        """The window with one more step in it; skipped steps have no finite numbers to add."""
        if report.skipped:
            return self
        return Window(
            steps=self.steps + 1,
            residues=self.residues + report.residues,
            loss=self.loss + report.loss * report.residues,
            corrupted=self.corrupted + report.mask_rate * report.residues,
            grad_norm=self.grad_norm + report.grad_norm,
            seconds=self.seconds + report.residues / report.residues_per_second,
        )

    def means(self) -> dict[str, float]:
        """Mean loss and mask rate per residue, mean gradient norm per step, residues per second."""
        residues, steps = max(self.residues, 1), max(self.steps, 1)
        return {
            "loss": self.loss / residues,
            "mask_rate": self.corrupted / residues,
            "grad_norm": self.grad_norm / steps,
            "residues_per_second": self.residues / max(self.seconds, 1e-9),
        }


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
    window: Window = field(default_factory=Window)
    """What the next line of the metrics file sums up."""

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @staticmethod
    def from_json(data: dict[str, Any]) -> TrainState:
        return TrainState(**(data | {"cursor": Cursor(**data["cursor"]), "window": Window(**data["window"])}))
