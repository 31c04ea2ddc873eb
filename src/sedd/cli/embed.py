"""`sedd embed`: hidden states of a trained model for the sequences of a file."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import typer

from sedd.cli.app import RunPath, Weights, Which, app
from sedd.cli.console import out, working
from sedd.cli.user_file import Column, UserFile
from sedd.data import lengths_of
from sedd.errors import DataError
from sedd.evaluation.embedding import hidden_states
from sedd.evaluation.embedding_files import check_format, write_embeddings
from sedd.pretrained import load


@app.command()
def embed(
    run: RunPath,
    data: Annotated[str, typer.Argument(metavar="DATA", help="FASTA, text, table or store of the sequences.")],
    to: Annotated[Path, typer.Argument(metavar="OUT", help="File to write: .npz, or .parquet with pyarrow.")],
    layer: Annotated[
        int, typer.Option(help="0: embedding of the tokens; k: after layer k; -1: what the head reads.")
    ] = -1,
    pool: Annotated[
        Literal["mean", "none"], typer.Option(help="Mean over the residues, or a vector for each residue.")
    ] = "mean",
    column: Column = None,
    weights: Weights = "ema",
    which: Which = "best",
    device: Annotated[str, typer.Option(help="Device backend.")] = "auto",
) -> None:
    """Write hidden states of the network for each sequence of a file."""
    check_format(to)
    model = load(run, which=which, weights=weights, device=device)
    hidden_states(model.network)
    file = UserFile.of_model(model, data, column)
    count, longest = len(file.store), model.config.model.length
    lengths = np.minimum(lengths_of(file.store, np.arange(count)), longest).astype(np.int64)
    embedder = model.embedder(layer=layer, pool="mean" if pool == "mean" else None)
    with working(f"embedding {count:,} sequences", count) as show:

        def sequences() -> Iterator[np.ndarray]:
            for index in range(count):
                yield file.store[index][:longest]
                show(index)

        write_embeddings(to, embedder(sequences()), lengths, lambda: _names(file))
    kind = "a vector each" if pool == "mean" else f"{int(lengths.sum()):,} vectors, one per residue"
    out.print(f"{to}: {count:,} sequences, {kind}, of layer {layer}", markup=False)
    if file.cropped:
        out.print(f"Of a longer sequence the first {longest:,} residues are embedded.")
    file.show("Data")
    _say_repeated(file)


def _names(file: UserFile) -> Iterator[str]:
    """The name of each sequence; without records, its number, from 1. Raises DataError if the file has changed."""
    count, records = len(file.store), file.records()
    names: Iterable[str]
    if records is None:
        names = (str(number) for number in range(1, count + 1))
    else:
        names = (name for record in records for name in record.names())
    given = 0
    for name in names:
        given += 1
        yield name
    if given != count:
        raise DataError("the file changed while it was read; start again", file=Path(file.name))


def _say_repeated(file: UserFile) -> None:
    """Say if names are not unique."""
    hashes = np.fromiter((hash(name) for name in _names(file)), np.int64, len(file.store))
    if repeated := len(hashes) - len(np.unique(hashes)):
        out.print(
            f"{repeated:,} of {len(hashes):,} sequences have the name of an earlier one; rows are in the order of the "
            "file, so tell them by their number."
        )
