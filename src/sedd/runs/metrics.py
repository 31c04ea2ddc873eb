"""The records of `metrics.jsonl`: one class per kind of line, each writes and reads itself.

`docs/reference/files.md` lists keys and units. Arrays by mask rate are (BINS,), see `sedd.diffusion.loss_profile`. JSON
has no NaN and no infinity: in a list they are null, and a list ends at its last value that is not 0 or null.
Every `from_dict` raises KeyError where a key is missing.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from sedd.diffusion.loss_profile import BINS, LossProfile, rounded
from sedd.runs.state import TrainState
from sedd.runs.step_report import StepReport

Array = NDArray[np.float64]
TRAIN_NUMBERS = (
    "step", "loss", "mask_rate", "grad_norm", "grad_norm_max", "residues_per_second", "difficulty", "mask_rate_max",
    "lr", "residues", "skipped", "seconds",
)  # fmt: skip
"""Numbers of a train record, in the order of the file."""
SUMS = ("loss", "drawn", "expected", "corrupted")
"""Arrays of a `LossProfile`."""
INTEGRAL = ("profile", "up_to", "up_to_stderr")
"""Arrays of a bound."""
OPTIONAL = ("trained", "sequences", "cropped")
"""Numbers of a bound that old runs lack."""


@dataclass(frozen=True)
class DataRecord:
    """The training set, written once at step 0: enough to forecast the loss of the run without its data."""

    kind: ClassVar[str] = "data"
    token_counts: tuple[int, ...]
    """How often each token occurs in the training set."""
    mean_length: float
    """Mean length of the training sequences after cropping, residues."""
    sequences: int
    """Number of training sequences."""

    def to_dict(self) -> dict[str, Any]:
        """The line as plain data."""
        numbers = {"mean_length": self.mean_length, "sequences": self.sequences}
        return {"kind": self.kind, "step": 0, "letter_counts": list(self.token_counts), **numbers}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> DataRecord:
        """Read a line."""
        return cls(tuple(data["letter_counts"]), data["mean_length"], data["sequences"])


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
        residues = data["residues"] - (previous.residues if previous else 0)
        optional = ("mask_rate", "residues_per_second")
        return cls(
            **{name: data[name] for name in TRAIN_NUMBERS if name not in optional},
            bins=LossProfile(residues, *(padded(data[f"by_mask_rate_{name}"]) * residues for name in SUMS)),
            profile=padded(data["profile"], missing=math.nan),
            token_divergence=data.get("letters_shift"),
            residues_per_second=data.get("residues_per_second", math.nan),
            memory={key.removeprefix("memory_"): value for key, value in data.items() if key.startswith("memory_")},
        )


@dataclass(frozen=True, eq=False)
class BoundRecord:
    """An evaluation of the held-out bound with averaged weights."""

    kind: ClassVar[str] = "bound"
    step: int
    nats: float
    """The bound, nats per residue; infinite where it was not finite."""
    stderr: float
    """Its standard error over sequences; infinite where unknown."""
    residues: int
    """Training residues since the run began."""
    seconds: float
    """Time in training steps since the run began."""
    profile: Array = field(repr=False)
    """(BINS,): the integrand by mask rate, nats; NaN where unknown."""
    up_to: Array = field(repr=False)
    """(BINS,): the part of the integral up to the end of each bin, nats per residue."""
    up_to_stderr: Array = field(repr=False)
    """(BINS,): the standard error of `up_to`."""
    trained: float = math.inf
    """The part of the integral within the trained noise, nats per residue."""
    sequences: int | None = None
    """Held-out sequences evaluated; None where unknown."""
    held_out_residues: int | None = None
    """Residues in them; None where unknown."""
    cropped: int | None = None
    """How many of them were longer than `model.length`; None where unknown."""

    @classmethod
    def of(cls, report: StepReport, state: TrainState) -> BoundRecord:
        """Take over the bound of a step; raises ValueError if its report has none."""
        bound = report.bound
        if bound is None:
            raise ValueError(f"the report of step {report.step} has no bound")
        numbers: dict[str, Any] = {name: getattr(bound, name) for name in ("nats", "stderr", *OPTIONAL)}
        arrays: dict[str, Any] = {name: padded(getattr(bound, name), missing=math.nan) for name in INTEGRAL}
        clocks: dict[str, Any] = {"step": report.step, "residues": state.residues, "seconds": state.seconds}
        return cls(**clocks, **numbers, **arrays, held_out_residues=bound.residues)

    def to_dict(self) -> dict[str, Any]:
        """The line as plain data, without numbers that are unknown or not finite."""
        numbers = {
            "nats": self.nats,
            "stderr": self.stderr,
            "trained": self.trained,
            "sequences": self.sequences,
            "residues": self.held_out_residues,
            "cropped": self.cropped,
        }
        known = {name: value for name, value in numbers.items() if value is not None and math.isfinite(value)}
        return {
            "kind": self.kind,
            "step": self.step,
            **{f"bound_{name}": value for name, value in known.items()},
            **{f"bound_{name}": rounded(getattr(self, name)) for name in INTEGRAL},
            "bound_bits": self.nats / math.log(2.0),
            "residues": self.residues,
            "seconds": self.seconds,
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any], *, seconds: float = 0.0) -> BoundRecord:
        """Read a line; `seconds` is the time of lines that have none."""
        arrays: dict[str, Any] = {name: padded(data[f"bound_{name}"], missing=math.nan) for name in INTEGRAL}
        optional = {name: data[f"bound_{name}"] for name in OPTIONAL if f"bound_{name}" in data}
        return cls(
            step=data["step"],
            nats=data.get("bound_nats", math.inf),
            stderr=data.get("bound_stderr", math.inf),
            residues=data["residues"],
            seconds=data.get("seconds", seconds),
            held_out_residues=data.get("bound_residues"),
            **arrays,
            **optional,
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
    """The last step that was done."""
    skipped: int
    """Skipped steps since the run began, this one included."""


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


def padded(values: Iterable[float | None], *, missing: float = 0.0) -> Array:
    """(BINS,) from a list that may end early; `missing` replaces null and what is beyond the end."""
    known = [missing if value is None else value for value in values]
    array = np.full(BINS, missing)
    array[: len(known)] = known
    return array
