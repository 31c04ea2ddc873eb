"""`sedd diagnose`: the verdict on a run, the reasons, and what to do."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from sedd.cli.app import AsJson, app
from sedd.cli.console import ExitCode, err, out, print_json, print_saved, print_table, table, working
from sedd.comparison.fine_tuning import FineTuning, fine_tuning
from sedd.data.prepare.progress import DataProgress
from sedd.diagnosis.api import diagnose
from sedd.diagnosis.attribution import Attribution
from sedd.diagnosis.curve import Unit
from sedd.diagnosis.diagnosis import Diagnosis, chance_lines, mask_rate_lines
from sedd.errors import ConfigError


@app.command("diagnose")
def diagnose_run(
    run: Annotated[Path, typer.Argument(help="A run directory, its metrics.jsonl, or the log of another program.")],
    config: Annotated[
        str | None,
        typer.Option(help="A preset or a YAML file; default: that of the run. Another program's log needs it."),
    ] = None,
    symbols: Annotated[int | None, typer.Option(min=1, help="Size of the alphabet, if larger than the data's.")] = None,
    loss: Annotated[
        str | None, typer.Option(help="Another program's log: the column, key or tag of the training loss.")
    ] = None,
    unit: Annotated[
        Unit | None,
        typer.Option(help="Another program's log: nats per residue, per masked residue, per sequence, or bits."),
    ] = None,
    first: Annotated[
        int | None, typer.Option("--from", min=0, help="Split the change of the loss from this step.")
    ] = None,
    last: Annotated[int | None, typer.Option("--to", min=0, help="To this step; default: the last one.")] = None,
    fail: Annotated[
        bool, typer.Option("--fail", help="Exit with 1 if something is wrong, with 3 if that cannot be judged.")
    ] = False,
    by_chance: Annotated[
        bool, typer.Option("--by-chance", help="Also count what Monte Carlo error alone did to the rules.")
    ] = False,
    plot: Annotated[Path | None, typer.Option(help="Draw the curve and its forecast into this file (PNG).")] = None,
    html: Annotated[Path | None, typer.Option(help="Write verdict and picture into this page (HTML).")] = None,
    against: Annotated[
        str | None,
        typer.Option(help="Of a fine-tuned run: data like those of its parent. Did it help, and what was forgotten?"),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Is it the curriculum or the model? The verdict on a run, why, and what to do."""
    with working(f"diagnosing {run}"):
        diagnosis = diagnose(run, config=config, symbols=symbols, loss=loss, unit=unit)
    _draw(diagnosis, plot, html)
    changed = None if against is None else _fine_tuning(run, against)
    chosen = None if first is None and last is None else _between(diagnosis, first, last)
    if as_json:
        further = {"chosen": chosen.to_dict()} if chosen else {}
        print_json(diagnosis.to_dict() | further | ({"fine_tuning": changed.to_dict()} if changed else {}))
    else:
        out.print(str(diagnosis), markup=False)
        if chosen:
            out.print(f"\nFrom step {chosen.first:,} to {chosen.last:,}")
            out.print("\n".join((f"  {chosen}", *mask_rate_lines(chosen))), markup=False)
        if changed:
            _show(changed)
        if by_chance:
            out.print("\n" + "\n".join(chance_lines(diagnosis)), markup=False)
        for file in (plot, html):
            if file is not None:
                print_saved(file)
    if fail and diagnosis.verdict.went_wrong:
        raise typer.Exit(ExitCode.PROBLEM)
    if fail and diagnosis.verdict.undecided:
        raise typer.Exit(ExitCode.UNDECIDED)


def _draw(diagnosis: Diagnosis, plot: Path | None, html: Path | None) -> None:
    """Write the picture and the page, where they are asked for."""
    if plot is None and html is None:
        return
    from sedd.report.plots import require_matplotlib  # an extra, as jinja2 is

    require_matplotlib()
    from sedd.report.diagnosis_page import write_page, write_picture

    if plot is not None:
        write_picture(diagnosis, plot)
    if html is not None:
        write_page(diagnosis, html)


def _between(diagnosis: Diagnosis, first: int | None, last: int | None) -> Attribution:
    if diagnosis.external_curve is not None:
        raise ConfigError("--from and --to split the loss by mask rate, which the log of another program does not have")
    steps = diagnosis.steps or [0]
    return diagnosis.between(steps[0] if first is None else first, steps[-1] if last is None else last)


def _fine_tuning(run: Path, against: str) -> FineTuning:
    with DataProgress(err) as progress, working("evaluating the run and its parent"):
        return fine_tuning(run, against, progress=progress)


def _show(changed: FineTuning) -> None:
    out.print(f"\nFine-tuned from {changed.parent}", markup=False)
    for sentence in changed.sentences:
        out.print(f"  {sentence}", markup=False)
    made = table("Run less parent, nats per residue", "mask rate", "held-out data of the run", changed.forgotten.data)
    for index, part in enumerate(changed.forgotten.parts):
        own = changed.helped.parts[index] if changed.helped else None
        cells = (f"{one.nats:+.4f} ± {one.half_width:.4f}" if one else "not there" for one in (own, part))
        made.add_row(f"{part.low:.0%} to {part.high:.0%}", *cells)
    print_table(made)
    out.print("± is half of an interval; the four of a column hold together with 95 %.")
