"""Which numbers of two runs may be compared, and why or why not."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from sedd.comparison.config_differences import PLACES, flattened
from sedd.comparison.recorded import Recorded
from sedd.config.sections import Model
from sedd.diagnosis.predictors import MOST_SYMBOLS, untrained
from sedd.diffusion.graphs import make_graph
from sedd.errors import ConfigError

Answer = Literal["yes", "with care", "no"]
Reasons = tuple[str, ...]
WHOLE = 0.01
"""A noise that leaves less than this share of the residues untouched covers the whole range of mask rates."""
HELD_OUT = ("data.alphabet", "data.holdout", "data.residues", "data.min_length", "data.chunk_length")
"""What decides, besides the files, which sequences are held out."""
DRAWN = ("seed", "data.synthetic")
"""What decides it for the synthetic source."""


@dataclass(frozen=True)
class Rule:
    """Whether one number of two runs may be compared."""

    what: str
    """`training loss`, `held-out bound`, `bound over the shared range` or `bound at equal time`."""
    first: str
    other: str
    """Names of the two runs."""
    answer: Answer
    reasons: Reasons
    """Sentences: why not, or what to mind."""

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        return asdict(self) | {"reasons": list(self.reasons)}


def rules(first: Recorded, other: Recorded) -> tuple[Rule, ...]:
    """Everything that can be said of two runs."""
    answer, reasons = same_held_out(first, other)
    judged = {
        "training loss": _training_loss(first, other),
        "held-out bound": _full_bound(first, other, answer, reasons),
        "bound over the shared range": _shared_bound(first, other, answer, reasons),
        "bound at equal time": _time(first, other, answer),
    }
    return tuple(Rule(what, first.name, other.name, *found) for what, found in judged.items())


def shared_range(runs: Sequence[Recorded]) -> tuple[float, float]:
    """The mask rates that all runs were trained on; empty (high <= low) if there are none."""
    ranges = [run.mask_range for run in runs]
    return max(low for low, _ in ranges), min(high for _, high in ranges)


def same_graph(runs: Sequence[Recorded]) -> bool:
    """Whether one forward process was used throughout: only then is a part of the bound the same quantity."""
    return len({run.option("graph.type") for run in runs}) == 1


# The data ------------------------------------------------------------------------------------------------------------


def same_training_data(first: Recorded, other: Recorded) -> bool:
    """Whether both were trained on the same sequences, as far as anything recorded tells."""
    if first.fingerprint and other.fingerprint:
        return bool(first.fingerprint["train"] == other.fingerprint["train"])
    if not (first.data and other.data):
        return not _differing(first, other, (*PLACES, *HELD_OUT, *_drawn(first, other)))
    return all(first.data.get(name) == other.data.get(name) for name in ("letter_counts", "sequences"))


def same_held_out(first: Recorded, other: Recorded) -> tuple[Answer, Reasons]:
    """Whether the bounds are those of the same sequences, cropped alike."""
    refused = [*_other_alphabet(first, other), *_other_sequences(first, other)]
    if not refused:
        refused = _other_crops(first, other)
    if refused:
        return "no", tuple(refused)
    care = []
    if (text := _pair(first, other, "bound_sequences")) is not None:
        care.append(f"one bound is over more of the held-out sequences ({text}): luck differs, too")
    if first.option("evaluation.masks") != other.option("evaluation.masks"):
        care.append(f"{_values(first, other, 'evaluation.masks')}: one bound is the less noisy")
    return ("with care" if care else "yes"), tuple(care)


def _other_alphabet(first: Recorded, other: Recorded) -> list[str]:
    if first.option("data.alphabet") != other.option("data.alphabet"):
        return [f"{_values(first, other, 'data.alphabet')}: a residue is another symbol"]
    sizes = [len(run.data.get("letter_counts", ())) for run in (first, other)]
    alphabets = [run.fingerprint.get("alphabet") for run in (first, other)]
    if (all(sizes) and sizes[0] != sizes[1]) or (all(alphabets) and alphabets[0] != alphabets[1]):
        return [f"the alphabets differ ({sizes[0]} and {sizes[1]} symbols)"]
    return []


def _other_sequences(first: Recorded, other: Recorded) -> list[str]:
    """Hashes decide, where both runs have them; otherwise what was counted and what was asked for."""
    keys = _differing(first, other, (*HELD_OUT, *_drawn(first, other)))
    if first.fingerprint and other.fingerprint:
        if first.fingerprint["valid"] == other.fingerprint["valid"]:
            return []
        why = ", ".join(_values(first, other, key) for key in (*keys, *_differing(first, other, PLACES)))
        return [f"the held-out sequences are not the same ({why or 'the files have changed'})"]
    if keys:
        return ["other sequences may be held out: " + ", ".join(_values(first, other, key) for key in keys)]
    if not same_training_data(first, other):
        counts = " and ".join(str(run.data.get("sequences", "an unknown number of")) for run in (first, other))
        return [f"trained on other data ({counts} sequences), so that other sequences may be held out"]
    own = [run.option("data.valid") is None for run in (first, other)]
    if own[0] != own[1]:
        return [f"{_values(first, other, 'data.valid')}: other sequences are held out"]
    return []


def _other_crops(first: Recorded, other: Recorded) -> list[str]:
    """The same sequences, but other parts of them."""
    cropped = any(run.evaluated.get("bound_cropped") for run in (first, other))
    if cropped and first.option("model.length") != other.option("model.length"):
        return [f"{_values(first, other, 'model.length')}: other parts of the long sequences are scored"]
    alike = _pair(first, other, "bound_sequences") is None
    if alike and (text := _pair(first, other, "bound_residues")) is not None:
        return [f"the held-out residues differ ({text}): these are not the same sequences"]
    return []


# The rules -----------------------------------------------------------------------------------------------------------


def _full_bound(first: Recorded, other: Recorded, answer: Answer, reasons: Reasons) -> tuple[Answer, Reasons]:
    if answer == "no":
        return answer, reasons
    care = list(reasons)
    for run in (first, other):
        low, high = run.mask_range
        if high < 1.0 - WHOLE:
            care.append(f"{run.name} never trained at mask rates above {high:.1%}: that part of its bound is a guess")
        if low > WHOLE:
            care.append(f"{run.name} never trained at mask rates below {low:.1%}: that part of its bound is a guess")
    care += _unfinished(first, other)
    if not same_graph((first, other)):
        care.append(
            f"{_values(first, other, 'graph.type')}: both are upper bounds on -log p of the same sequences, and one "
            "may be further above it than the other"
        )
    return ("with care" if care else "yes"), tuple(care)


def _shared_bound(first: Recorded, other: Recorded, answer: Answer, reasons: Reasons) -> tuple[Answer, Reasons]:
    if answer == "no":
        return answer, reasons
    if not same_graph((first, other)):
        return "no", (f"{_values(first, other, 'graph.type')}: a part of one integral is no part of the other",)
    low, high = shared_range((first, other))
    if high <= low:
        return "no", (f"no mask rate was trained by both: {_ranges(first, other)}",)
    unfinished = _unfinished(first, other)
    said = () if unfinished else (f"mask rates {low:.1%} to {high:.1%}, which both were trained on",)
    return ("with care" if unfinished else answer), (*reasons, *unfinished, *said)


def _unfinished(first: Recorded, other: Recorded) -> list[str]:
    """Runs whose curriculum has not come to the end of their noise yet."""
    found = []
    for run in (first, other):
        high = run.mask_range[1]
        reached = max((line.mask_rate_max for line in run.history.lines), default=high)
        if reached < high - WHOLE:
            found.append(f"the curriculum of {run.name} has come to mask rate {reached:.1%} of {high:.1%} so far")
    return found


def _time(first: Recorded, other: Recorded, answer: Answer) -> tuple[Answer, Reasons]:
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
        return "with care", ("the machines differ, so that seconds do: " + "; ".join(care),)
    return "yes", ("time in training steps, if nothing else kept the machine busy",)


def _training_loss(first: Recorded, other: Recorded) -> tuple[Answer, Reasons]:
    refused = [_values(first, other, key) for key in ("graph.type", "model.head") if _differing(first, other, (key,))]
    if not same_training_data(first, other):
        refused.append("trained on other sequences")
    steps, alike = _alike(first, other)
    if not alike:
        refused.append(_another_unit(first, other))
    if refused:
        return "no", tuple(refused)
    care = []
    if len(alike) < len(steps):
        care.append(
            f"only at {len(alike):,} of {len(steps):,} logged steps, those where both curricula allow the same mask "
            f"rates (the first is {alike[0]:,})"
        )
    for key, why in (("model.dropout", "training loss pays for it"), ("noise.type", "another scatter of the loss")):
        if _differing(first, other, (key,)):
            care.append(f"{_values(first, other, key)}: {why}")
    return ("with care" if care else "yes"), (*care, _losses(first, other, alike[-1]))


def _alike(first: Recorded, other: Recorded) -> tuple[list[int], list[int]]:
    """Logged steps that both runs have, and those at which both drew from the same mask rates."""
    lines = [{line.step: line for line in run.history.lines} for run in (first, other)]
    steps = sorted(set(lines[0]) & set(lines[1]))

    def allowed(run: int, step: int) -> NDArray[np.float64]:
        bins = lines[run][step].bins
        return bins.expected / max(bins.residues, 1)

    return steps, [step for step in steps if np.allclose(allowed(0, step), allowed(1, step), rtol=1e-3, atol=1e-6)]


def _another_unit(first: Recorded, other: Recorded) -> str:
    """Why no step can be compared; where the noise differs, by what factor the loss is another unit."""
    (low, high), (low_other, high_other) = first.mask_range, other.mask_range
    if np.allclose((low, high), (low_other, high_other), rtol=1e-3, atol=1e-6):
        return "at no logged step do both curricula allow the same mask rates"
    text = f"another noise is another unit: {_ranges(first, other)} at full difficulty"
    losses = [_untrained(run) for run in (first, other)]
    if losses[0] is None or losses[1] is None:
        return text
    return (
        f"{text}; there a model that knows nothing has {losses[0]:.3f} and {losses[1]:.3f} nats per residue, a factor "
        f"of {losses[1] / losses[0]:.2f}"
    )


def _untrained(run: Recorded) -> float | None:
    """Loss of an untrained network at full difficulty, nats per residue; None where its alphabet is unknown."""
    symbols = len(run.data.get("letter_counts", ()))
    graph, head = run.option("graph.type"), run.option("model.head")
    if not 2 <= symbols <= MOST_SYMBOLS or graph not in ("absorb", "uniform") or head not in ("normalised", "score"):
        return None
    try:
        network = Model(head=head, scale_by_sigma=run.option("model.scale_by_sigma") is not False)
        return untrained(make_graph(graph, symbols), network).loss(*run.mask_range)
    except ConfigError:
        return None


def _losses(first: Recorded, other: Recorded, step: int) -> str:
    found = [next(line.loss for line in run.history.lines if line.step == step) for run in (first, other)]
    return f"at step {step:,}: {found[0]:.4f} ({first.name}) and {found[1]:.4f} ({other.name}) nats per residue"


# Words ---------------------------------------------------------------------------------------------------------------


def _drawn(first: Recorded, other: Recorded) -> tuple[str, ...]:
    return DRAWN if "synthetic" in (first.option("data.train"), other.option("data.train")) else ()


def _differing(first: Recorded, other: Recorded, keys: Sequence[str]) -> list[str]:
    """Which of these keys, or of those within these sections, differ."""
    found = []
    for key in keys:
        flat = [dict(flattened({key: run.option(key)})) for run in (first, other)]
        found += [name for name in dict.fromkeys((*flat[0], *flat[1])) if flat[0].get(name) != flat[1].get(name)]
    return found


def _values(first: Recorded, other: Recorded, key: str) -> str:
    return f"{key} is {first.option(key)} in {first.name} and {other.option(key)} in {other.name}"


def _pair(first: Recorded, other: Recorded, name: str) -> str | None:
    """Both values of a number of the last evaluation, if they are known and differ."""
    values = [run.evaluated.get(name) for run in (first, other)]
    if values[0] is None or values[1] is None or values[0] == values[1]:
        return None
    return f"{values[0]:,} and {values[1]:,}"


def _ranges(first: Recorded, other: Recorded) -> str:
    return " and ".join(
        f"mask rates {low:.1%} to {high:.1%} ({run.name})" for run in (first, other) for low, high in [run.mask_range]
    )
