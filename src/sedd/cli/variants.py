"""`sedd score-variants`: point mutations, as protein language models score them."""

from __future__ import annotations

import csv
import sys
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Annotated

import typer

from sedd.cli.app import RunPath, Weights, Which, app
from sedd.cli.console import err, working
from sedd.data.alphabet import Ids
from sedd.errors import DataError
from sedd.evaluation.mutations import Row, read_mutations, read_wild_types
from sedd.evaluation.variants import VariantScore
from sedd.pretrained import Pretrained, load

COLUMNS = ("id", "mutation", "log_odds", "bound_difference", "stderr")
WINDOW = 1_024
"""Variants that are scored before they are written."""


@app.command("score-variants")
def score_variants(
    run: RunPath,
    wildtype: Annotated[Path, typer.Argument(help="FASTA of the sequence, or of several.")],
    mutations: Annotated[Path, typer.Argument(help="CSV with a mutation such as A42G (or A42G:L50P) on each line.")],
    to: Annotated[Path | None, typer.Option("--out", "-o", help="CSV to write; default: print.")] = None,
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
    if model.alphabet.name not in ("protein", "esm"):
        raise DataError(
            f"{run} was trained with the alphabet {model.alphabet.name!r}; variants are scored for proteins, with a "
            "model that was trained with data.alphabet=protein or esm"
        )
    wild = read_wild_types(wildtype, model.alphabet, model.config.model.length)
    rows = read_mutations(mutations, wild, model.alphabet)
    if to is not None:
        to.parent.mkdir(parents=True, exist_ok=True)
    with nullcontext(sys.stdout) if to is None else to.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(COLUMNS)
        with working(f"scoring {len(rows):,} variants", len(rows)) as show:
            scored = _scored(model, wild, rows, masks=masks, bound=bound, seed=seed)
            for done, (row, score) in enumerate(scored, 1):
                writer.writerow((row.name, *_cells(score)))
                show(done)
    if to is not None:
        err.print(f"{len(rows):,} variants in {to}", markup=False)


def _scored(
    model: Pretrained, wild: dict[str, Ids], rows: Sequence[Row], *, masks: int, bound: bool, seed: int
) -> Iterator[tuple[Row, VariantScore]]:
    """Rows in the order of the file with their scores; within a window, rows of one wild type are scored together."""
    for first in range(0, len(rows), WINDOW):
        window = rows[first : first + WINDOW]
        scores: dict[int, VariantScore] = {}
        for name in dict.fromkeys(row.name for row in window):
            indices = [index for index, row in enumerate(window) if row.name == name]
            mutations = [window[index].mutation.text for index in indices]
            sequence = model.alphabet.decode(wild[name])
            own = model.score_variants(sequence, mutations, masks=masks, bound=bound, seed=seed)
            scores |= dict(zip(indices, own, strict=True))
        yield from ((row, scores[index]) for index, row in enumerate(window))


def _cells(score: VariantScore) -> tuple[str, ...]:
    numbers = (score.log_odds, score.bound_difference, score.stderr)
    return (score.mutation, *("" if number is None else f"{number:.6g}" for number in numbers))
