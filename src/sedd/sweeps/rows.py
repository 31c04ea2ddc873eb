"""The ranked table of a sweep as text, for the terminal and for the page."""

from __future__ import annotations

from sedd.evaluation.intervals import Z95, plus_minus, with_error
from sedd.sweeps.space import shown
from sedd.sweeps.trials import Sweep, Trial


def heads(sweep: Sweep, *, short: bool = False) -> tuple[str, ...]:
    """The titles of the columns; with `short`, keys without their section."""
    keys = (axis.key.rpartition(".")[2] if short else axis.key for axis in sweep.space)
    first = () if sweep.single_changes else ("bound, first seed",)  # of single changes every seed is a fresh one
    return ("#", *keys, *first, "mean over seeds", "less the run file", "state", "verdict")


def row(sweep: Sweep, trial: Trial, *, short: bool = False) -> tuple[str, ...]:
    """The numbers of a trial, in the order of `heads`; with `short`, the verdict without its sentence."""
    contrast = sweep.to_baseline.get(trial.number)
    judged = trial.judged
    values = (trial.changes.get(axis.key, sweep.defaults.get(axis.key)) for axis in sweep.space)
    difference = "" if contrast is None else plus_minus(contrast.nats, contrast.half_width)
    return (
        str(trial.number),
        *map(shown, values),
        *(with_error(one.nats, Z95 * one.stderr) if one.finite else "-" for one in trial.screening[-1:]),
        f"{trial.nats:.4f}" if trial.seeds else "",
        difference if trial.changes else "run file",
        trial.state if trial.state != "stopped" else f"stopped at {trial.last.step:,}",
        f"{judged.kind}: {judged.verdict}" if judged.went_wrong and not short else judged.kind,
    )
