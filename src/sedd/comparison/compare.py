"""Compare runs: what differs, what may be compared, and which run has the lower held-out bound."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import combinations
from pathlib import Path
from typing import Any

from sedd.comparison.bound_curves import CLOCKS, Clock, Curve, Point, align
from sedd.comparison.comparable import Rule, rules, same_graph, same_training_data, shared_range
from sedd.comparison.paired import PairedDifference
from sedd.comparison.paired import paired as paired_difference
from sedd.comparison.ranking import Ranked, ranking
from sedd.comparison.recorded import RecordedRun, read_runs
from sedd.data.prepare.preparing import Progress
from sedd.errors import CheckpointError
from sedd.runs.differences import Difference, config_differences

SHARED_BOUND = "bound over the shared range"
FULL_BOUND = "held-out bound"


@dataclass(frozen=True, eq=False)
class Comparison:
    """A comparison of runs with the first of them. All bounds are nats per residue."""

    runs: tuple[str, ...]
    """Names, in the order given."""
    differences: tuple[Difference, ...]
    """Keys of the configuration with different values."""
    rules: tuple[Rule, ...]
    """What may be compared between the first run and each other run."""
    mask_rates: tuple[float, float]
    """The range over which the bounds are compared: the mask rates that all compared runs were trained on. 0 to 1 if
    the graphs differ, because only the full integral is the same quantity for both graphs."""
    untrained_range: bool
    """Whether `mask_rates` includes some that a compared run was not trained on."""
    compared: tuple[str, ...]
    """Runs whose bounds may be compared; only the first run if there are no others."""
    ranking: tuple[Ranked, ...]
    """The compared runs at the last optimizer step that all reached, the best first; empty without such a step."""
    curves: tuple[Curve, ...] = field(repr=False)
    """The bound over `mask_rates` of each compared run."""
    full_curves: tuple[Curve, ...] = field(repr=False)
    """The full bound of each compared run, including mask rates that it was not trained on."""
    points: Mapping[Clock, tuple[Point, ...]] = field(repr=False)
    """The bounds over `mask_rates` at equal `steps`, `residues` and `seconds`: at every evaluation of a run where no
    other run has to be extrapolated. Empty if the runs have no such point in common."""
    full_points: Mapping[Clock, tuple[Point, ...]] = field(repr=False)
    """The full bounds at equal `steps`, `residues` and `seconds`."""
    paired: Mapping[str, PairedDifference] = field(default_factory=dict, repr=False)
    """With `compare(paired=True)`: the difference to the first run of each other compared run, by name."""

    @property
    def sentence(self) -> str:
        """Which run is better, by how much and with which 95 % interval; or why nothing may be compared."""
        if len(self.compared) < 2:
            return self._refusal()
        if not self.points["steps"]:
            ends = "; ".join(f"{c.run}: steps {c.steps[0]:,.0f} to {c.steps[-1]:,.0f}" for c in self.curves)
            return f"The runs have no optimizer step in common at which their bounds are known ({ends})."
        best = self._best(self.points["steps"][-1])
        excluded = [run for run in self.runs if run not in self.compared]
        return best + (f" Not comparable with {self.runs[0]}: {', '.join(excluded)}." if excluded else "")

    def __str__(self) -> str:
        return self.sentence

    def to_dict(self) -> dict[str, Any]:
        """Plain data; 95 % intervals as half widths."""
        return {
            "runs": list(self.runs),
            "sentence": self.sentence,
            "differences": [difference.to_dict() for difference in self.differences],
            "rules": [rule.to_dict() for rule in self.rules],
            "mask_rates": list(self.mask_rates),
            "compared": list(self.compared),
            "ranking": [ranked.to_dict() for ranked in self.ranking],
            "curves": [curve.to_dict() for curve in self.curves],
            "whole_curves": [curve.to_dict() for curve in self.full_curves],
            "at_equal": {clock: [point.to_dict() for point in points] for clock, points in self.points.items()},
            "whole_at_equal": {
                clock: [point.to_dict() for point in points] for clock, points in self.full_points.items()
            },
            **({"paired": {name: gap.to_dict() for name, gap in self.paired.items()}} if self.paired else {}),
        }

    def _refusal(self) -> str:
        refused = [rule for rule in self.rules if rule.what == SHARED_BOUND and rule.answer == "no"]
        why = ". ".join(f"{rule.other}: {'; '.join(rule.reasons)}" for rule in refused)
        why = why or "No mask rate was trained in all of them; compare fewer runs at a time"
        return f"No bound may be compared with that of {self.runs[0]}. {why}."

    def _best(self, point: Point) -> str:
        best, second, gap = self.ranking[0].run, self.ranking[1].run, self.ranking[1].behind
        runs = "both runs" if len(self.ranking) == 2 else "all runs"
        where = f"at step {point.at:,.0f}, the last that {runs} reached, over {self._range()}"
        if gap == 0.0:
            return f"{best} and {second} have the same bound {where}."
        next_best = ", the next best," if len(self.ranking) > 2 else ""
        low, high = self.ranking[1].interval
        if low > 0.0:
            return (
                f"{best} is better than {second}{next_best} by {gap:.4f} nats per residue {where}; the 95 % "
                f"interval, {low:.4f} to {high:.4f}, excludes 0."
            )
        interval = f"the 95 % interval, {low:.4f} to {high:.4f}, includes 0" if high > 0.0 else "its error is unknown"
        return (
            f"{best} and {second} do not differ significantly {where}: {best} is better by {gap:.4f} nats per "
            f"residue, but {interval}."
        )

    def _range(self) -> str:
        low, high = self.mask_rates
        if self.mask_rates != (0.0, 1.0):
            return f"mask rates {low:.1%} to {high:.1%}"
        return "all mask rates" + (", including some that not all runs were trained on" if self.untrained_range else "")


def compare(
    *runs: str | Path,
    paired: bool = False,
    sequences: int = 1_000,
    masks: int = 8,
    device: str = "auto",
    progress: Progress | None = None,
) -> Comparison:
    """Compare runs by their metrics files, and with `paired` by their best checkpoints as well.

    The intervals of differences from metrics files are those of independent evaluations. With `paired` both models are
    evaluated on the same held-out sequences with the same noise, which gives a much narrower interval.

    Args:
        runs: directories of at least two runs; the others are compared with the first.
        paired: whether to evaluate the best checkpoints of the runs whose bounds may be compared.
        sequences: with `paired`, at most this many held-out sequences.
        masks: with `paired`, noise levels per sequence.
        device: with `paired`, a device backend by name.
        progress: called while data are prepared, with bytes done, bytes in total and sequences.

    Raises:
        CheckpointError: if there are fewer than two runs, one is given twice, or one has no metrics or no bound yet;
            with `paired` also if one has no checkpoint.
        DataError: with `paired`, if the held-out sequences of two runs differ or are no longer available.

    Examples:
        >>> from sedd.comparison.compare import compare
        >>> compare("runs/mine")
        Traceback (most recent call last):
        sedd.errors.CheckpointError: a comparison needs two runs or more, got 1: sedd compare RUN RUN ...
    """
    if len(runs) < 2:
        raise CheckpointError(f"a comparison needs two runs or more, got {len(runs)}: sedd compare RUN RUN ...")
    recorded = read_runs(runs)
    for run in recorded:
        if not any(bound.nats < float("inf") for bound in run.history.bounds):
            raise CheckpointError(
                f"no held-out bound was recorded yet; the first comes after training.eval_every="
                f"{run.option('training.eval_every')} optimizer steps. Wait for it, or omit this run",
                file=run.directory.path,
            )
    comparison = _compared(recorded)
    if not paired:
        return comparison
    paths = dict(zip(comparison.runs, runs, strict=True))
    options: Any = {"sequences": sequences, "masks": masks, "device": device, "progress": progress}
    gaps = {name: paired_difference(runs[0], paths[name], **options) for name in comparison.compared[1:]}
    return replace(comparison, paired=gaps)


def _compared(runs: Sequence[RecordedRun]) -> Comparison:
    first, *others = runs
    judgements = [(other, rules(first, other)) for other in others]
    kept = [first, *(other for other, judged in judgements if _allowed(judged, FULL_BOUND))]
    one_graph = same_graph(kept)
    if one_graph:
        kept = [first, *(other for other, judged in judgements if _allowed(judged, SHARED_BOUND))]
    low, high = shared_range(kept) if one_graph else (0.0, 1.0)
    if high <= low:  # each shares some mask rates with the first run, but no mask rate is shared by all
        kept = kept[:1]
        low, high = first.mask_range
    curves = tuple(Curve.of(run.name, run.history, (low, high)) for run in kept)
    full_curves = tuple(Curve.of(run.name, run.history, (0.0, 1.0)) for run in kept)
    several = len(kept) > 1
    points = {clock: align(curves, clock) if several else () for clock in CLOCKS}
    return Comparison(
        runs=tuple(run.name for run in runs),
        differences=config_differences(
            [run.config for run in runs],
            same_data=all(same_training_data(*pair) for pair in combinations(runs, 2)),
            rolled_back=any(run.history.rollbacks for run in runs),
        ),
        rules=tuple(rule for _, judged in judgements for rule in judged),
        mask_rates=(low, high),
        untrained_range=any(not run.covers(low, high) for run in kept),
        compared=tuple(run.name for run in kept),
        ranking=ranking(kept, points["steps"][-1], (low, high)) if points["steps"] else (),
        curves=curves,
        full_curves=full_curves,
        points=points,
        full_points={clock: align(full_curves, clock) if several else () for clock in CLOCKS},
    )


def _allowed(judged: Sequence[Rule], what: str) -> bool:
    return next(rule.answer for rule in judged if rule.what == what) != "no"
