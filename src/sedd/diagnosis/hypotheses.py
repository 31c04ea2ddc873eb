"""The hypotheses that compete for a verdict, on runs and on the curves of other trainers alike.

Evidence gives each hypothesis a log-likelihood relative to `healthy`; with the prior below this makes a posterior
probability. A hypothesis that the input has no evidence on is left out, and the verdict says that it cannot be seen.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from sedd.diagnosis.verdict import Kind

DECISIVE = 0.9
"""Posterior probability of an action from which a verdict is given; below it the verdict is `inconclusive`."""
LIKELY = 0.6
"""The same for verdicts on the input and not on the model, a unit or a configuration: to look at it costs little."""


@dataclass(frozen=True)
class Hypothesis:
    """One explanation of a run or a curve."""

    kind: Kind
    """What the verdict says if it wins."""
    action: str
    """What it leads to. Hypotheses with the same action are added up before they are compared."""
    prior: float
    """Relative weight before any evidence."""
    meaning: str
    """What is true under it, in a few words."""


def _table() -> dict[str, Hypothesis]:
    return {
        "healthy": Hypothesis("healthy", "train on", 10.0, "the model learns, or has not been harmed by anything"),
        "uniform plateau": Hypothesis(
            "plateau", "train on", 0.5, "the model is no better than the uniform predictor and does not improve"
        ),
        "unigram plateau": Hypothesis(
            "plateau", "train on", 0.5, "the model is no better than the unigram model and does not improve"
        ),
        "late plateau": Hypothesis(
            "plateau", "train on", 0.5, "the model is better than the unigram model and no longer improves"
        ),
        "divergence": Hypothesis(
            "learning", "go back", 0.5, "from some step on the loss at equal mask rates grows and does not come back"
        ),
        "instability": Hypothesis(
            "instability", "go back", 0.5, "the loss or the gradient spikes, oscillates or is not finite"
        ),
        "overfitting": Hypothesis(
            "overfitting", "compare with held-out data", 0.5, "data that were trained on get better, other data worse"
        ),
        "leak": Hypothesis(
            "leak", "compare with held-out data", 0.3, "the training loss uses what the model must not see"
        ),
        "averages": Hypothesis(
            "averages", "average faster", 0.3, "the averaged weights do not follow the trained weights"
        ),
        "held-out kind": Hypothesis(
            "held_out", "look at the data", 0.3, "the held-out sequences are of another kind than the training data"
        ),
        "data change": Hypothesis("data", "look at the data", 0.3, "from some step on the training sequences differ"),
        "configuration": Hypothesis(
            "config",
            "name unit and settings",
            0.5,
            "the curve was trained with other settings than the configuration has",
        ),
        "unit": Hypothesis(
            "unit", "name unit and settings", 0.5, "the losses are not nats per residue of a weighted loss"
        ),
    }


HYPOTHESES: Mapping[str, Hypothesis] = MappingProxyType(_table())
"""All hypotheses by name. `docs/explanation/hypotheses.md` has a section for each."""


@dataclass(frozen=True)
class Decision:
    """Which hypothesis holds, and with what probability."""

    kind: Kind
    """The kind of the likeliest hypothesis, or `inconclusive`."""
    likeliest: str
    """Name of the likeliest hypothesis, decisive or not."""
    probability: float
    """Posterior probability of the kind of `likeliest`."""
    runner_up: Kind | None
    """The second likeliest kind; None if no other was considered."""
    probabilities: Mapping[Kind, float]
    """Posterior probability of every kind that was considered; they add up to 1."""


def decide(log_likelihoods: Mapping[str, float]) -> Decision:
    """Weigh the hypotheses.

    Args:
        log_likelihoods: of each hypothesis that the input has evidence on, by name, up to a common constant.

    Raises:
        ValueError: if no hypothesis is given, or one that is not in `HYPOTHESES`.
    """
    unknown = set(log_likelihoods) - set(HYPOTHESES)
    if unknown or not log_likelihoods:
        raise ValueError(f"expected hypotheses of {', '.join(HYPOTHESES)}, got {', '.join(unknown) or 'none'}")
    logs = {name: value + math.log(HYPOTHESES[name].prior) for name, value in log_likelihoods.items()}
    top = max(logs.values())
    weights = {name: math.exp(value - top) for name, value in logs.items()}
    total = sum(weights.values())
    posterior = {name: weight / total for name, weight in weights.items()}
    by_kind: dict[Kind, float] = {}
    by_action: dict[str, float] = {}
    for name, probability in posterior.items():
        hypothesis = HYPOTHESES[name]
        by_kind[hypothesis.kind] = by_kind.get(hypothesis.kind, 0.0) + probability
        by_action[hypothesis.action] = by_action.get(hypothesis.action, 0.0) + probability
    action = max(by_action, key=lambda name: by_action[name])
    likeliest = max((name for name in posterior if HYPOTHESES[name].action == action), key=lambda n: posterior[n])
    kind = HYPOTHESES[likeliest].kind
    others = sorted((other for other in by_kind if other != kind), key=by_kind.__getitem__, reverse=True)
    decided = by_action[action] >= (LIKELY if kind in ("unit", "config") else DECISIVE)
    return Decision(
        kind=kind if decided else "inconclusive",
        likeliest=likeliest,
        probability=by_kind[kind],
        runner_up=others[0] if others else None,
        probabilities=by_kind,
    )


_WORDS: dict[Kind, str] = {
    "healthy": "nothing is wrong",
    "curriculum": "nothing is wrong and the curriculum moves the loss",
    "plateau": "the model does not improve",
    "inconclusive": "the data do not decide",
    "learning": "the model diverges",
    "instability": "training is unstable",
    "data": "the training data changed",
    "overfitting": "the model overfits",
    "leak": "the training loss sees its targets",
    "averages": "the averaged weights do not follow",
    "held_out": "the held-out data are of another kind",
    "config": "the configuration does not fit the curve",
    "unit": "the losses have another unit",
}


_AS_GIVEN: dict[Kind, str] = {
    "config": "the configuration is right", "unit": "the losses are nats per residue of a weighted loss"
}  # fmt: skip
"""What holds besides where nothing is wrong, against a verdict that questions it."""


def certainty(decision: Decision) -> str:
    """The probability of the answer and of the runner-up, in one plain sentence or two."""
    sure = f"Probability that {_WORDS[HYPOTHESES[decision.likeliest].kind]}: {in_percent(decision.probability)}."
    if decision.runner_up is None:
        return sure
    second = in_percent(decision.probabilities[decision.runner_up])
    other = _WORDS[decision.runner_up]
    if HYPOTHESES[decision.likeliest].kind in _AS_GIVEN and decision.runner_up in ("healthy", "curriculum"):
        other = f"{_AS_GIVEN[HYPOTHESES[decision.likeliest].kind]}, and {other}"
    return f"{sure} What else it could be: {other} ({second})."


def in_percent(probability: float) -> str:
    """A probability in words: never 0 % and never 100 %, since no verdict is beyond doubt."""
    if probability > 0.99:
        return "over 99 %"
    if probability < 0.01:
        return "under 1 %"
    return f"{100 * probability:.0f} %"
