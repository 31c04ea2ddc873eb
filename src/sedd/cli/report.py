"""`sedd report`."""

from __future__ import annotations

import warnings
import webbrowser
from pathlib import Path
from typing import Annotated

import typer

from sedd.cli.app import app
from sedd.cli.console import err, out, working
from sedd.config.run_file import load_config
from sedd.errors import ConfigError, SeddWarning


@app.command()
def report(
    run: Annotated[Path, typer.Argument(help="Run directory, finished or not.")],
    show: Annotated[bool, typer.Option("--open", help="Open the page in the browser.")] = False,
    to: Annotated[Path | None, typer.Option("--out", "-o", help="HTML file; default: RUN/report.html.")] = None,
    track: Annotated[bool, typer.Option("--track", help="Send the page to the trackers of the run, too.")] = False,
) -> None:
    """Write the report of a run: one HTML file to read or to send on, and its main plots as PNG beside it."""
    from sedd.report.write import write_report  # slow to import

    with working(f"writing the report of {run}"):
        written = write_report(run, to)
    out.print(str(written.page), markup=False)
    if written.pictures:
        err.print(f"{len(written.pictures)} pictures in {written.pictures[0].parent}", markup=False)
    if track:
        _send(run, written.page)
    if show:
        webbrowser.open(written.page.resolve().as_uri())


def _send(run: Path, page: Path) -> None:
    """Send the page to the trackers of the run that take files. Raises ConfigError if there are none."""
    from sedd.training.tracking import send_file  # slow to import

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SeddWarning)  # what was said when the run began need not be said again
        config = load_config(run / "config.yaml")
    names = send_file(run, page, config)
    if not names:
        raise ConfigError(f"{run}: no tracker of this run takes files; wandb and mlflow do", keys=["trackers"])
    err.print(f"sent to {', '.join(names)}", markup=False)
