"""All symptoms of a run, and which hypothesis explains which of them.

A hypothesis needs some symptoms: their Bayes factors are its likelihood. Others it allows: it neither predicts nor
excludes them, so that a symptom which is there costs it nothing, and one which is not there neither. What it does not
mention it predicts to be absent.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sedd.diagnosis.evidence.above_untrained import above_untrained
from sedd.diagnosis.evidence.averages import averages
from sedd.diagnosis.evidence.base import Evidence, RunFacts
from sedd.diagnosis.evidence.batch_mixing import batch_mixing
from sedd.diagnosis.evidence.came_back import came_back
from sedd.diagnosis.evidence.data_change import data_change
from sedd.diagnosis.evidence.divergence import divergence
from sedd.diagnosis.evidence.held_out_kind import held_out_kind
from sedd.diagnosis.evidence.instability import oscillation, skipped_steps
from sedd.diagnosis.evidence.leak import leak
from sedd.diagnosis.evidence.overfitting import gap_growth, worse_on_held_out, worse_on_seen
from sedd.diagnosis.evidence.plateau import late_plateau, stands_still, uniform_plateau, unigram_plateau

SYMPTOMS = {
    "worse": divergence,
    "above untrained": above_untrained,
    "worse on seen": worse_on_seen,
    "worse on held-out": worse_on_held_out,
    "gap grows": gap_growth,
    "skipped steps": skipped_steps,
    "oscillation": oscillation,
    "data change": data_change,
    "leak": leak,
    "batch mixing": batch_mixing,
    "averages": averages,
    "held-out kind": held_out_kind,
    "uniform plateau": uniform_plateau,
    "unigram plateau": unigram_plateau,
    "late plateau": late_plateau,
}
"""Symptom by name: a function of the facts of a run, None where the run cannot show it."""
PAST = {"came back": came_back, "stands still": stands_still}
"""Symptoms of what is over, on which a run that goes on must not act."""


@dataclass(frozen=True)
class Explains:
    """What a hypothesis predicts."""

    needs: tuple[tuple[str, ...], ...]
    """Each group is needed; the strongest symptom of a group counts for it."""
    allows: tuple[str, ...] = ()
    """Symptoms that may or may not be there."""


WORSE = ("worse", "above untrained", "worse on seen", "worse on held-out", "gap grows")
STANDS = ("uniform plateau", "unigram plateau", "late plateau", "stands still")
EXPLANATIONS: Mapping[str, Explains] = {
    "healthy": Explains(()),
    "uniform plateau": Explains((("uniform plateau",),), ("unigram plateau", "late plateau", "stands still")),
    "unigram plateau": Explains((("unigram plateau",),), ("late plateau", "stands still")),
    "late plateau": Explains((("late plateau", "stands still"),)),
    "divergence": Explains(
        (("worse", "above untrained", "worse on seen"),), (*WORSE, *STANDS, "oscillation", "came back")
    ),
    "instability": Explains(
        (("skipped steps", "oscillation", "came back"),), (*WORSE, *STANDS, "skipped steps", "oscillation", "came back")
    ),
    "overfitting": Explains((("worse on held-out",), ("gap grows",)), ("late plateau", "stands still")),
    "leak": Explains((("leak", "batch mixing"),), (*WORSE, *STANDS)),
    "averages": Explains((("averages",),), (*STANDS, "worse on held-out", "worse on seen")),
    "held-out kind": Explains(
        (("held-out kind",),), ("worse on held-out", "gap grows", "late plateau", "stands still")
    ),
    "data change": Explains((("data change",),), (*WORSE, *STANDS, "oscillation", "came back", "held-out kind")),
}
"""The hypotheses on runs, by their names in `sedd.diagnosis.hypotheses.HYPOTHESES`."""


def find_symptoms(facts: RunFacts, *, past: bool = False) -> dict[str, Evidence]:
    """The evidence on every symptom that the run can show; with `past` also on what is over."""
    found = {name: function(facts) for name, function in {**SYMPTOMS, **(PAST if past else {})}.items()}
    return {name: evidence for name, evidence in found.items() if evidence is not None}


def log_likelihoods(symptoms: Mapping[str, Evidence]) -> dict[str, float]:
    """Log-likelihood of each hypothesis relative to `healthy`, without those that the run has no evidence on."""
    scores: dict[str, float] = {}
    for name, explains in EXPLANATIONS.items():
        groups = [[symptoms[s].log_bayes_factor for s in group if s in symptoms] for group in explains.needs]
        if not all(groups):
            continue
        needed = {symptom for group in explains.needs for symptom in group}
        allowed = [s for s in explains.allows if s in symptoms and s not in needed]
        needs = [_strength(group) for group in groups]
        # An allowed symptom is there or not with even chances: log((1 + B) / 2), and not below 0. Whatever a hypothesis
        # allows is no reason to believe in it where what it needs is absent.
        free = [max(0.0, softplus(symptoms[s].log_bayes_factor) - math.log(2.0)) for s in allowed]
        scores[name] = sum(needs) + (sum(free) if all(need > 0 for need in needs) else 0.0)
    return scores


def _strength(factors: Sequence[float]) -> float:
    """Of symptoms that show the same thing: the strongest that is there, else the one that excludes it best."""
    return max(factors) if max(factors) > 0 else min(factors)


def softplus(x: float) -> float:
    """log(1 + e^x)."""
    return max(x, 0.0) + math.log1p(math.exp(-abs(x)))
