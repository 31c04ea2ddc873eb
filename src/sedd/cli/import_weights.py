"""`sedd import weights`: weights of other programs as a run directory."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from sedd.cli.console import out, working
from sedd.cli.imports import imports
from sedd.foreign.weights.importing import Imported, import_weights


@imports.command("weights")
def weights_(
    source: Annotated[
        Path,
        typer.Argument(metavar="SRC", help="Hub folder of SEDD, MDLM or a plugin's network; or SEDD's or PLS's run."),
    ],
    run: Annotated[Path, typer.Option(help="Run directory to write.")],
    weights: Annotated[
        Literal["ema", "raw"] | None,
        typer.Option(help="Of a training directory: averaged (default) or raw weights."),
    ] = None,
    alphabet: Annotated[
        Literal["ids", "protein", "esm", "dna", "rna"] | None,
        typer.Option(help="What the ids mean; ids: numbers. Default: text if there is a tokenizer.json, else ids."),
    ] = None,
) -> None:
    """Make a run directory of weights that another program trained."""
    with working(f"reading {source}"):
        imported = import_weights(source, run, weights=weights, alphabet=alphabet)
    _show(imported)


def _show(imported: Imported) -> None:
    origin, config = imported.origin, imported.config
    kind = {"ema": "averaged weights", "raw": "raw weights", "published": "weights"}[origin.weights]
    noise, graph = config.noise, config.graph.type
    rows = {
        "from": f"{origin.layout}, {kind} in {origin.file}",
        "sha256": origin.sha256,
        "parameters": f"{imported.parameters:,}, every tensor accounted for",
        "process": f"{graph}, head {config.model.head}, noise to sigma {noise.sigma_max:.5g}",
        "symbols": f"{imported.alphabet.n:,} ({imported.alphabet.name}), at most {config.model.length:,} in a sequence",
        "run": str(imported.run),
    }
    for name, text in rows.items():
        out.print(f"{name:<12}{text}", markup=False)
    for remark in imported.remarks:
        out.print(f"Note: {remark}.", markup=False)
    if imported.alphabet.separator:
        out.print(
            "Sequences are ids: numbers separated by spaces. If the ids are amino acids, name --alphabet protein."
        )
