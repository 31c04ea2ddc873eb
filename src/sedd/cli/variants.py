"""`sedd score-variants`: point mutations, as protein language models score them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated

import typer

from sedd.cli.app import RunPath, Weights, Which, app
from sedd.cli.console import err, working
from sedd.data.alphabet import Ids
from sedd.errors import DataError
from sedd.evaluation.mutations import Row, all_singles, read_mutations, read_wild_types
from sedd.evaluation.table_file import Cell, Columns, table_file
from sedd.evaluation.variants import VariantScore
from sedd.pretrained import Pretrained, load

COLUMNS: Columns = {
    "id": str, "mutation": str, "log_odds": float, "bound_difference": float, "stderr": float, "remark": str
}  # fmt: skip
WINDOW = 1_024
"""Variants that are scored before they are written."""


@app.command("score-variants")
def score_variants(
    run: RunPath,
    wildtype: Annotated[Path, typer.Argument(help="FASTA of the sequence, or of several.")],
    mutations: Annotated[
        Path | None, typer.Argument(help="CSV with a mutation such as A42G, A42G:L50P or p.Ala42Gly on each line.")
    ] = None,
    singles: Annotated[
        bool, typer.Option("--all-singles", help="Instead of a file: every change of one residue to another.")
    ] = False,
    to: Annotated[Path | None, typer.Option("--out", "-o", help="CSV or .parquet to write; default: print.")] = None,
    masks: Annotated[int, typer.Option(min=1, help="Noise levels for the difference of the bounds.")] = 32,
    bound: Annotated[
        bool, typer.Option("--bound/--no-bound", help="Compute the difference of the bounds; slower by far.")
    ] = True,
    seed: Annotated[int, typer.Option(min=0, help="Same seed, same masks.")] = 0,
    weights: Weights = "ema",
    which: Which = "best",
    device: Annotated[str, typer.Option(help="Device backend.")] = "auto",
) -> None:
    """Score point mutations of a sequence; above 0 the model prefers the mutant."""
    model = load(run, which=which, weights=weights, device=device)
    if not (model.alphabet.is_protein or model.alphabet.is_nucleic):
        raise DataError(
            f"{run} was trained with the alphabet {model.alphabet.name!r}; variants are scored for proteins and "
            "nucleotides, with a model that was trained with data.alphabet=protein, esm, dna or rna"
        )
    wild = read_wild_types(wildtype, model.alphabet, model.config.model.length)
    if (mutations is None) != singles:
        raise DataError("give either a file of mutations, or --all-singles for every change of one residue")
    if mutations is None:
        rows = [row for name, sequence in wild.items() for row in all_singles(name, sequence, model.alphabet)]
    else:
        rows = read_mutations(mutations, wild, model.alphabet)
    with table_file(to, COLUMNS) as table, working(f"scoring {len(rows):,} variants", len(rows)) as show:
        scored = _scored(model, wild, rows, masks=masks, bound=bound, seed=seed)
        for done, (row, score) in enumerate(scored, 1):
            table.row((row.name, row.text, *_cells(score), row.remark))
            show(done)
    if to is not None:
        err.print(f"{len(rows):,} variants in {to}", markup=False)
    unscored = [row for row in rows if row.mutation is None]
    if unscored:
        first = f"{unscored[0].text}: {unscored[0].remark}"
        err.print(f"{len(unscored):,} of {len(rows):,} variants have no score (first: {first})", markup=False)


def _scored(
    model: Pretrained, wild: dict[str, Ids], rows: Sequence[Row], *, masks: int, bound: bool, seed: int
) -> Iterator[tuple[Row, VariantScore | None]]:
    """Rows in the order of the file with their scores, None for those without. Within a window, rows of one wild type
    are scored together."""
    for first in range(0, len(rows), WINDOW):
        window = rows[first : first + WINDOW]
        scores: dict[int, VariantScore] = {}
        for name in dict.fromkeys(row.name for row in window):
            indices = [index for index, row in enumerate(window) if row.name == name and row.mutation is not None]
            mutations = [window[index].text for index in indices]
            sequence = model.alphabet.decode(wild[name])
            own = model.score_variants(sequence, mutations, masks=masks, bound=bound, seed=seed)
            scores |= dict(zip(indices, own, strict=True))
        yield from ((row, scores.get(index)) for index, row in enumerate(window))


def _cells(score: VariantScore | None) -> tuple[Cell, ...]:
    return (None,) * 3 if score is None else (score.log_odds, score.bound_difference, score.stderr)
