"""The history of a run: its metrics file, read into records."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sedd.errors import CheckpointError
from sedd.files import bounded_lines
from sedd.runs.metrics import (
    STRIDE,
    BoundRecord,
    ChangedRecord,
    DataRecord,
    EvaluatedRecord,
    RollbackRecord,
    SkippedRecord,
    TrainRecord,
)
from sedd.runs.metrics_record import MetricsRecord
from sedd.runs.stopped_record import StoppedRecord

_TRAIN = f'{{"kind": "{TrainRecord.kind}"'.encode()
"""How a train line begins, as `RunDirectory.append` writes it."""

LONGEST_LINE = 64 << 20
"""Bytes; the longest lines have a number for each of thousands of sequences."""


class RecordError(ValueError):
    """A line that is no record of a metrics file of this version."""


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
    """Records of other kinds as plain data: alarms, rollbacks, samples, stops."""

    def append(self, record: Mapping[str, Any]) -> None:
        """Take in the next line of the metrics file.

        Raises:
            RecordError: if a key that its kind needs is missing, or has a value of another kind.
        """
        try:
            self._append(record)
        except (KeyError, TypeError, AttributeError, ValueError, OverflowError) as error:
            raise RecordError(f"{type(error).__name__}: {error}") from None

    def _append(self, record: Mapping[str, Any]) -> None:
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
            except RecordError as error:
                raise CheckpointError(
                    f"not a metrics line of this version of sedd ({error}); "
                    "give a run directory, its metrics.jsonl, or the log of another program with --config",
                    file=file,
                    line=number,
                ) from None
        return history

    @property
    def steps(self) -> list[int]:
        """The step of each train record."""
        return [line.step for line in self.lines]

    @property
    def changes(self) -> list[ChangedRecord]:
        """Every change of the configuration on purpose."""
        return [ChangedRecord.from_dict(event) for event in self.events if event["kind"] == ChangedRecord.kind]

    @property
    def rollbacks(self) -> list[RollbackRecord]:
        """Every return to an earlier checkpoint."""
        return [RollbackRecord.from_dict(event) for event in self.events if event["kind"] == RollbackRecord.kind]

    @property
    def metrics(self) -> list[MetricsRecord]:
        """The numbers of `evaluation.metrics` and of `Trainer.log`."""
        return [MetricsRecord.from_dict(event) for event in self.events if event["kind"] == MetricsRecord.kind]

    @property
    def ended(self) -> StoppedRecord | None:
        """Why the run ended before its last step; None where it did not, or has gone on since."""
        stops = [StoppedRecord.from_dict(event) for event in self.events if event["kind"] == StoppedRecord.kind]
        last = max((record.step for part in (self.lines, self.bounds) for record in part[-1:]), default=0)
        return stops[-1] if stops and stops[-1].step >= last else None


def changed_keys(records: Iterable[Mapping[str, Any]]) -> set[str]:
    """The keys of the configuration that were changed on purpose in the lines of a metrics file."""
    return {key for record in records if record.get("kind") == ChangedRecord.kind for key in record.get("changes", ())}


def read_metrics(file: Path, *, most: int | None = None) -> list[dict[str, Any]]:
    """Read the lines of a metrics file as plain data, without a last line that a kill has torn.

    Args:
        file: the metrics file.
        most: about so many train lines are read. In a longer file the last tenth of them is kept, and of the older
            ones every k-th; such a line has the key `lines`, the number of lines that it stands for.

    Raises:
        CheckpointError: if there is no such file, or another line is damaged; names the line.
    """
    try:
        is_train = [line.startswith(_TRAIN) for line in bounded_lines(file, longest=LONGEST_LINE)]
        lines = bounded_lines(file, longest=LONGEST_LINE)
        return list(_records(lines, dict(_chosen(is_train, most)), len(is_train), file))
    except FileNotFoundError:
        raise CheckpointError("no such file; a run has one from its first logged step on", file=file) from None
    except OSError as error:
        raise CheckpointError(f"cannot be read ({error.strerror or error})", file=file) from None


def _records(lines: Iterable[bytes], chosen: Mapping[int, int], count: int, file: Path) -> Iterator[dict[str, Any]]:
    for number, line in enumerate(lines):
        if number not in chosen:
            continue
        try:
            record = json.loads(line.decode())
        except UnicodeDecodeError as error:
            raise CheckpointError(f"not a text file ({error})", file=file) from None
        except (ValueError, RecursionError):
            if number + 1 < count:
                raise CheckpointError("not JSON; repair or remove this line", file=file, line=number + 1) from None
            continue
        if not isinstance(record, dict):
            raise CheckpointError("not a record; repair or remove this line", file=file, line=number + 1)
        yield record | ({STRIDE: chosen[number]} if chosen[number] > 1 else {})


def _chosen(is_train: Sequence[bool], most: int | None) -> Iterator[tuple[int, int]]:
    """The lines to read, and for how many train lines each stands."""
    total = sum(is_train)
    if most is None or total <= most:
        yield from ((number, 1) for number in range(len(is_train)))
        return
    older = total - most // 10
    every = -(-older // (most - most // 10))
    count, last = 0, 0
    for number, trains in enumerate(is_train):
        if not trains:
            yield number, 1
            continue
        count += 1
        if count > older or count % every == 0:
            yield number, count - last
            last = count
