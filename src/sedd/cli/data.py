"""`sedd data`: prepare a token store, and verify one."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated

import typer

from sedd.cli.app import App, app
from sedd.cli.console import err, out, working
from sedd.config.run_file import load_config
from sedd.data.prepare.options import PrepareOptions
from sedd.data.prepare.preparing import prepare, verify
from sedd.data.prepare.progress import DataProgress

data_app = App(help="Prepare data.", no_args_is_help=True)
app.add_typer(data_app, name="data")


@data_app.command("prepare")
def data_prepare(
    source: Annotated[
        Path, typer.Argument(metavar="IN", help="File of sequences or text, folder, pattern, or - for a pipe.")
    ],
    store: Annotated[Path, typer.Argument(metavar="OUT", help="Directory for the token store.")],
    overrides: Annotated[list[str] | None, typer.Argument(help="Options such as alphabet=esm holdout=0.01.")] = None,
    workers: Annotated[
        int | None, typer.Option(min=1, help="Processes; by default the available cores, at most 8, for a large FASTA.")
    ] = None,
) -> None:
    """Write a memory-mapped token store, split into `train` and `valid`."""
    options = [item.removeprefix("data.") for item in overrides or []]  # `data.alphabet=esm` is accepted too
    config = load_config({}, *(f"data.{item}" for item in options))
    with DataProgress(err) as progress:
        prepared = prepare(
            source, store, options=PrepareOptions.from_config(config.data), progress=progress, workers=workers
        )
    out.print(str(prepared), markup=False)
    settings = "".join(f" {shlex.quote(f'data.{item}')}" for item in options)
    out.print(f"Train on it: sedd train small data.train={store}{settings}", markup=False)
    if summary := progress.summary():
        err.print(summary)


@data_app.command("verify")
def data_verify(
    store: Annotated[Path, typer.Argument(metavar="STORE", help="Directory that `sedd data prepare` wrote.")],
) -> None:
    """Read all of a store and compare it with the hashes in its manifest."""
    with working(f"reading {store}"):
        parts = verify(store)
    for part in parts:
        out.print(f"{part.path}: {len(part):,} sequences, {part.residues:,} residues, undamaged", markup=False)
