"""The records of `metrics.jsonl`: one class per kind of line, each writes and reads itself.

`docs/reference/files.md` lists keys and units. Arrays by mask rate are (BINS,), see `sedd.diffusion.loss_profile`. JSON
has no NaN and no infinity: in a list they are null, and a list ends at its last value that is not 0 or null.
Every `from_dict` raises KeyError where a key is missing.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from sedd.diffusion.loss_profile import LossProfile, rounded
from sedd.runs.bound_record import BoundRecord, RecordedBound, padded
from sedd.runs.data_record import DataRecord, EvaluatedRecord
from sedd.runs.state import TrainState
from sedd.runs.step_report import StepReport

__all__ = [
    "BoundRecord", "ChangedRecord", "DataRecord", "EvaluatedRecord", "RecordedBound", "RollbackRecord",
    "SamplesRecord", "SkippedRecord", "TrainRecord", "padded",
]  # fmt: skip

Array = NDArray[np.float64]
TRAIN_NUMBERS = (
    "step", "loss", "mask_rate", "grad_norm", "grad_norm_max", "residues_per_second", "difficulty", "mask_rate_max",
    "lr", "residues", "skipped", "seconds",
)  # fmt: skip
"""Numbers of a train record, in the order of the file."""
STRIDE = "lines"
"""Key of a line that was read in place of so many, itself included: see `sedd.runs.history.read_metrics`."""
SUMS = ("loss", "drawn", "expected", "corrupted")
"""Arrays of a `LossProfile`."""


@dataclass(frozen=True, eq=False)
class TrainRecord:
    """The optimizer steps since the train record before it: means of the loss, the clocks, the loss by mask rate."""

    kind: ClassVar[str] = "train"
    step: int
    """The last of these steps."""
    loss: float
    """Training loss under the curriculum, mean over residues, nats per residue."""
    bins: LossProfile
    """The loss by mask rate, as sums over the residues of these steps."""
    profile: Array
    """(BINS,): the exponentially weighted loss per unit of mask rate, nats; NaN where unknown."""
    difficulty: float
    mask_rate_max: float
    lr: float
    grad_norm: float
    grad_norm_max: float
    residues: int
    """Residues since the run began."""
    seconds: float
    """Time in training steps since the run began."""
    skipped: int
    """Skipped steps since the run began."""
    token_divergence: float | None
    """KL divergence of the token frequencies of these steps from those of the training set, nats per residue."""
    residues_per_second: float = math.nan
    memory: Mapping[str, int] = field(default_factory=dict)
    """Memory in bytes by name, as the backend reports it."""

    @classmethod
    def of(
        cls, report: StepReport, state: TrainState, token_counts: NDArray[np.int64], memory: Mapping[str, int]
    ) -> TrainRecord:
        """Sum up the window of `state`, whose last step is that of `report`.

        `token_counts`, (n,), are those of the training set; `memory` is in bytes by name.
        """
        window = state.window
        of_step: dict[str, Any] = {
            name: getattr(report, name) for name in ("step", "difficulty", "mask_rate_max", "lr")
        }
        of_run: dict[str, Any] = {name: getattr(state, name) for name in ("residues", "seconds", "skipped")}
        return cls(
            **of_step,
            **of_run,
            loss=window.loss,
            bins=window.bins,
            profile=state.profile.values,
            grad_norm=window.grad_norm / max(window.steps, 1),
            grad_norm_max=window.grad_norm_max,
            token_divergence=window.token_divergence(token_counts),
            residues_per_second=window.bins.residues / max(window.seconds, 1e-9),
            memory=memory,
        )

    @property
    def mask_rate(self) -> float:
        """Share of the residues of these steps that the noise changed."""
        return float(self.bins.corrupted.sum()) / max(self.bins.residues, 1)

    def to_dict(self) -> dict[str, Any]:
        """The line as plain data; the lists by mask rate are means per residue, so that they add up to the loss."""
        residues = max(self.bins.residues, 1)
        return {
            "kind": self.kind,
            **{name: getattr(self, name) for name in TRAIN_NUMBERS},
            **({} if self.token_divergence is None else {"letters_shift": self.token_divergence}),
            **{f"memory_{name}": value for name, value in self.memory.items()},
            **{f"by_mask_rate_{name}": rounded(getattr(self.bins, name) / residues) for name in SUMS},
            "profile": rounded(self.profile, 5),
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any], previous: TrainRecord | None) -> TrainRecord:
        """Read a line; the residues of its steps are counted from the `previous` train record."""
        residues = (data["residues"] - (previous.residues if previous else 0)) / data.get(STRIDE, 1)
        optional = ("mask_rate", "residues_per_second")
        return cls(
            **{name: data[name] for name in TRAIN_NUMBERS if name not in optional},
            bins=LossProfile(residues, *(padded(data[f"by_mask_rate_{name}"]) * residues for name in SUMS)),
            profile=padded(data["profile"], missing=math.nan),
            token_divergence=data.get("letters_shift"),
            residues_per_second=data.get("residues_per_second", math.nan),
            memory={key.removeprefix("memory_"): value for key, value in data.items() if key.startswith("memory_")},
        )


@dataclass(frozen=True)
class _PlainRecord:
    """A record whose keys in the file are the names of its fields."""

    kind: ClassVar[str]

    def to_dict(self) -> dict[str, Any]:
        """The line as plain data."""
        return {"kind": self.kind, **asdict(self)}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """Read a line."""
        return cls(**{item.name: data[item.name] for item in fields(cls)})


@dataclass(frozen=True)
class SkippedRecord(_PlainRecord):
    """A step that was skipped because its gradient was not finite."""

    kind: ClassVar[str] = "skipped"
    step: int
    """The step that was skipped."""
    skipped: int
    """Skipped steps since the run began, this one included."""


@dataclass(frozen=True)
class ChangedRecord(_PlainRecord):
    """Keys of the configuration that were changed on purpose when the run went on."""

    kind: ClassVar[str] = "changed"
    step: int
    """The last step that was done with the values before."""
    changes: Mapping[str, Sequence[Any]]
    """The value before and the value from then on, by dotted key."""

    def __str__(self) -> str:
        values = ", ".join(f"{key} from {before} to {after}" for key, (before, after) in self.changes.items())
        return f"changed after step {self.step:,}: {values}"


@dataclass(frozen=True)
class RollbackRecord(_PlainRecord):
    """A return to the checkpoint of an earlier step because the run diverged."""

    kind: ClassVar[str] = "rollback"
    step: int
    """The step of the checkpoint."""
    from_step: int
    """The step at which the divergence was noticed."""
    lr_scale: float
    """What the configured learning rate is multiplied by from now on."""
    rollbacks: int
    """Rollbacks since the run began, this one included."""
    alarm: Mapping[str, Any]
    """The alarm that led to it, as plain data."""


@dataclass(frozen=True)
class SamplesRecord:
    """The quality of samples that were drawn while the run trained."""

    kind: ClassVar[str] = "samples"
    step: int
    numbers: Mapping[str, float]
    """By key, `samples_...`."""
    quality: Mapping[str, Any]
    """The complete result, as plain data."""

    def to_dict(self) -> dict[str, Any]:
        """The line as plain data."""
        return {"kind": self.kind, "step": self.step, **self.numbers, "quality": dict(self.quality)}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> SamplesRecord:
        """Read a line."""
        numbers = {key: value for key, value in data.items() if key.startswith("samples_")}
        return cls(data["step"], numbers, data["quality"])
