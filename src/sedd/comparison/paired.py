"""The paired difference of the bounds of two trained models, with a much smaller error than that of either bound.

Both models are evaluated on the same held-out sequences with the same noise. Most of the standard error of a bound is
the variance between sequences that are easy or hard for all models; it cancels in the difference.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from sedd.data import Sequences
from sedd.data.prepare.preparing import Progress
from sedd.errors import CheckpointError, DataError
from sedd.evaluation.bound import Bound, Contributions
from sedd.evaluation.estimator import Estimator
from sedd.evaluation.statistics import BoundStatistics
from sedd.files import finite_or_none
from sedd.pretrained import Pretrained, load
from sedd.runs.located_data import open_run_data

Z95 = 1.96


@dataclass(frozen=True)
class PairedDifference:
    """Bound of the other model minus that of the first, on the same sequences; nats per residue."""

    nats: float
    """Of the full bounds, untrained parts included; negative where the other model is better."""
    stderr: float
    """Standard error of `nats` over sequences; infinite for a single one."""
    mask_rates: tuple[float, float]
    """The range that both models were trained on; from 0 to 1 where the graphs differ."""
    shared: float
    """The difference over `mask_rates`."""
    shared_stderr: float
    """Standard error of `shared` over sequences."""
    sequences: int
    residues: int
    first: Bound
    """Bound of the first model."""
    other: Bound
    """Bound of the other model."""
    first_step: int
    """Optimizer steps of the first model."""
    other_step: int
    """Optimizer steps of the other model."""

    @property
    def interval(self) -> tuple[float, float]:
        """95 % interval of `shared`."""
        return self.shared - Z95 * self.shared_stderr, self.shared + Z95 * self.shared_stderr

    def to_dict(self) -> dict[str, Any]:
        """Plain data; None for numbers that are not finite."""
        data = {name: value for name, value in asdict(self).items() if name not in ("first", "other")}
        data |= {"first_nats": self.first.nats, "other_nats": self.other.nats, "mask_rates": list(self.mask_rates)}
        return {name: finite_or_none(value) if isinstance(value, float) else value for name, value in data.items()}


def paired(
    first: str | Path,
    other: str | Path,
    *,
    sequences: int = 1_000,
    masks: int = 8,
    device: str = "auto",
    progress: Progress | None = None,
) -> PairedDifference:
    """Evaluate the best checkpoints of two runs on the held-out sequences that they share.

    Args:
        first: a run directory or a checkpoint.
        other: the run or checkpoint to compare with it.
        sequences: number of held-out sequences, at most.
        masks: noise levels per sequence.
        device: a device backend by name.
        progress: called with the progress of data that must be prepared first.

    Raises:
        CheckpointError: if there is no checkpoint.
        DataError: if the alphabets or the held-out sequences differ, or the data are missing.
    """
    models = load(first, device=device), load(other, device=device)
    return difference(*models, _held_out(first, other, models, progress), sequences=sequences, masks=masks)


def difference(
    first: Pretrained, other: Pretrained, data: Sequences, *, sequences: int = 1_000, masks: int = 8
) -> PairedDifference:
    """Evaluate two loaded models on the same sequences.

    Args:
        first: a loaded model.
        other: the model to compare with it.
        data: token ids of their alphabet.
        sequences: number of sequences, at most.
        masks: noise levels per sequence.

    Raises:
        DataError: if the alphabets differ.
    """
    if first.alphabet != other.alphabet:
        raise DataError(
            f"the models have the alphabets {first.alphabet.name!r} and {other.alphabet.name!r}; "
            "only models of one alphabet can be compared"
        )
    length = min(first.config.model.length, other.config.model.length)  # so that both score the same residues
    bound, contributions = evaluate_on(first, data, length, sequences, masks)
    other_bound, other_contributions = evaluate_on(other, data, length, sequences, masks)
    statistics = BoundStatistics.of(other_contributions.minus(contributions))
    mask_rates = _shared_mask_rates(first, other)
    nats, stderr = statistics.part()
    shared, shared_stderr = statistics.part(*mask_rates)
    return PairedDifference(
        nats=nats,
        stderr=stderr,
        mask_rates=mask_rates,
        shared=shared,
        shared_stderr=shared_stderr,
        sequences=bound.sequences,
        residues=bound.residues,
        first=bound,
        other=other_bound,
        first_step=first.step,
        other_step=other.step,
    )


def evaluate_on(
    model: Pretrained, data: Sequences, length: int, sequences: int, masks: int
) -> tuple[Bound, Contributions]:
    """The bound of a model on some of `data`, cropped to `length`, and what each sequence contributes to it."""
    estimator = Estimator(
        data,
        model.process,
        model.backend,
        model.device,
        length,
        count=sequences,
        masks=masks,
        batch_size=model.config.evaluation.batch_size,
    )
    return estimator.with_sequences(model.network)


def _held_out(
    first: str | Path, other: str | Path, models: tuple[Pretrained, Pretrained], progress: Progress | None
) -> Sequences:
    """The held-out sequences of both runs, from the data of the first run that still has them."""
    trained_on = [model.trained_on for model in models]
    if trained_on[0]["valid"] != trained_on[1]["valid"]:
        raise DataError(f"{first} and {other} have different held-out sequences; paired evaluation needs equal ones")
    missing: list[str] = []
    for path, model in zip((first, other), models, strict=True):
        try:
            dataset, _ = open_run_data(
                model.config, Path(path), trained_on=model.trained_on, parts=["valid"], progress=progress
            )
        except DataError as error:
            missing.append(str(error))
            continue
        return dataset.valid
    raise DataError(
        "the held-out sequences are missing:\n  " + "\n  ".join(missing) + "\nRestore the data, or use "
        "sedd.comparison.paired.difference(first, other, sequences) with sequences of your own"
    )


def _shared_mask_rates(first: Pretrained, other: Pretrained) -> tuple[float, float]:
    """The mask rates that both were trained on.

    Raises:
        CheckpointError: if there are none.
    """
    if type(first.process.graph) is not type(other.process.graph):
        return 0.0, 1.0
    noises = first.config.noise, other.config.noise
    low = max(-math.expm1(-noise.sigma_min) for noise in noises)
    high = min(-math.expm1(-noise.sigma_max) for noise in noises)
    if high <= low:
        raise CheckpointError("no mask rate was trained by both models; there is no range to compare them in")
    return low, high
