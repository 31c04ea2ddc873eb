"""`sedd report`."""

from __future__ import annotations

import webbrowser
from pathlib import Path
from typing import Annotated

import typer

from sedd.cli.app import app
from sedd.cli.console import err, out, working


@app.command()
def report(
    run: Annotated[Path, typer.Argument(help="Run directory, finished or not.")],
    show: Annotated[bool, typer.Option("--open", help="Open the page in the browser.")] = False,
    to: Annotated[Path | None, typer.Option("--out", "-o", help="HTML file; default: RUN/report.html.")] = None,
) -> None:
    """Write the report of a run: one HTML file to read or to send on, and its main plots as PNG beside it."""
    from sedd.report.write import write_report  # slow to import

    with working(f"writing the report of {run}"):
        written = write_report(run, to)
    out.print(str(written.page), markup=False)
    if written.pictures:
        err.print(f"{len(written.pictures)} pictures in {written.pictures[0].parent}", markup=False)
    if show:
        webbrowser.open(written.page.resolve().as_uri())
