"""Hold runs against each other: what differs, what may be compared, and which has the better curriculum-free bound."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from itertools import combinations
from pathlib import Path
from typing import Any

from sedd.comparison.bound_curves import CLOCKS, Z95, Clock, Curve, Point, align
from sedd.comparison.comparable import Rule, rules, same_graph, same_training_data, shared_range
from sedd.comparison.config_differences import Difference, config_differences
from sedd.comparison.recorded import Recorded, read_runs
from sedd.errors import CheckpointError

COMPARED = "bound over the shared range"
FULL = "held-out bound"


@dataclass(frozen=True, eq=False)
class Comparison:
    """Some runs, the first of which the others are held against. All bounds are nats per residue."""

    runs: tuple[str, ...]
    """Names, in the order given."""
    differences: tuple[Difference, ...]
    """Keys of the configuration whose values differ."""
    rules: tuple[Rule, ...]
    """What may be compared between the first run and each other one."""
    mask_rates: tuple[float, float]
    """The range over which the bounds are compared: what all compared runs were trained on. From 0 to 1 where the
    graphs differ, of which only the whole integral means the same."""
    compared: tuple[str, ...]
    """Runs whose bounds may be compared; the first one alone if there are no others."""
    curves: tuple[Curve, ...] = field(repr=False)
    """Of each compared run, the bound over `mask_rates`."""
    whole: tuple[Curve, ...] = field(repr=False)
    """Of each compared run, the full bound, untrained parts included."""
    points: Mapping[Clock, tuple[Point, ...]] = field(repr=False)
    """`steps`, `residues` and `seconds`: the bounds over `mask_rates` wherever a run was evaluated and none has to be
    extrapolated. Empty where the runs have no such point in common."""
    whole_points: Mapping[Clock, tuple[Point, ...]] = field(repr=False)
    """The same of the full bound."""

    @property
    def sentence(self) -> str:
        """Which run is better, by how much and how surely; or that nothing may be compared, and why."""
        if len(self.compared) < 2:
            return self._refusal()
        if not self.points["steps"]:
            ends = "; ".join(f"{each.run}: steps {each.steps[0]:,.0f} to {each.steps[-1]:,.0f}" for each in self.curves)
            return f"The runs have no optimizer step in common at which their bounds are known ({ends})."
        said = self._ranking(self.points["steps"][-1])
        left_out = [run for run in self.runs if run not in self.compared]
        return said + (f" Not comparable with {self.runs[0]}: {', '.join(left_out)}." if left_out else "")

    def __str__(self) -> str:
        return self.sentence

    def to_json(self) -> dict[str, Any]:
        """Everything as plain data; 95 % intervals as half widths."""
        return {
            "runs": list(self.runs),
            "sentence": self.sentence,
            "differences": [asdict(each) | {"values": list(each.values)} for each in self.differences],
            "rules": [rule.to_json() for rule in self.rules],
            "mask_rates": list(self.mask_rates),
            "compared": list(self.compared),
            "curves": [curve.to_json() for curve in self.curves],
            "whole_curves": [curve.to_json() for curve in self.whole],
            "at_equal": {clock: [point.to_json() for point in points] for clock, points in self.points.items()},
            "whole_at_equal": {
                clock: [point.to_json() for point in points] for clock, points in self.whole_points.items()
            },
        }

    def _refusal(self) -> str:
        judged = [rule for rule in self.rules if rule.what == COMPARED and rule.answer == "no"]
        why = ". ".join(f"{rule.other}: {'; '.join(rule.reasons)}" for rule in judged)
        why = why or "No mask rate was trained by all of them; compare fewer runs at a time"
        return f"No bound may be compared with that of {self.runs[0]}. {why}."

    def _ranking(self, point: Point) -> str:
        order = sorted(range(len(point.nats)), key=lambda run: point.nats[run])
        best, other = order[0], order[1]
        gap, error = point.difference(other, best)
        names = self.compared[best], self.compared[other]
        every = "both" if len(order) == 2 else "all"
        where = f"at step {point.at:,.0f}, the last that {every} reached, over {self._range()}"
        if gap == 0.0:
            return f"{names[0]} and {names[1]} have the same bound {where}."
        next_best = ", the next best," if len(order) > 2 else ""
        low, high = gap - Z95 * error, gap + Z95 * error
        if low > 0.0:
            return (
                f"{names[0]} is better than {names[1]}{next_best} by {gap:.4f} nats per residue {where}; the 95 % "
                f"interval, {low:.4f} to {high:.4f}, excludes 0."
            )
        interval = f"the 95 % interval, {low:.4f} to {high:.4f}, includes 0" if high > 0.0 else "no error is known"
        return (
            f"{names[0]} and {names[1]} cannot be told apart {where}: {names[0]} is better by {gap:.4f} nats per "
            f"residue, and {interval}."
        )

    def _range(self) -> str:
        low, high = self.mask_rates
        if self.mask_rates != (0.0, 1.0):
            return f"mask rates {low:.1%} to {high:.1%}"
        guesses = any("never trained" in reason for rule in self.rules for reason in rule.reasons)
        return "all mask rates" + (", some of which not all of them were trained on" if guesses else "")


def compare(*runs: str | Path) -> Comparison:
    """Hold runs against each other.

    Nothing is evaluated: all numbers are from the metrics files, so it takes no time and no device. The intervals of
    differences are those of independent runs. As both are measured on the same sequences with the same noise they are
    wider than need be; `sedd.comparison.paired.paired` evaluates two best checkpoints and has the narrow one.

    Args:
        runs: directories of at least two runs; the first is the one that the others are held against.

    Raises:
        CheckpointError: if there are fewer than two, one is given twice, or one has no metrics or no bound yet.

    Examples:
        >>> from sedd.comparison.compare import compare
        >>> compare("runs/mine")
        Traceback (most recent call last):
        sedd.errors.CheckpointError: a comparison needs two runs or more, got 1: sedd compare RUN RUN ...
    """
    if len(runs) < 2:
        raise CheckpointError(f"a comparison needs two runs or more, got {len(runs)}: sedd compare RUN RUN ...")
    read = read_runs(runs)
    for run in read:
        if not any(bound.nats < float("inf") for bound in run.history.bounds):
            raise CheckpointError(
                f"{run.path}: no held-out bound was recorded yet; the first comes after training.eval_every="
                f"{run.option('training.eval_every')} optimizer steps. Wait for it, or leave this run out"
            )
    return _compared(read)


def _compared(runs: Sequence[Recorded]) -> Comparison:
    first, *others = runs
    found = [rules(first, other) for other in others]
    kept = [first, *(other for other, judged in zip(others, found, strict=True) if _may(judged, FULL))]
    one_graph = same_graph(kept)
    if one_graph:
        kept = [first, *(other for other, judged in zip(others, found, strict=True) if _may(judged, COMPARED))]
    low, high = shared_range(kept) if one_graph else (0.0, 1.0)
    if high <= low:  # each of them shares something with the first, but not all of them the same
        kept = kept[:1]
        low, high = first.mask_range
    names = tuple(run.name for run in kept)
    curves = tuple(Curve.of(run.name, run.history, (low, high)) for run in kept)
    whole = tuple(Curve.of(run.name, run.history, (0.0, 1.0)) for run in kept)
    enough = len(kept) > 1
    return Comparison(
        runs=tuple(run.name for run in runs),
        differences=config_differences(
            runs, same_data=all(same_training_data(*pair) for pair in combinations(runs, 2))
        ),
        rules=tuple(rule for judged in found for rule in judged),
        mask_rates=(low, high),
        compared=names,
        curves=curves,
        whole=whole,
        points={clock: align(curves, clock) if enough else () for clock in CLOCKS},
        whole_points={clock: align(whole, clock) if enough else () for clock in CLOCKS},
    )


def _may(judged: Sequence[Rule], what: str) -> bool:
    return next(rule.answer for rule in judged if rule.what == what) != "no"
