"""The record of a run that ended before its last step on purpose."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, ClassVar, Literal

from sedd.evaluation.intervals import with_error


@dataclass(frozen=True)
class StoppedRecord:
    """The end of a run before `training.n_iters`. Numbers are None where they are unknown."""

    kind: ClassVar[str] = "stopped"
    step: int
    """The last optimizer step."""
    reason: Literal["early_stopping", "on_step"]
    """What ended it: `training.early_stopping`, or the callback of `Trainer.fit`."""
    evaluations: int | None = None
    """Evaluations in a row without an improvement of the held-out bound."""
    best_step: int | None = None
    """Step of the bound that they did not improve."""
    best_nats: float | None = None
    """That bound, nats per residue."""
    min_delta: float | None = None
    """How much lower a bound had to be to improve it, nats per residue."""
    above_best_nats: float | None = None
    """The last bound minus that one, sequence by sequence, nats per residue."""
    above_best_half_width: float | None = None
    """Half of the 95 % interval of `above_best_nats`."""

    @property
    def sentence(self) -> str:
        """What ended the run, in words."""
        if self.reason == "on_step":
            return f"Stopped at step {self.step:,}, as on_step asked."
        many = "1 evaluation" if self.evaluations == 1 else f"{self.evaluations} evaluations"
        best = ""
        if self.best_nats is not None:
            best = f" on {self.best_nats:.4f} nats per residue of step {self.best_step:,}"
            best += f" by more than {self.min_delta:g}" if self.min_delta else ""
        last = ""
        if self.above_best_nats is not None and self.above_best_half_width is not None:
            where = "above" if self.above_best_nats >= 0.0 else "below"
            size = with_error(abs(self.above_best_nats), self.above_best_half_width)
            last = f" The last one is {size} {where} it (± is half of a 95 % interval)."
        return (
            f"Stopped early at step {self.step:,} (training.early_stopping): in {many} the "
            f"held-out bound did not improve{best}.{last}"
        )

    def to_dict(self) -> dict[str, Any]:
        """The line as plain data, without what is unknown."""
        return {"kind": self.kind, **{name: value for name, value in asdict(self).items() if value is not None}}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> StoppedRecord:
        """Read a line. Raises KeyError where its step or reason is missing."""
        known = {item.name: data.get(item.name) for item in fields(cls)}
        return cls(**{**known, "step": data["step"], "reason": data["reason"]})
