"""`sedd export`: a trained model as a folder to share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from sedd import __version__
from sedd.cli.app import RunPath, Weights, Which, app
from sedd.cli.console import out, working
from sedd.errors import CheckpointError
from sedd.report.model_card import model_card
from sedd.runs.bound_record import BoundRecord
from sedd.runs.directory import RunDirectory
from sedd.runs.exported import Exported, check_target, is_exported, write
from sedd.runs.finding import find


@app.command()
def export(
    run: RunPath,
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Folder to write; it must not exist.")],
    weights: Weights = "ema",
    which: Which = "best",
) -> None:
    """Write a trained model as a folder to share: weights, configuration, alphabet and a model card."""
    check_target(folder)
    if is_exported(run):
        raise CheckpointError("is an exported model already; copy the folder", file=run)
    with working(f"reading {run}"):
        found, saved = find(run, which)
    lineage = {
        "run": saved.run,
        "checkpoint": found.name,
        "imported_from": Path(imported["file"]).name if (imported := saved.state.get("imported")) else None,
        "imported_sha256": imported["sha256"] if imported else None,
        "sedd": __version__,
    }
    exported = Exported(saved, weights, lineage)
    write(folder, exported, model_card(exported, _bound(found, exported), folder.resolve().name))
    out.print(
        f"{folder}: {weights} weights of step {exported.step:,}. Load it: sedd.load({str(folder)!r})", markup=False
    )


def _bound(found: Path, exported: Exported) -> BoundRecord | None:
    """The held-out bound of these weights, if the run has measured it; evaluations use the averaged weights."""
    run = RunDirectory(found.parent.parent)
    if exported.weights != "ema" or not run.metrics_file.exists() or found.parent != run.checkpoints:
        return None
    return next((bound for bound in run.history().bounds if bound.step == exported.step), None)
