"""`sedd sweep`: find the settings with the lowest held-out bound at equal residues."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Literal

import typer
from rich.markup import escape
from rich.table import Table

from sedd.cli.app import AsJson, app, config_names
from sedd.cli.console import err, out, print_json, print_saved, print_table, table
from sedd.config.run_file import load_config
from sedd.data.prepare.progress import DataProgress
from sedd.errors import SeddError
from sedd.evaluation.intervals import Z95, with_error
from sedd.report.plots import require_matplotlib
from sedd.sweeps.directory import BEST, SPEC
from sedd.sweeps.rows import heads, row
from sedd.sweeps.space import sentence
from sedd.sweeps.sweep import new_directory, sweep
from sedd.sweeps.tasks import Measurement, Task
from sedd.sweeps.trials import Sweep


@app.command("sweep")
def sweep_command(
    config: Annotated[
        str, typer.Argument(metavar="RUNFILE", help="A preset or a YAML file.", autocompletion=config_names)
    ],
    overrides: Annotated[
        list[str] | None, typer.Argument(help="Overrides such as data.train=my.fasta.gz, for all trials.")
    ] = None,
    vary: Annotated[
        list[str] | None,
        typer.Option(metavar="KEY=...", help="KEY=LOW..HIGH, KEY=LOW..HIGH:log or KEY=A,B,C; as often as you like."),
    ] = None,
    trials: Annotated[int, typer.Option(min=1, help="Settings to try, besides the run file itself.")] = 30,
    seeds: Annotated[int, typer.Option(min=2, help="Fresh seeds of each finalist and of the run file.")] = 3,
    finalists: Annotated[int, typer.Option(min=1, help="The best settings that are run with these seeds.")] = 3,
    budget: Annotated[
        float | None,
        typer.Option("--budget-residues", min=1.0, help="Training residues of a trial; default: as the run file."),
    ] = None,
    one_at_a_time: Annotated[
        bool, typer.Option("--one-at-a-time", help="A table of single changes, each with all seeds; no search.")
    ] = False,
    sampler: Annotated[
        Literal["tpe", "quasi-random"], typer.Option(help="tpe needs optuna; quasi-random fills the space evenly.")
    ] = "tpe",
    jobs: Annotated[int, typer.Option(min=1, help="Processes that train at once.")] = 1,
    run: Annotated[
        Path | None, typer.Option("--run", help="Directory of the sweep; by default sweeps/<date-time>.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Try settings at equal residues, and say which is better than the run file, and with which interval."""
    base = load_config(config, *(overrides or []))
    run = run or new_directory()
    with DataProgress(err) as progress, _how_to_go_on(run):
        found = sweep(
            base, vary or [], trials=trials, seeds=seeds, finalists=finalists, budget_residues=budget,
            one_at_a_time=one_at_a_time, sampler=sampler, jobs=jobs, run=run, progress=progress,
            say=lambda text: err.print(text, markup=False), done=_show_measurement,
        )  # fmt: skip
    page = _write_page(found)
    if as_json:
        print_json(found.to_dict())
        return
    show(found)
    if found.directory is not None:
        out.print(f"\nTrain with it: {shlex.join(['sedd', 'train', str(found.directory / BEST)])}", markup=False)
    if page is not None:
        print_saved(page)


@contextmanager
def _how_to_go_on(run: Path) -> Iterator[None]:
    """Where a signal ends the sweep, say with which command it goes on."""
    try:
        yield
    except (KeyboardInterrupt, SystemExit):
        if (run / SPEC).exists():
            given = sys.argv[1:]
            named = any(word == "--run" or word.startswith("--run=") for word in given)
            command = shlex.join(["sedd", *given, *([] if named else ["--run", str(run)])])
            err.print(f"nothing measured is lost; go on with: {command}", markup=False, soft_wrap=True)
        raise


def show(found: Sweep) -> None:
    """Print the answer, what to try next, and the ranked table."""
    out.print(found.sentence, markup=False)
    for step in found.next_steps:
        out.print(f"  - {step}", markup=False)
    made = _ranking(found)
    print_table(made if _width(made) <= out.width else _narrow_ranking(found))
    out.print(
        "± is half of a 95 % interval: of the first seed over held-out sequences alone; of a difference over seeds and "
        "sequences, corrected for the number of settings.",
        markup=False,
    )


def _title(found: Sweep) -> str:
    low, high = found.mask_rates
    return f"Bound over mask rates {low:.1%} to {high:.1%}, nats per residue, after {found.residues:,.0f} residues"


def _width(made: Table) -> int:
    """Characters that a table needs if no cell is wrapped."""
    return out.measure(made, options=out.options.update(width=10_000)).maximum


def _ranking(found: Sweep) -> Table:
    """The ranked table, with a column for each key."""
    made = table(_title(found), *heads(found, short=True))
    for trial in found.trials:
        made.add_row(*map(escape, row(found, trial, short=True)))
    return made


def _narrow_ranking(found: Sweep) -> Table:
    """The ranked table where a column for each key has no room: all values are in the last column, the error of the
    first seed is left out, and a verdict is there only where it is not `healthy`."""
    last = 1 + len(found.space)
    titles = heads(found, short=True)
    made = table(_title(found), "#", *titles[last:-2], "state", ", ".join(titles[1:last]))
    for trial in found.trials:
        number, *cells = row(found, trial, short=True)
        *numbers, state, verdict = cells[last - 1 :]
        numbers[:-2] = [text.partition(" ")[0] for text in numbers[:-2]]
        state = state if verdict == "healthy" else f"{state}, {verdict}"
        made.add_row(*map(escape, (number, *numbers, state, ", ".join(cells[: last - 1]))))
    return made


def _show_measurement(task: Task, one: Measurement) -> None:
    result = with_error(one.nats, Z95 * one.stderr) if one.finite else one.verdict
    text = f"  trial {task.number}, seed {task.seed}, step {one.step:,}: {result} ({sentence(task.changes)})"
    err.print(text, markup=False)


def _write_page(found: Sweep) -> Path | None:
    """The page of the sweep; None, with a remark, where matplotlib is missing."""
    try:
        require_matplotlib()
    except SeddError as error:
        err.print(f"no page: {error}", markup=False)
        return None
    from sedd.report.sweep_page import write_sweep_page  # jinja2 is an extra, as matplotlib is

    return write_sweep_page(found)
