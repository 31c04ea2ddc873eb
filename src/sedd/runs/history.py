"""The history of a run: its metrics file, read into records."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sedd.errors import CheckpointError
from sedd.runs.metrics import BoundRecord, DataRecord, EvaluatedRecord, RollbackRecord, SkippedRecord, TrainRecord


@dataclass(eq=False)
class History:
    """The records of a metrics file by kind, each in the order of the file."""

    data: DataRecord | None = None
    """The training set; None in a run of an old version."""
    evaluated: EvaluatedRecord | None = None
    """The sequences that are evaluated, by the last such record; None in a run of an old version."""
    lines: list[TrainRecord] = field(default_factory=list)
    bounds: list[BoundRecord] = field(default_factory=list)
    skipped: list[SkippedRecord] = field(default_factory=list)
    events: list[Mapping[str, Any]] = field(default_factory=list)
    """Records of other kinds as plain data: alarms, rollbacks, samples."""

    def append(self, record: Mapping[str, Any]) -> None:
        """Take in the next line of the metrics file. Raises KeyError if a key that its kind needs is missing."""
        previous = self.lines[-1] if self.lines else None
        match record["kind"]:
            case TrainRecord.kind:
                self.lines.append(TrainRecord.from_dict(record, previous))
            case BoundRecord.kind:
                self.bounds.append(BoundRecord.from_dict(record, seconds=previous.seconds if previous else 0.0))
            case SkippedRecord.kind:
                self.skipped.append(SkippedRecord.from_dict(record))
            case DataRecord.kind:
                self.data = DataRecord.from_dict(record)
            case EvaluatedRecord.kind:
                self.evaluated = EvaluatedRecord.from_dict(record)
            case _:
                self.events.append(record)

    def rewind(self, step: int) -> None:
        """Forget train, bound and skipped records later than `step`, after a rollback to it."""
        self.lines = [line for line in self.lines if line.step <= step]
        self.bounds = [bound for bound in self.bounds if bound.step <= step]
        self.skipped = [skip for skip in self.skipped if skip.step <= step]

    @staticmethod
    def read(path: Path) -> History:
        """Read a run directory or its metrics file. Raises CheckpointError if there is no metrics file, or a line is
        damaged or from another program; names the line."""
        file = path / "metrics.jsonl" if path.is_dir() else path
        history = History()
        for number, record in enumerate(read_metrics(file), 1):
            try:
                history.append(record)
            except (KeyError, TypeError) as error:
                raise CheckpointError(
                    f"not a metrics line of this version of sedd ({type(error).__name__}: {error}); "
                    "give a run directory, its metrics.jsonl, or a CSV of step,loss with --config",
                    file=file,
                    line=number,
                ) from None
        return history

    @property
    def steps(self) -> list[int]:
        """The step of each train record."""
        return [line.step for line in self.lines]

    @property
    def rollbacks(self) -> list[RollbackRecord]:
        """Every return to an earlier checkpoint."""
        return [RollbackRecord.from_dict(event) for event in self.events if event["kind"] == RollbackRecord.kind]


def read_metrics(file: Path) -> list[dict[str, Any]]:
    """Read the lines of a metrics file as plain data, without a last line that a kill has torn. Raises CheckpointError
    if there is no such file, or another line is damaged; names the line."""
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        raise CheckpointError("no such file; a run has one from its first logged step on", file=file) from None
    except UnicodeDecodeError as error:
        raise CheckpointError(f"not a text file ({error})", file=file) from None
    records = []
    for number, line in enumerate(lines, 1):
        try:
            records.append(json.loads(line))
        except ValueError:
            if number < len(lines):
                raise CheckpointError("not JSON; repair or remove this line", file=file, line=number) from None
    return records
