"""The held-out sequences are of another kind than the training sequences."""

from __future__ import annotations

import numpy as np

from sedd.diagnosis.bayes import Measured, log_bayes_factor
from sedd.diagnosis.evidence.base import Evidence, RunFacts
from sedd.diagnosis.evidence.evaluations import held_out, probe
from sedd.evaluation.statistics import mean_over_residues

SCALE = 0.4
"""Typical gap between data of different kinds, nats per residue."""
TOLERANCE = 0.12
"""Gap up to which nothing is wrong: held-out clusters are never quite like the training clusters."""
FIRST_EPOCHS = 1.5
"""Epochs up to which a gap cannot come from memorising."""


def held_out_kind(facts: RunFacts) -> Evidence | None:
    """Held-out bound less that on training sequences before memorising, or less in token frequencies: the larger one.

    Both in nats per residue. None where neither is known.
    """
    looks = [look for look in (_early_gap(facts), _frequency_gap(facts)) if look is not None]
    if not looks:
        return None
    factors = [log_bayes_factor(gap, scale=SCALE, tolerance=TOLERANCE) for gap, _ in looks]
    best = int(np.argmax(factors))
    step = next((step for _, step in looks if step is not None), None)
    return Evidence(factors[best], looks[best][0], None if step is None else (0, step))


def _early_gap(facts: RunFacts) -> tuple[Measured, int | None] | None:
    """The last gap before the training sequences were seen often enough to be memorised."""
    held, seen = held_out(facts), probe(facts)
    if not len(held) or len(held) != len(seen):
        return None
    epochs = [facts.epochs_at(step) for step in held.steps.tolist()]
    early = [i for i, value in enumerate(epochs) if value is not None and value <= FIRST_EPOCHS]
    if not early:
        return None
    return held.at(early[-1]) - seen.at(early[-1]), int(held.steps[early[-1]])


def _frequency_gap(facts: RunFacts) -> tuple[Measured, int | None] | None:
    """Cross-entropy of the held-out sequences under the training frequencies, less that of the training sequences."""
    evaluated = facts.history.evaluated
    if evaluated is None or evaluated.probe is None:
        return None
    sets = (evaluated.held_out, evaluated.probe)
    if any(len(part.unigram) < 3 for part in sets):
        return None
    outside, inside = (Measured(*mean_over_residues(part.unigram, part.residues)) for part in sets)
    return outside - inside, None
