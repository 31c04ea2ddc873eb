"""`sedd compare`."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table

from sedd.cli.app import app, data_progress, out
from sedd.comparison.bound_curves import CLOCKS, Z95, Clock, Point, evenly_spread
from sedd.comparison.compare import Comparison, compare
from sedd.comparison.paired import PairedDifference, paired
from sedd.comparison.recorded import NEGLIGIBLE
from sedd.report.comparison_plot import plot
from sedd.runs.differences import Difference

CLOCK_NAMES: dict[Clock, str] = {"steps": "optimizer steps", "residues": "training residues", "seconds": "time"}


@app.command("compare")
def compare_runs(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN", help="Run directories, two or more.")],
    pair: Annotated[
        bool, typer.Option("--paired", help="Evaluate the best checkpoints too, sequence by sequence: sharper.")
    ] = False,
    sequences: Annotated[int, typer.Option(min=1, help="With --paired: at most this many sequences.")] = 1_000,
    masks: Annotated[int, typer.Option(min=1, help="With --paired: noise levels per sequence.")] = 8,
    device: Annotated[str, typer.Option(help="With --paired: device backend.")] = "auto",
    to: Annotated[Path | None, typer.Option("--plot", help="Draw the bounds into this file (PNG).")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """What differs between runs, what may be compared, and whose held-out bound is better."""
    found = compare(*runs)
    if to is not None:
        plot(found, to)
    pairs: dict[str, PairedDifference] = {}
    if pair:
        places = dict(zip(found.runs, runs, strict=True))
        with data_progress() as progress:
            pairs = {
                name: paired(runs[0], places[name], sequences=sequences, masks=masks, device=device, progress=progress)
                for name in found.compared[1:]
            }
    if as_json:
        more = {"paired": {name: each.to_json() for name, each in pairs.items()}} if pair else {}
        typer.echo(json.dumps(found.to_dict() | more))
        return
    for name, each in pairs.items():
        out.print(_paired_sentence(found.runs[0], name, each), markup=False)
    out.print(f"From the metrics alone: {found.sentence}" if pairs else found.sentence, markup=False)
    if not pairs and len(found.compared) > 1:
        out.print("This interval is wide; --paired evaluates the best checkpoints sequence by sequence and tells more.")
    _show_differences(found)
    _show_rules(found)
    _show_bounds(found)
    if to is not None:
        out.print(f"\nThe picture is in {to}", markup=False)


def _paired_sentence(first: str, other: str, found: PairedDifference) -> str:
    low, high = found.interval
    told = "excludes 0" if low > 0.0 or high < 0.0 else "includes 0"
    better = "equal" if found.shared == 0.0 else "better" if found.shared < 0.0 else "worse"
    where = f"mask rates {found.mask_rates[0]:.1%} to {found.mask_rates[1]:.1%}"
    return (
        f"Paired, best checkpoints (steps {found.first_step:,} and {found.other_step:,}), {found.sequences:,} "
        f"sequences: {other} less {first} is {found.shared:+.4f} nats per residue over {where} ({other} is {better}); "
        f"95 % interval {low:+.4f} to {high:+.4f}, {told}. Full bounds: {found.nats:+.4f} ± {Z95 * found.stderr:.4f}."
    )


def _show_differences(found: Comparison) -> None:
    tables = (
        ("What differs", [each for each in found.differences if not each.neutral]),
        ("Differs too, but does not change what is trained", [each for each in found.differences if each.neutral]),
    )
    for title, rows in tables:
        if rows:
            _print(_difference_table(title, rows, found.runs))
    if not any(rows for _, rows in tables):
        out.print("\nThe configurations are the same.")


def _difference_table(title: str, rows: Sequence[Difference], runs: Sequence[str]) -> Table:
    table = _table(title, "key", *runs)
    for row in rows:
        table.add_row(row.key, *(_shown(value) for value in row.values))
    return table


def _show_rules(found: Comparison) -> None:
    several = len(found.runs) > 2
    table = _table("What may be compared", *([f"with {found.runs[0]}"] if several else []), "number", "", "why")
    colours = {"yes": "green", "with care": "yellow", "no": "red"}
    for rule in found.rules:
        cells = [escape(rule.other)] if several else []
        answer = f"[{colours[rule.answer]}]{rule.answer}[/]"
        table.add_row(*cells, rule.what, answer, escape("; ".join(rule.reasons)))
    _print(table)


def _show_bounds(found: Comparison) -> None:
    if len(found.compared) < 2:
        return
    low, high = found.mask_rates
    title = f"Held-out bound over mask rates {low:.1%} to {high:.1%}, nats per residue"
    for clock in CLOCKS:
        if found.points[clock]:
            _print(_bound_table(f"{title}, at equal {CLOCK_NAMES[clock]}", clock, found, found.points[clock]))
        else:
            out.print(f"\nAt equal {CLOCK_NAMES[clock]}: the runs have no point in common; nothing is extrapolated.")
    if high - low < 1.0 - NEGLIGIBLE and found.full_points["steps"]:
        title = "Full held-out bound, nats per residue, at equal optimizer steps"
        _print(_bound_table(title, "steps", found, found.full_points["steps"]))
    out.print(
        f"± is a 95 % interval. The second line of a cell is the difference to {found.runs[0]}; its interval is that "
        "of runs measured on different sequences. On the same sequences the difference is known better than that.",
        markup=False,
    )


def _bound_table(title: str, clock: Clock, found: Comparison, points: Sequence[Point]) -> Table:
    table = _table(title, CLOCK_NAMES[clock], *found.compared)
    for point in evenly_spread(points):
        cells = [f"{point.nats[0]:.4f} {_half(point.stderr[0])}"]
        for other in range(1, len(point.nats)):
            gap, error = point.difference(other)
            cells.append(f"{point.nats[other]:.4f} {_half(point.stderr[other])}\n{gap:+.4f} {_half(error)}")
        table.add_row(_time(point.at) if clock == "seconds" else f"{point.at:,.0f}", *cells)
    return table


def _table(title: str, *columns: str) -> Table:
    table = Table(title=f"[bold]{escape(title)}[/bold]", title_justify="left", show_lines=False)
    for column in columns:
        table.add_column(escape(column), overflow="fold")
    return table


def _print(table: Table) -> None:
    out.print()
    out.print(table, soft_wrap=False)


def _half(stderr: float) -> str:
    return f"± {Z95 * stderr:.4f}" if stderr == stderr else "± ?"


def _time(seconds: float) -> str:
    for unit, size in (("h", 3600.0), ("min", 60.0)):
        if seconds >= size:
            return f"{seconds / size:.2f} {unit}"
    return f"{seconds:.2f} s"


def _shown(value: Any) -> str:
    return "-" if value is None else escape(f"{value:g}" if isinstance(value, float) else str(value))
