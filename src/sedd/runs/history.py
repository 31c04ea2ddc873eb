"""What a run has recorded: its metrics file, read into lines of numbers."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sedd.diffusion.loss_profile import BINS, LossProfile
from sedd.errors import CheckpointError

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Line:
    """Some optimizer steps of a run, summed up: a `train` line of the metrics file."""

    step: int
    """The last of the steps."""
    loss: float
    """Training loss, nats per residue."""
    bins: LossProfile
    """The same by mask rate, as sums over the residues of these steps."""
    profile: Array
    """(BINS,) the exponentially weighted profile after these steps, nats per unit of mask rate, NaN where unknown."""
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
    letters_shift: float | None
    """Kullback-Leibler divergence of the letters from those of the training set, nats per residue."""

    @staticmethod
    def of(record: Mapping[str, Any], before: Line | None) -> Line:
        """From a line of the file and the one before it."""
        residues = record["residues"] - (before.residues if before else 0)
        lists = (full(record[f"by_mask_rate_{name}"]) * residues for name in ("loss", "drawn", "expected", "corrupted"))
        same = ("step", "loss", "difficulty", "mask_rate_max", "lr", "grad_norm", "grad_norm_max")
        return Line(
            bins=LossProfile(residues, *lists),
            profile=full(record["profile"], np.nan),
            letters_shift=record.get("letters_shift"),
            **{name: record[name] for name in (*same, "residues", "seconds", "skipped")},
        )


@dataclass(frozen=True)
class BoundLine:
    """A held-out bound of a run, nats per residue: a `bound` line of the metrics file."""

    step: int
    nats: float
    stderr: float
    residues: int
    """Training residues seen since the run began."""
    seconds: float
    """Time in training steps since the run began."""
    profile: Array = field(repr=False)
    """(BINS,): the integrand by mask rate, NaN where unknown."""
    up_to: Array = field(repr=False)
    """(BINS,): the part of the integral up to the end of each bin."""
    up_to_stderr: Array = field(repr=False)


@dataclass(frozen=True, eq=False)
class History:
    """Everything that a metrics file holds."""

    lines: tuple[Line, ...] = ()
    bounds: tuple[BoundLine, ...] = ()
    skipped: tuple[tuple[int, int], ...] = ()
    """Step and skipped steps so far, for each step that was skipped."""
    events: tuple[Mapping[str, Any], ...] = ()
    """Other lines: alarms and rollbacks."""

    def with_record(self, record: Mapping[str, Any]) -> History:
        """The history with one more line of the metrics file.

        Raises:
            KeyError: if the line misses a number that its kind has.
        """
        last = self.lines[-1] if self.lines else None
        match record["kind"]:
            case "train":
                return replace(self, lines=(*self.lines, Line.of(record, last)))
            case "bound":
                seconds = record.get("seconds", last.seconds if last else 0.0)
                return replace(self, bounds=(*self.bounds, _bound(record, seconds)))
            case "skipped":
                return replace(self, skipped=(*self.skipped, (record["step"], record["skipped"])))
            case _:
                return replace(self, events=(*self.events, record))

    @staticmethod
    def of(records: Iterable[Mapping[str, Any]]) -> History:
        """From the lines of a metrics file."""
        history = History()
        for record in records:
            history = history.with_record(record)
        return history

    @staticmethod
    def read(path: Path) -> History:
        """From a run directory or its metrics file.

        Raises:
            CheckpointError: if there is none, a line is damaged, or it is that of another program; names the line.
        """
        file = path / "metrics.jsonl" if path.is_dir() else path
        history = History()
        for number, record in enumerate(read_metrics(file), 1):
            try:
                history = history.with_record(record)
            except (KeyError, TypeError) as error:
                raise CheckpointError(
                    f"{file}:{number}: no metrics line of this version of sedd ({type(error).__name__}: {error}); "
                    "give a run directory, its metrics.jsonl, or a CSV of step,loss with --config"
                ) from None
        return history

    @property
    def steps(self) -> list[int]:
        """The step of each train line."""
        return [line.step for line in self.lines]


def read_metrics(file: Path) -> list[dict[str, Any]]:
    """The lines of a metrics file. The last one may have been torn by a kill and is left out then.

    Raises:
        CheckpointError: if there is no such file, or another line is damaged; names it.
    """
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        raise CheckpointError(f"{file}: no such file; a run has one from its first logged step on") from None
    except UnicodeDecodeError as error:
        raise CheckpointError(f"{file}: not a text file ({error})") from None
    records = []
    for number, line in enumerate(lines, 1):
        try:
            records.append(json.loads(line))
        except ValueError:
            if number < len(lines):
                raise CheckpointError(f"{file}:{number}: not JSON; repair or remove this line") from None
    return records


def _bound(record: Mapping[str, Any], seconds: float) -> BoundLine:
    return BoundLine(
        step=record["step"],
        nats=record.get("bound_nats", np.inf),  # what is not finite is not written
        stderr=record.get("bound_stderr", np.inf),
        residues=record["residues"],
        seconds=seconds,
        profile=full(record["bound_profile"], np.nan),
        up_to=full(record["bound_up_to"], np.nan),
        up_to_stderr=full(record["bound_up_to_stderr"], np.nan),
    )


def full(values: Iterable[float | None], missing: float = 0.0) -> Array:
    """(BINS,) from a list that may end early and has null where nothing is known."""
    array = np.full(BINS, missing)
    found = [missing if value is None else value for value in values]
    array[: len(found)] = found
    return array
