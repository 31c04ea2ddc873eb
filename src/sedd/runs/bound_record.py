"""The record of an evaluation: the held-out bound, and the bounds on training sequences (the probe)."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from sedd.diffusion.loss_profile import BINS, rounded
from sedd.evaluation.bound import Bound
from sedd.evaluation.evaluated import six_digits
from sedd.evaluation.intervals import Z95, half_width
from sedd.runs.state import TrainState
from sedd.runs.step_report import StepReport

Array = NDArray[np.float64]
INTEGRAL = ("profile", "up_to", "up_to_stderr")
"""Arrays of a bound."""
OPTIONAL = ("trained", "sequences", "cropped")
"""Numbers of a bound that old runs lack."""


def _unknown() -> Array:
    return np.full(BINS, np.nan)


def _none() -> Array:
    return np.zeros(0)


@dataclass(frozen=True, eq=False)
class RecordedBound:
    """One bound of an evaluation, as the metrics file keeps it."""

    nats: float
    """The bound, nats per residue; infinite where it was not finite."""
    stderr: float
    """Its standard error over sequences; infinite where unknown."""
    sequences: int | None = None
    """Evaluated sequences; None where unknown."""
    residues: int | None = None
    """Residues in them; None where unknown."""
    profile: Array = field(default_factory=_unknown, repr=False)
    """(BINS,): the integrand by mask rate, nats; NaN where unknown."""
    profile_stderr: Array = field(default_factory=_unknown, repr=False)
    """(BINS,): the standard error of `profile`; NaN where unknown."""
    by_sequence: Array = field(default_factory=_none, repr=False)
    """(sequences,): the bound of each sequence, nats per residue; empty where unknown."""

    @classmethod
    def of(cls, bound: Bound) -> RecordedBound:
        """Take over a bound."""
        return cls(
            bound.nats, bound.stderr, bound.sequences, bound.residues,
            profile=padded(bound.profile, missing=math.nan),
            profile_stderr=padded(bound.profile_stderr, missing=math.nan),
            by_sequence=np.array(bound.by_sequence, np.float64),
        )  # fmt: skip

    def to_dict(self, prefix: str) -> dict[str, Any]:
        """Keys that begin with `prefix`, without numbers that are unknown or not finite."""
        numbers = {name: getattr(self, name) for name in ("nats", "stderr", "sequences", "residues")}
        known = {name: value for name, value in numbers.items() if value is not None and math.isfinite(value)}
        lists = {name: rounded(getattr(self, name)) for name in ("profile", "profile_stderr")}
        lists["by_sequence"] = six_digits(self.by_sequence)
        return {f"{prefix}{name}": value for name, value in (known | lists).items()}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any], prefix: str) -> RecordedBound | None:
        """Read keys that begin with `prefix`; None where the line has no such bound."""
        if f"{prefix}profile" not in data:
            return None
        lists = {name: data.get(f"{prefix}{name}", ()) for name in ("profile", "profile_stderr")}
        return cls(
            data.get(f"{prefix}nats", math.inf),
            data.get(f"{prefix}stderr", math.inf),
            data.get(f"{prefix}sequences"),
            data.get(f"{prefix}residues"),
            **{name: padded(values, missing=math.nan) for name, values in lists.items()},
            by_sequence=np.array(data.get(f"{prefix}by_sequence", ()), np.float64),  # null becomes NaN
        )


@dataclass(frozen=True, eq=False)
class BoundRecord:
    """An evaluation: the held-out bound with averaged weights, and the probe."""

    kind: ClassVar[str] = "bound"
    step: int
    nats: float
    """The held-out bound, nats per residue; infinite where it was not finite."""
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
    profile_stderr: Array = field(default_factory=_unknown, repr=False)
    """(BINS,): the standard error of `profile` over sequences; NaN where unknown."""
    by_sequence: Array = field(default_factory=_none, repr=False)
    """(sequences,): the bound of each held-out sequence, nats per residue; empty in old runs, and above 4,096."""
    probe: RecordedBound | None = None
    """The bound on training sequences with averaged weights; None in old runs, and if the probe is off."""
    probe_raw: RecordedBound | None = None
    """The same with the weights before averaging."""
    batch_mixing: float | None = None
    """How much the output for a sequence changes with the others of its batch, in standard deviations; None in old
    runs, and where it cannot be known."""
    ema_initial_share: float | None = None
    """Weight of the untrained weights in the averaged ones, 0 to 1; None in old runs."""

    @property
    def half_width(self) -> float:
        """Half of the 95 % interval of `nats` over sequences, nats per residue; infinite where it is not known."""
        return Z95 * self.stderr if self.sequences is None else half_width(self.stderr, self.sequences)

    @classmethod
    def of(cls, report: StepReport, state: TrainState, *, ema_initial_share: float | None = None) -> BoundRecord:
        """Take over the bounds of a step; raises ValueError if its report has none."""
        bound = report.bound
        if bound is None:
            raise ValueError(f"the report of step {report.step} has no bound")
        numbers: dict[str, Any] = {name: getattr(bound, name) for name in ("nats", "stderr", *OPTIONAL)}
        arrays: dict[str, Any] = {name: padded(getattr(bound, name), missing=math.nan) for name in INTEGRAL}
        clocks: dict[str, Any] = {"step": report.step, "residues": state.residues, "seconds": state.seconds}
        held_out = RecordedBound.of(bound)
        return cls(
            **clocks, **numbers, **arrays,
            held_out_residues=bound.residues,
            profile_stderr=held_out.profile_stderr,
            by_sequence=held_out.by_sequence,
            probe=None if report.probe is None else RecordedBound.of(report.probe),
            probe_raw=None if report.probe_raw is None else RecordedBound.of(report.probe_raw),
            batch_mixing=report.batch_mixing,
            ema_initial_share=ema_initial_share,
        )  # fmt: skip

    @property
    def held_out(self) -> RecordedBound:
        """The held-out bound in the form of the probes."""
        return RecordedBound(
            self.nats, self.stderr, self.sequences, self.held_out_residues, self.profile, self.profile_stderr,
            self.by_sequence,
        )  # fmt: skip

    def to_dict(self) -> dict[str, Any]:
        """The line as plain data, without numbers that are unknown or not finite."""
        more: dict[str, Any] = {"trained": self.trained, "cropped": self.cropped, "bits": self.nats / math.log(2.0)}
        known = {name: value for name, value in more.items() if value is not None and math.isfinite(value)}
        data = {
            "kind": self.kind,
            "step": self.step,
            **self.held_out.to_dict("bound_"),
            **{f"bound_{name}": value for name, value in known.items()},
            **{f"bound_{name}": rounded(getattr(self, name)) for name in ("up_to", "up_to_stderr")},
            **(self.probe.to_dict("probe_") if self.probe else {}),
            **(self.probe_raw.to_dict("probe_raw_") if self.probe_raw else {}),
            "batch_mixing": self.batch_mixing,
            "ema_initial_share": self.ema_initial_share,
            "residues": self.residues,
            "seconds": self.seconds,
        }
        return {name: value for name, value in data.items() if value is not None}

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
            profile_stderr=padded(data.get("bound_profile_stderr", ()), missing=math.nan),
            by_sequence=np.array(data.get("bound_by_sequence", ()), np.float64),  # null becomes NaN
            probe=RecordedBound.from_dict(data, "probe_"),
            probe_raw=RecordedBound.from_dict(data, "probe_raw_"),
            batch_mixing=data.get("batch_mixing"),
            ema_initial_share=data.get("ema_initial_share"),
        )


def padded(values: Iterable[float | None], *, missing: float = 0.0) -> Array:
    """(BINS,) from a list that may end early; `missing` replaces null and what is beyond the end. Raises ValueError
    for a longer list."""
    known = [missing if value is None else value for value in values]
    if len(known) > BINS:
        raise ValueError(f"{len(known)} values by mask rate, expected at most {BINS}")
    array = np.full(BINS, missing)
    array[: len(known)] = known
    return array
