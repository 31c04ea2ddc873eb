"""The difference of two trained models, sequence by sequence: far sharper than the difference of their bounds.

Both are evaluated on the same held-out sequences with the same noise. Some sequences are hard for every model, and that
scatter, most of the standard error of each bound, drops out of the difference.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sedd.data import Sequences, open_data
from sedd.data.prepare.preparing import Progress
from sedd.diffusion.loss_profile import EDGES
from sedd.errors import CheckpointError, DataError
from sedd.evaluation.bound import Bound, BySequence, Estimator
from sedd.pretrained import Pretrained, load

Array = NDArray[np.float64]
Z95 = 1.96


@dataclass(frozen=True)
class PairedDifference:
    """Bound of the other model less that of the first, on the same sequences; nats per residue."""

    nats: float
    """Of the full bounds, untrained parts included; negative where the other model is better."""
    stderr: float
    """Its standard error over sequences; infinite for a single one."""
    mask_rates: tuple[float, float]
    """The range that both were trained on; from 0 to 1 where the graphs differ."""
    shared: float
    """The difference over that range."""
    shared_stderr: float
    sequences: int
    residues: int
    first: Bound
    """Of the first model."""
    other: Bound
    first_step: int
    """Optimizer steps of the weights."""
    other_step: int

    @property
    def interval(self) -> tuple[float, float]:
        """95 % interval of `shared`."""
        return self.shared - Z95 * self.shared_stderr, self.shared + Z95 * self.shared_stderr

    def to_dict(self) -> dict[str, Any]:
        """Plain data; no number where one is not finite."""
        numbers = {name: value for name, value in asdict(self).items() if name not in ("first", "other")}
        bounds = {"first_nats": self.first.nats, "other_nats": self.other.nats}
        found = {**numbers, **bounds, "mask_rates": list(self.mask_rates)}
        return {
            name: None if isinstance(value, float) and not math.isfinite(value) else value
            for name, value in found.items()
        }


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
        other: the one to hold against it.
        sequences: at most so many held-out sequences.
        masks: noise levels per sequence.
        device: a device backend by name.
        progress: told of data that must be prepared first.

    Raises:
        CheckpointError: if there is no checkpoint.
        DataError: if the alphabets or the held-out sequences differ, or the data are no longer there.
    """
    models = load(first, device=device), load(other, device=device)
    return difference(*models, _held_out(first, other, models, progress), sequences=sequences, masks=masks)


def difference(
    first: Pretrained, other: Pretrained, data: Sequences, *, sequences: int = 1_000, masks: int = 8
) -> PairedDifference:
    """The same of two loaded models, on any token ids of their alphabet.

    Raises:
        DataError: if the alphabets differ.
    """
    if first.alphabet != other.alphabet:
        raise DataError(
            f"the models have the alphabets {first.alphabet.name!r} and {other.alphabet.name!r}; "
            "only models of one alphabet can be compared"
        )
    length = min(first.config.model.length, other.config.model.length)  # so that both score the same residues
    found = [_evaluated(model, data, length, sequences, masks) for model in (first, other)]
    (bound, by_sequence), (other_bound, other_by_sequence) = found
    low, high = _shared(first, other)
    gaps = [_parts(other_by_sequence, *ends) - _parts(by_sequence, *ends) for ends in ((0.0, 1.0), (low, high))]
    nats, stderr = _mean(gaps[0], by_sequence.residues)
    shared, shared_stderr = _mean(gaps[1], by_sequence.residues)
    return PairedDifference(
        nats=nats,
        stderr=stderr,
        mask_rates=(low, high),
        shared=shared,
        shared_stderr=shared_stderr,
        sequences=bound.sequences,
        residues=bound.residues,
        first=bound,
        other=other_bound,
        first_step=first.step,
        other_step=other.step,
    )


def _evaluated(model: Pretrained, data: Sequences, length: int, sequences: int, masks: int) -> tuple[Bound, BySequence]:
    estimate = Estimator(
        data,
        model.process,
        model.backend,
        model.device,
        length,
        count=sequences,
        masks=masks,
        batch_size=model.config.evaluation.batch_size,
    )
    return estimate.with_sequences(model.network)


def _held_out(
    first: str | Path, other: str | Path, models: tuple[Pretrained, Pretrained], progress: Progress | None
) -> Sequences:
    """The held-out sequences that both models were measured on, from where either run found them."""
    trained_on = [model.trained_on for model in models]
    if trained_on[0]["valid"] != trained_on[1]["valid"]:
        raise DataError(f"{first} and {other} have other held-out sequences: there is nothing to pair")
    gone: list[str] = []
    for path, model in zip((first, other), models, strict=True):
        try:
            dataset = open_data(model.config.data, seed=model.config.seed, progress=progress)
        except DataError as error:
            gone.append(f"{path}: {error}")
            continue
        if dataset.fingerprint["valid"] == model.trained_on["valid"]:
            return dataset.valid
        gone.append(f"{path}: data.train={model.config.data.train} gives other held-out sequences now")
    raise DataError(
        "the held-out sequences are not there any more:\n  " + "\n  ".join(gone) + "\nPut the data back, or use "
        "sedd.comparison.paired.difference(first, other, sequences) with sequences of your own"
    )


def _shared(first: Pretrained, other: Pretrained) -> tuple[float, float]:
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
        raise CheckpointError("no mask rate was trained by both models; there is no range to compare them over")
    return low, high


def _parts(found: BySequence, low: float, high: float) -> Array:
    """(sequences,): the part of each sequence's integral between two mask rates, linear within a bin."""
    shares = np.clip(np.minimum(EDGES[1:], high) - np.maximum(EDGES[:-1], low), 0.0, None) / np.diff(EDGES)
    values: Array = found.by_bin @ shares
    return values


def _mean(values: Array, residues: Array) -> tuple[float, float]:
    """Mean over residues and its standard error over sequences, as `Bound` has them."""
    mean = float(residues @ values / residues.sum())
    if len(values) < 2:
        return mean, math.inf
    return mean, float(np.sqrt((((values - mean) * residues) ** 2).sum()) / residues.sum())
