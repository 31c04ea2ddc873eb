"""Rules: which numbers of two runs may be compared, and why or why not."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from sedd.comparison.recorded import NEGLIGIBLE, RecordedRun
from sedd.diagnosis.predictors import MOST_SYMBOLS, untrained
from sedd.diffusion.graphs import make_graph
from sedd.errors import ConfigError
from sedd.plugins.effects import Effect
from sedd.plugins.networks import Ddit
from sedd.runs.differences import flattened, keys_with

Answer = Literal["yes", "with care", "no"]
Reasons = tuple[str, ...]
DATA_FILES = keys_with(Effect.LOCATION)
HELD_OUT = ("data.alphabet", "data.holdout", "data.residues", "data.min_length", "data.chunk_length")
"""Keys that decide, besides the files, which sequences are held out."""
SYNTHETIC = ("seed", "data.synthetic")
"""Keys that decide which sequences the synthetic source draws."""


@dataclass(frozen=True)
class Rule:
    """Whether one number of two runs may be compared."""

    what: str
    """`training loss`, `held-out bound`, `bound over the shared range` or `bound at equal time`."""
    first: str
    """Name of the first run."""
    other: str
    """Name of the second run."""
    answer: Answer
    reasons: Reasons
    """Why not, or what to take care of."""

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        return asdict(self) | {"reasons": list(self.reasons)}


def rules(first: RecordedRun, other: RecordedRun) -> tuple[Rule, ...]:
    """Judge every number that two runs have in common."""
    answer, reasons = same_held_out(first, other)
    judgements = {
        "training loss": _training_loss(first, other),
        "held-out bound": _full_bound(first, other, answer, reasons),
        "bound over the shared range": _shared_bound(first, other, answer, reasons),
        "bound at equal time": _time(first, other, answer),
    }
    return tuple(Rule(what, first.name, other.name, *judgement) for what, judgement in judgements.items())


def shared_range(runs: Sequence[RecordedRun]) -> tuple[float, float]:
    """The mask rates that all runs were trained on; empty (high <= low) if there are none."""
    ranges = [run.mask_range for run in runs]
    return max(low for low, _ in ranges), min(high for _, high in ranges)


def same_graph(runs: Sequence[RecordedRun]) -> bool:
    """Whether all runs have one forward process: only then is a part of the bound the same quantity in each."""
    return len({run.option("graph.type") for run in runs}) == 1


# The data ------------------------------------------------------------------------------------------------------------


def same_training_data(first: RecordedRun, other: RecordedRun) -> bool:
    """Whether both runs were trained on the same sequences: by hash if both have one, else by counts, else by keys."""
    if first.fingerprint and other.fingerprint:
        return bool(first.fingerprint["train"] == other.fingerprint["train"])
    data, other_data = first.history.data, other.history.data
    if data is None or other_data is None:
        return not _differing(first, other, (*DATA_FILES, *HELD_OUT, *_synthetic(first, other)))
    return (data.token_counts, data.sequences) == (other_data.token_counts, other_data.sequences)


def same_held_out(first: RecordedRun, other: RecordedRun) -> tuple[Answer, Reasons]:
    """Whether both bounds are over the same sequences, cropped at the same length."""
    refusals = [*_other_alphabet(first, other), *_other_sequences(first, other)]
    if not refusals:
        refusals = _other_crops(first, other)
    if refusals:
        return "no", tuple(refusals)
    care = []
    if (counts := _counts(first, other, "sequences")) is not None:
        care.append(f"one bound is over more of the held-out sequences ({counts}), so its Monte Carlo error differs")
    if first.option("evaluation.masks") != other.option("evaluation.masks"):
        care.append(f"{_values(first, other, 'evaluation.masks')}: one bound has a smaller Monte Carlo error")
    return ("with care" if care else "yes"), tuple(care)


def _other_alphabet(first: RecordedRun, other: RecordedRun) -> list[str]:
    if first.option("data.alphabet") != other.option("data.alphabet"):
        return [f"{_values(first, other, 'data.alphabet')}: tokens have different meanings"]
    sizes = [len(run.token_counts) for run in (first, other)]
    alphabets = [run.fingerprint.get("alphabet") for run in (first, other)]
    if (all(sizes) and sizes[0] != sizes[1]) or (all(alphabets) and alphabets[0] != alphabets[1]):
        return [f"the alphabets differ ({sizes[0]} and {sizes[1]} tokens)"]
    return []


def _other_sequences(first: RecordedRun, other: RecordedRun) -> list[str]:
    """By the hashes if both runs have them, otherwise by configuration and counts."""
    keys = _differing(first, other, (*HELD_OUT, *_synthetic(first, other)))
    if first.fingerprint and other.fingerprint:
        if first.fingerprint["valid"] == other.fingerprint["valid"]:
            return []
        why = ", ".join(_values(first, other, key) for key in (*keys, *_differing(first, other, DATA_FILES)))
        return [f"the held-out sequences differ ({why or 'the files have changed'})"]
    if keys:
        return ["the held-out sequences may differ: " + ", ".join(_values(first, other, key) for key in keys)]
    if not same_training_data(first, other):
        records = (first.history.data, other.history.data)
        counts = " and ".join("unknown" if record is None else f"{record.sequences:,}" for record in records)
        return [f"the training data differ (sequences: {counts}), so the held-out sequences may differ"]
    if (first.option("data.valid") is None) != (other.option("data.valid") is None):
        return [f"{_values(first, other, 'data.valid')}: the held-out sequences differ"]
    return []


def _other_crops(first: RecordedRun, other: RecordedRun) -> list[str]:
    """Whether different parts of the same sequences were scored."""
    cropped = any(run.last_bound is not None and run.last_bound.cropped for run in (first, other))
    if cropped and first.option("model.length") != other.option("model.length"):
        return [f"{_values(first, other, 'model.length')}: long sequences are cropped at different lengths"]
    same_count = _counts(first, other, "sequences") is None
    if same_count and (counts := _counts(first, other, "held_out_residues")) is not None:
        return [f"the numbers of held-out residues differ ({counts}), so the sequences do"]
    return []


# The rules -----------------------------------------------------------------------------------------------------------


def _full_bound(first: RecordedRun, other: RecordedRun, answer: Answer, reasons: Reasons) -> tuple[Answer, Reasons]:
    if answer == "no":
        return answer, reasons
    care = list(reasons)
    for run in (first, other):
        low, high = run.mask_range
        if high < 1.0 - NEGLIGIBLE:
            care.append(f"{run.name} was never trained at mask rates above {high:.1%}, which its full bound includes")
        if low > NEGLIGIBLE:
            care.append(f"{run.name} was never trained at mask rates below {low:.1%}, which its full bound includes")
    care += _unfinished(first, other)
    if not same_graph((first, other)):
        care.append(
            f"{_values(first, other, 'graph.type')}: both are upper bounds on -log p of the same sequences, but one "
            "may be looser than the other"
        )
    return ("with care" if care else "yes"), tuple(care)


def _shared_bound(first: RecordedRun, other: RecordedRun, answer: Answer, reasons: Reasons) -> tuple[Answer, Reasons]:
    if answer == "no":
        return answer, reasons
    if not same_graph((first, other)):
        return "no", (f"{_values(first, other, 'graph.type')}: their integrands are different quantities",)
    low, high = shared_range((first, other))
    if high <= low:
        return "no", (f"no mask rate was trained in both runs: {_ranges(first, other)}",)
    unfinished = _unfinished(first, other)
    shared = () if unfinished else (f"mask rates {low:.1%} to {high:.1%}, which both were trained on",)
    return ("with care" if unfinished else answer), (*reasons, *unfinished, *shared)


def _unfinished(first: RecordedRun, other: RecordedRun) -> list[str]:
    """Runs whose curriculum has not reached the end of their noise yet."""
    reasons = []
    for run in (first, other):
        high = run.mask_range[1]
        reached = max((line.mask_rate_max for line in run.history.lines), default=high)
        if reached < high - NEGLIGIBLE:
            reasons.append(f"the curriculum of {run.name} has reached mask rate {reached:.1%} of {high:.1%} so far")
    return reasons


def _time(first: RecordedRun, other: RecordedRun, answer: Answer) -> tuple[Answer, Reasons]:
    if answer == "no":
        return answer, ("the bounds may not be compared",)
    names = ("platform", "processor", "torch")
    care = [
        f"{name}: {first.environment.get(name, 'unknown')} and {other.environment.get(name, 'unknown')}"
        for name in names
        if first.environment.get(name) != other.environment.get(name)
    ]
    if _differing(first, other, ("device",)):
        care += [_values(first, other, key) for key in _differing(first, other, ("device",))]
    if care:
        return "with care", ("the machines differ, so seconds are not comparable: " + "; ".join(care),)
    return "yes", ("time in training steps; other programs on the machine would distort it",)


def _training_loss(first: RecordedRun, other: RecordedRun) -> tuple[Answer, Reasons]:
    refusals = [_values(first, other, key) for key in ("graph.type", "model.head") if _differing(first, other, (key,))]
    if not same_training_data(first, other):
        refusals.append("the training sequences differ")
    steps, comparable = _comparable_steps(first, other)
    if not comparable:
        refusals.append(_another_unit(first, other))
    if refusals:
        return "no", tuple(refusals)
    care = []
    if len(comparable) < len(steps):
        care.append(
            f"only at {len(comparable):,} of {len(steps):,} logged steps, those where both curricula allow the same "
            f"mask rates (the first is {comparable[0]:,})"
        )
    for key, why in (("model.dropout", "it raises the training loss"), ("noise.type", "it changes the loss variance")):
        if _differing(first, other, (key,)):
            care.append(f"{_values(first, other, key)}: {why}")
    return ("with care" if care else "yes"), (*care, _losses(first, other, comparable[-1]))


def _comparable_steps(first: RecordedRun, other: RecordedRun) -> tuple[list[int], list[int]]:
    """The logged steps that both runs have, and those of them at which both drew from the same mask rates."""
    lines = [{line.step: line for line in run.history.lines} for run in (first, other)]
    steps = sorted(set(lines[0]) & set(lines[1]))

    def allowed(run: int, step: int) -> NDArray[np.float64]:
        bins = lines[run][step].bins
        return bins.expected / max(bins.residues, 1)

    return steps, [step for step in steps if np.allclose(allowed(0, step), allowed(1, step), rtol=1e-3, atol=1e-6)]


def _another_unit(first: RecordedRun, other: RecordedRun) -> str:
    """Why no training loss can be compared; with different noise, the ratio of the losses of an untrained model."""
    if np.allclose(first.mask_range, other.mask_range, rtol=1e-3, atol=1e-6):
        return "at no logged step do both curricula allow the same mask rates"
    text = f"different noise makes the losses different quantities: {_ranges(first, other)} at full difficulty"
    loss, other_loss = _untrained_loss(first), _untrained_loss(other)
    if loss is None or other_loss is None:
        return text
    return (
        f"{text}; an untrained model has {loss:.3f} and {other_loss:.3f} nats per residue, a factor of "
        f"{other_loss / loss:.2f}"
    )


def _untrained_loss(run: RecordedRun) -> float | None:
    """Loss of the uniform predictor at full difficulty, nats per residue; None where the alphabet is unknown."""
    symbols = len(run.token_counts)
    graph, head = run.option("graph.type"), run.option("model.head")
    if not 2 <= symbols <= MOST_SYMBOLS or graph not in ("absorb", "uniform") or head not in ("normalised", "score"):
        return None
    try:
        network = Ddit(head=head, scale_by_sigma=run.option("model.scale_by_sigma") is not False)
        return untrained(make_graph(graph, symbols), network).loss(*run.mask_range)
    except ConfigError:
        return None


def _losses(first: RecordedRun, other: RecordedRun, step: int) -> str:
    losses = [next(line.loss for line in run.history.lines if line.step == step) for run in (first, other)]
    return f"at step {step:,}: {losses[0]:.4f} ({first.name}) and {losses[1]:.4f} ({other.name}) nats per residue"


# Texts ---------------------------------------------------------------------------------------------------------------


def _synthetic(first: RecordedRun, other: RecordedRun) -> tuple[str, ...]:
    return SYNTHETIC if "synthetic" in (first.option("data.train"), other.option("data.train")) else ()


def _differing(first: RecordedRun, other: RecordedRun, keys: Sequence[str]) -> list[str]:
    """Those of these keys, and of the keys in these sections, that differ."""
    differing = []
    for key in keys:
        flat = [dict(flattened({key: run.option(key)})) for run in (first, other)]
        differing += [name for name in dict.fromkeys((*flat[0], *flat[1])) if flat[0].get(name) != flat[1].get(name)]
    return differing


def _values(first: RecordedRun, other: RecordedRun, key: str) -> str:
    return f"{key} is {first.option(key)} in {first.name} and {other.option(key)} in {other.name}"


def _counts(first: RecordedRun, other: RecordedRun, name: str) -> str | None:
    """Both values of a number of the last evaluation if they are known and differ, otherwise None."""
    count, other_count = (getattr(run.last_bound, name, None) for run in (first, other))
    if count is None or other_count is None or count == other_count:
        return None
    return f"{count:,} and {other_count:,}"


def _ranges(first: RecordedRun, other: RecordedRun) -> str:
    return " and ".join(
        f"mask rates {low:.1%} to {high:.1%} ({run.name})" for run in (first, other) for low, high in [run.mask_range]
    )
