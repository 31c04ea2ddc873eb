"""`sedd compare`: what differs between runs, what may be compared, and whose held-out bound is better."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table

from sedd.cli.app import AsJson, app
from sedd.cli.console import err, margin, out, print_json, print_saved, print_table, table
from sedd.comparison.bound_curves import CLOCKS, Clock, Point, evenly_spread
from sedd.comparison.compare import Comparison, compare
from sedd.comparison.paired import PairedDifference
from sedd.comparison.ranking import Ranked
from sedd.comparison.recorded import NEGLIGIBLE
from sedd.data.prepare.progress import DataProgress
from sedd.report.comparison_plot import plot
from sedd.terminal.activity import duration

CLOCK_NAMES: dict[Clock, str] = {"steps": "optimizer steps", "residues": "training residues", "seconds": "time"}
MOST_KEYS = 6
"""Keys that are columns of the ranking; more have a table of their own."""
COLOURS = {"yes": "green", "with care": "yellow", "no": "red"}


@app.command("compare")
def compare_runs(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN", help="Run directories, two or more.")],
    pair: Annotated[
        bool, typer.Option("--paired", help="Evaluate the best checkpoints too, sequence by sequence: sharper.")
    ] = False,
    sequences: Annotated[int, typer.Option(min=1, help="With --paired: at most this many sequences.")] = 1_000,
    masks: Annotated[int, typer.Option(min=1, help="With --paired: noise levels per sequence.")] = 8,
    device: Annotated[str, typer.Option(help="With --paired: device backend.")] = "auto",
    details: Annotated[
        bool, typer.Option("--details", help="Also what may be compared and why, and the bounds along the runs.")
    ] = False,
    to: Annotated[Path | None, typer.Option("--plot", help="Draw the bounds into this file (PNG).")] = None,
    as_json: AsJson = False,
) -> None:
    """What differs between runs, what may be compared, and whose held-out bound is better."""
    if pair:
        err.print(f"Evaluating the best checkpoints on at most {sequences:,} sequences, {masks} masks each ...")
    with DataProgress(err) as progress:
        comparison = compare(*runs, paired=pair, sequences=sequences, masks=masks, device=device, progress=progress)
    if to is not None:
        plot(comparison, to)
    if as_json:
        print_json(comparison.to_dict() | ({"paired": {}} if pair and not comparison.paired else {}))
        return
    pairs = comparison.paired
    for name, difference in pairs.items():
        out.print(_paired_sentence(comparison.runs[0], name, difference), markup=False)
    out.print(f"From the metrics alone: {comparison.sentence}" if pairs else comparison.sentence, markup=False)
    if not pairs and len(comparison.compared) > 1:
        out.print("For a narrower interval, add --paired: it evaluates the best checkpoints sequence by sequence.")
    _show_ranking(comparison)
    many = sum(not row.neutral for row in comparison.differences) > MOST_KEYS
    if details or many:
        _show_differences(comparison)
    if details:
        _show_rules(comparison)
        _show_bounds(comparison)
    else:
        out.print("What may be compared and why, and the bounds along the runs: add --details.")
    if to is not None:
        print_saved(to)


def _paired_sentence(first: str, other: str, difference: PairedDifference) -> str:
    low, high = difference.interval
    zero = "excludes 0" if low > 0.0 or high < 0.0 else "includes 0"
    better = "equal" if difference.shared == 0.0 else "better" if difference.shared < 0.0 else "worse"
    rates = f"mask rates {difference.mask_rates[0]:.1%} to {difference.mask_rates[1]:.1%}"
    return (
        f"Paired, best checkpoints (steps {difference.first_step:,} and {difference.other_step:,}), "
        f"{difference.sequences:,} sequences: {other} less {first} is {difference.shared:+.4f} nats per residue over "
        f"{rates} ({other} is {better}); 95 % interval {low:+.4f} to {high:+.4f}, {zero}. Full bounds: "
        f"{difference.nats:+.4f} ± {margin(difference.stderr)}."
    )


def _show_ranking(comparison: Comparison) -> None:
    """A row per run, the best first: its place, its bound, how far it is behind, and the keys that differ."""
    keys = [row for row in comparison.differences if not row.neutral]
    beside = keys if len(keys) <= MOST_KEYS else []
    columns = ["", "run", "bound", "behind the best", *_short([row.key for row in beside])]
    made = table("Ranking, nats per residue" if comparison.ranking else "Runs", *columns)
    places = {ranked.run: ranked for ranked in comparison.ranking}
    for run in sorted(comparison.runs, key=lambda run: list(places).index(run) if run in places else len(places)):
        ranked = places.get(run)
        cells = ("-", run, "not comparable", "") if ranked is None else _cells(ranked)
        made.add_row(*map(escape, cells), *(_value(row.values[comparison.runs.index(run)]) for row in beside))
    print_table(made)
    if len(places) > 1:
        several = ", and runs that share a place are not distinguishable" if _ties(comparison) else ""
        out.print(f"± is half of a 95 % interval over held-out sequences, not over seeds{several}.")
    if not comparison.differences:
        out.print("The configurations are equal.")


def _short(keys: Sequence[str]) -> list[str]:
    """Keys without their sections, where that is unambiguous."""
    names = [key.rpartition(".")[2] for key in keys]
    return [name if names.count(name) == 1 else key for key, name in zip(keys, names, strict=True)]


def _cells(ranked: Ranked) -> tuple[str, ...]:
    behind = f"{ranked.behind:+.4f} ± {margin(ranked.behind_stderr)}" if ranked.behind else ""
    return str(ranked.place), ranked.run, f"{ranked.nats:.4f} ± {margin(ranked.stderr)}", behind


def _ties(comparison: Comparison) -> bool:
    return len({ranked.place for ranked in comparison.ranking}) < len(comparison.ranking)


def _show_differences(comparison: Comparison) -> None:
    groups = (
        ("What differs", [row for row in comparison.differences if not row.neutral]),
        ("Differs too, but does not change what is trained", [row for row in comparison.differences if row.neutral]),
    )
    for title, rows in groups:
        if rows:
            made = table(title, "key", *comparison.runs)
            for row in rows:
                made.add_row(escape(row.key), *map(_value, row.values))
            print_table(made)
    if not any(rows for _, rows in groups):
        out.print("\nThe configurations are equal.")


def _show_rules(comparison: Comparison) -> None:
    several = len(comparison.runs) > 2
    made = table("What may be compared", *[f"with {comparison.runs[0]}"] * several, "number", "", "why")
    for rule in comparison.rules:
        answer = f"[{COLOURS[rule.answer]}]{rule.answer}[/]"
        made.add_row(*[escape(rule.other)] * several, rule.what, answer, escape("; ".join(rule.reasons)))
    print_table(made)


def _show_bounds(comparison: Comparison) -> None:
    if len(comparison.compared) < 2:
        return
    low, high = comparison.mask_rates
    title = f"Held-out bound over mask rates {low:.1%} to {high:.1%}, nats per residue"
    for clock in CLOCKS:
        points = comparison.points[clock]
        if points:
            print_table(_bound_table(f"{title}, at equal {CLOCK_NAMES[clock]}", clock, comparison, points))
        else:
            out.print(f"\nAt equal {CLOCK_NAMES[clock]}: the runs have no point in common; nothing is extrapolated.")
    if high - low < 1.0 - NEGLIGIBLE and comparison.full_points["steps"]:
        title = "Full held-out bound, nats per residue, at equal optimizer steps"
        print_table(_bound_table(title, "steps", comparison, comparison.full_points["steps"]))
    out.print(
        "± is half of a 95 % interval. "
        f"The second line of a cell is the difference to {comparison.runs[0]}; its interval "
        "holds for runs measured on different sequences. With equal sequences the difference is more precise.",
        markup=False,
    )


def _bound_table(title: str, clock: Clock, comparison: Comparison, points: Sequence[Point]) -> Table:
    made = table(title, CLOCK_NAMES[clock], *comparison.compared)
    for point in evenly_spread(points):
        cells = [f"{point.nats[0]:.4f} ± {margin(point.stderr[0])}"]
        for other in range(1, len(point.nats)):
            difference, error = point.difference(other)
            bound = f"{point.nats[other]:.4f} ± {margin(point.stderr[other])}"
            cells.append(f"{bound}\n{difference:+.4f} ± {margin(error)}")
        made.add_row(duration(point.at) if clock == "seconds" else f"{point.at:,.0f}", *cells)
    return made


def _value(value: Any) -> str:
    return "-" if value is None else escape(f"{value:g}" if isinstance(value, float) else str(value))
