"""`training.early_stopping`: a pure function of the recorded bounds, so that a resumed run goes on counting."""

from __future__ import annotations

import math

import numpy as np

from sedd.config.config import Config
from sedd.evaluation.paired import paired_difference
from sedd.runs.history import History
from sedd.runs.metrics import BoundRecord
from sedd.runs.stopped_record import StoppedRecord


def early_stop(config: Config, history: History) -> StoppedRecord | None:
    """The record of the end of a run whose held-out bound has not improved for `patience` evaluations; None if it may
    go on.

    Args:
        config: of the run.
        history: its records so far.
    """
    rule = config.training.early_stopping
    if rule is None:
        return None
    best, waited = None, 0
    for bound in history.bounds:
        if math.isfinite(bound.nats) and (best is None or bound.nats < best.nats - rule.min_delta):
            best, waited = bound, 0
        elif bound.step >= config.curriculum.preschool_time:
            waited += 1
    if waited < rule.patience or history.bounds[-1].step >= config.training.n_iters:
        return None
    last = history.bounds[-1]
    if best is None:
        return StoppedRecord(last.step, "early_stopping", waited, min_delta=rule.min_delta)
    above, error = _above(history, last, best)
    return StoppedRecord(last.step, "early_stopping", waited, best.step, best.nats, rule.min_delta, above, error)


def _above(history: History, last: BoundRecord, best: BoundRecord) -> tuple[float | None, float | None]:
    """The last bound minus the best one and half of its 95 % interval, sequence by sequence where these are known."""
    evaluated = history.evaluated
    known = evaluated is not None and len(last.by_sequence) == len(best.by_sequence) > 2
    if evaluated is None or not known or not np.isfinite([last.by_sequence, best.by_sequence]).all():
        return (last.nats - best.nats if math.isfinite(last.nats) else None), None
    residues = evaluated.held_out.residues
    if len(residues) != len(last.by_sequence):
        return last.nats - best.nats, None
    found = paired_difference(last.by_sequence, best.by_sequence, residues)
    return found.nats, found.half_width
