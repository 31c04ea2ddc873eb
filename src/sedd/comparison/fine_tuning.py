"""Did fine-tuning help, at which mask rates, and what was forgotten?

The run and its parent are evaluated on the same sequences with the same noise: on the held-out data of the run, where
it should be better, and on data of the kind that the parent was trained on, where it may have become worse.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import NormalDist
from typing import Any

from sedd.comparison.paired import evaluate_on
from sedd.data import Sequences, open_whole
from sedd.data.prepare.preparing import Progress
from sedd.errors import CheckpointError, DataError
from sedd.evaluation.statistics import BoundStatistics
from sedd.files import finite_or_none
from sedd.pretrained import Pretrained, load
from sedd.runs.finding import find
from sedd.runs.hub import local
from sedd.runs.lineage import lineage_of
from sedd.runs.located_data import open_run_data

RANGES = ((0.0, 0.25), (0.25, 0.5), (0.5, 0.75), (0.75, 1.0))
"""Mask rates by which a difference is split."""
LEVEL = 0.95
"""Of the interval of a whole difference, and of those of all ranges together (Bonferroni)."""
Z = NormalDist().inv_cdf(0.5 + LEVEL / 2)
Z_OF_RANGES = NormalDist().inv_cdf(1.0 - (1.0 - LEVEL) / 2 / len(RANGES))


@dataclass(frozen=True)
class Part:
    """The difference of the bounds over a range of mask rates, nats per residue; negative where the run is better."""

    low: float
    high: float
    nats: float
    half_width: float
    """Half of the interval; infinite for a single sequence."""

    @property
    def sign(self) -> int:
        """-1 where the run is better at the level of the interval, 1 where it is worse, 0 where that cannot be told."""
        return 0 if not abs(self.nats) > self.half_width else int(math.copysign(1, self.nats))


@dataclass(frozen=True)
class Change:
    """The run less its parent on some sequences."""

    data: str
    """What the sequences are."""
    sequences: int
    parent_nats: float
    """Bound of the parent, nats per residue."""
    run_nats: float
    """Bound of the run, nats per residue."""
    whole: Part
    """Over all mask rates, with a 95 % interval."""
    parts: tuple[Part, ...]
    """By mask rate; their intervals hold together with 95 %."""

    def to_dict(self) -> dict[str, Any]:
        """Plain data; None for numbers that are not finite."""
        parts = [{key: finite_or_none(value) for key, value in asdict(part).items()} for part in self.parts]
        whole = {key: finite_or_none(value) for key, value in asdict(self.whole).items()}
        return asdict(self) | {"whole": whole, "parts": parts}


@dataclass(frozen=True)
class FineTuning:
    """What a run changed of its parent."""

    parent: str
    """Where the parent was read."""
    helped: Change | None
    """On the held-out data of the run; None where they are not there any more."""
    forgotten: Change
    """On other data, such as those of the parent."""

    @property
    def sentences(self) -> tuple[str, ...]:
        """The answers, each a test at the level of its interval."""
        answers = (_helped(self.helped),) if self.helped else ()
        return (*answers, _forgotten(self.forgotten))

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        helped = None if self.helped is None else self.helped.to_dict()
        return {"parent": self.parent, "helped": helped, "forgotten": self.forgotten.to_dict()}


def fine_tuning(
    run: str | Path,
    against: str,
    *,
    sequences: int = 1_000,
    masks: int = 8,
    device: str = "auto",
    progress: Progress | None = None,
) -> FineTuning:
    """Compare a run with the model that it was fine-tuned from.

    Args:
        run: the directory of a run with `training.init_from`, or a checkpoint in it.
        against: a file of sequences of the kind that the parent was trained on, or a store.
        sequences: number of sequences of each kind, at most.
        masks: noise levels per sequence.
        device: a device backend by name.
        progress: called with the progress of data that must be prepared first.

    Raises:
        CheckpointError: if the run was not fine-tuned, or its parent is not there any more.
        DataError: if a file cannot be read in the alphabet of the run.
    """
    _, saved = find(local(run), "best")
    ancestors = lineage_of(saved.state)
    if not ancestors:
        raise CheckpointError("was not fine-tuned (training.init_from), so there is no parent", file=Path(run))
    source, own = ancestors[0].source, load(run, device=device)
    if not local(source).exists():
        raise CheckpointError(f"its parent {source} is not there any more; restore it", file=Path(run))
    parent = load(source, weights="ema" if ancestors[0].weights == "ema" else "model", device=device)
    other = open_whole(own.config.data, against, own.alphabet, progress=progress)
    try:
        held_out, _ = open_run_data(
            own.config, Path(run), trained_on=own.trained_on, parts=["valid"], progress=progress
        )
    except DataError:
        helped = None
    else:
        helped = _change("held-out data of the run", parent, own, held_out.valid, sequences, masks)
    return FineTuning(source, helped, _change(against, parent, own, other, sequences, masks))


def _change(
    name: str, parent: Pretrained, own: Pretrained, data: Sequences, sequences: int, masks: int
) -> Change:  # fmt: skip
    length = min(parent.config.model.length, own.config.model.length)
    before, before_parts = evaluate_on(parent, data, length, sequences, masks)
    after, after_parts = evaluate_on(own, data, length, sequences, masks)
    statistics = BoundStatistics.of(after_parts.minus(before_parts))
    nats, stderr = statistics.part()
    parts = []
    for low, high in RANGES:
        part, error = statistics.part(low, high)
        parts.append(Part(low, high, part, Z_OF_RANGES * error))
    whole = Part(0.0, 1.0, nats, Z * stderr)
    return Change(name, before.sequences, before.nats, after.nats, whole, tuple(parts))


def _helped(change: Change) -> str:
    word = {-1: "Fine-tuning helped", 0: "Whether fine-tuning helped cannot be told", 1: "Fine-tuning made it worse"}
    return f"{word[change.whole.sign]}: {_difference(change)}{_where(change, -1, 'It is better')}"


def _forgotten(change: Change) -> str:
    word = {
        -1: "Nothing was forgotten",
        0: "Whether anything was forgotten cannot be told",
        1: "Something was forgotten",
    }
    return f"{word[change.whole.sign]}: {_difference(change)}{_where(change, 1, 'It is worse')}"


def _difference(change: Change) -> str:
    return (
        f"on {change.data} the bound went from {change.parent_nats:.4f} to {change.run_nats:.4f} nats per residue "
        f"({change.whole.nats:+.4f} ± {change.whole.half_width:.4f}, {change.sequences:,} sequences)."
    )


def _where(change: Change, sign: int, words: str) -> str:
    ranges = [f"{part.low:.0%} to {part.high:.0%}" for part in change.parts if part.sign == sign]
    return f" {words} at mask rates {', '.join(ranges)}." if ranges else ""
