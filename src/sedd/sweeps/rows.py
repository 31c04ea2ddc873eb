"""The ranked table of a sweep as text, for the terminal and for the page."""

from __future__ import annotations

from sedd.evaluation.intervals import Z95, plus_minus, with_error
from sedd.sweeps.space import shown
from sedd.sweeps.trials import Sweep, Trial


def heads(sweep: Sweep, *, short: bool = False) -> tuple[str, ...]:
    """The titles of the columns; with `short`, keys without their section."""
    keys = (axis.key.rpartition(".")[2] if short else axis.key for axis in sweep.space)
    return ("#", *keys, "bound, first seed", "mean over seeds", "less the run file", "state", "verdict")


def row(sweep: Sweep, trial: Trial, *, short: bool = False) -> tuple[str, ...]:
    """The numbers of a trial, in the order of `heads`; with `short`, the verdict without its sentence."""
    contrast = sweep.to_baseline.get(trial.number)
    first = trial.screening[-1] if trial.screening else None
    judged = trial.judged
    values = (trial.changes.get(axis.key, sweep.defaults.get(axis.key)) for axis in sweep.space)
    difference = "" if contrast is None else plus_minus(contrast.nats, contrast.half_width)
    return (
        str(trial.number),
        *map(shown, values),
        "" if first is None else with_error(first.nats, Z95 * first.stderr) if first.finite else "-",
        f"{trial.nats:.4f}" if trial.seeds else "",
        difference if trial.changes else "run file",
        trial.state if trial.state != "stopped" else f"stopped at {trial.last.step:,}",
        f"{judged.kind}: {judged.verdict}" if judged.went_wrong and not short else judged.kind,
    )
