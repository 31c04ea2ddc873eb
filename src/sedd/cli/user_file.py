"""What every command says of a user's file: what was dropped, repaired, cropped, and trained on before."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from numpy.typing import NDArray

from sedd.cli.console import err, out
from sedd.config.sections import Data
from sedd.data import Alphabet, Sequences, TokenStore, lengths_of, open_data, open_whole
from sedd.data.overlap import found_in
from sedd.data.prepare.progress import DataProgress
from sedd.data.prepare.source_records import SourceRecord, source_records
from sedd.data.prepare.sources import find
from sedd.data.prepare.tally import Tally
from sedd.errors import DataError
from sedd.pretrained import Pretrained

Column = Annotated[str | None, typer.Option(help="Of a table: the column that holds the sequences.")]


@dataclass(frozen=True)
class UserFile:
    """Sequences that a user named, as a model reads them."""

    name: str
    data: Data
    alphabet: Alphabet
    store: TokenStore
    longest: int | None
    """Residues to which longer sequences are cropped."""
    trained: NDArray[np.bool_] | None
    """(sequences,): which are in the training set; None if that is not known."""

    @staticmethod
    def of_model(model: Pretrained, name: str, column: str | None = None) -> UserFile:
        """Open a file with the data options of a run, and compare it with the run's training set if that is there.

        `column` is that of the sequences, in place of the run's. Raises DataError if the file cannot be read.
        """
        data = with_column(model.config.data, column)
        store = opened(data, name, model.alphabet)
        return UserFile(name, data, model.alphabet, store, model.config.model.length, trained_on(model, store))

    @property
    def tally(self) -> Tally:
        """How the records were read."""
        return Tally.from_dict(self.store.manifest["tally"])

    @property
    def cropped(self) -> int:
        """Sequences that are longer than the model takes."""
        return 0 if self.longest is None else int((self.store.lengths > self.longest).sum())

    def records(self) -> Iterator[SourceRecord] | None:
        """What became of each record; None for a store, which has no names."""
        path = Path(self.name).expanduser()
        return None if path.is_dir() and not is_plain(path) else source_records(find(path), self.data, self.alphabet)

    def remarks(self, index: int) -> Sequence[str]:
        """Remarks on one sequence: whether it is cropped, and whether it was trained on."""
        length = int(lengths_of(self.store, np.array([index]))[0])
        cropped = self.longest is not None and length > self.longest
        known = self.trained is not None and self.trained[index]
        return [
            *([f"cropped from {length:,} to {self.longest:,} residues"] if cropped else []),
            *(["in the training set"] if known else []),
        ]

    def to_dict(self) -> dict[str, Any]:
        """For JSON; `in_training` is None where the training set is not there."""
        in_training = None if self.trained is None else int(self.trained.sum())
        return {"file": self.name, **self.tally.to_dict(), "cropped": self.cropped, "in_training": in_training}

    def show(self, what: str) -> None:
        """Print what there is to say of the file; `what` names it."""
        tally = self.tally
        if tally.lost or tally.repaired or tally.noted or tally.sequences != tally.kept:
            out.print(f"\n{what}, {self.name}: {tally}", markup=False)
        if self.cropped:
            share = f"{self.cropped:,} of {len(self.store):,} sequences"
            out.print(f"{what}: {share} are longer than {self.longest:,} residues, and cropped.", markup=False)
        if self.trained is None:
            out.print(f"{what}: whether its sequences were trained on is unknown; the training set is not there.")
        elif self.trained.any():
            out.print(
                f"{what}: {int(self.trained.sum()):,} of {len(self.store):,} sequences are in the training set. What "
                "is measured on them says nothing about new sequences.",
                markup=False,
            )


def with_column(data: Data, column: str | None) -> Data:
    """The options with another column of sequences, if one is named."""
    return data if column is None else data.model_copy(update={"column": column})


def opened(data: Data, name: str, alphabet: Alphabet) -> TokenStore:
    """All sequences of a file, with the progress of its preparation."""
    with DataProgress(err) as progress:
        return open_whole(data, name, alphabet, progress=progress)


def is_plain(folder: Path) -> bool:
    """Whether a folder holds files of sequences, and is no store."""
    return not any((folder / name).exists() for name in ("manifest.json", "train/manifest.json"))


def trained_on(model: Pretrained, sequences: Sequences) -> NDArray[np.bool_] | None:
    """Which sequences the model was trained on, (sequences,); None if its training set is unknown, or not there any
    more."""
    if model.trained_on["train"] is None:
        return None
    try:
        with DataProgress(err) as progress:
            dataset = open_data(model.config.data, seed=model.config.seed, progress=progress)
    except DataError:
        return None
    if dataset.fingerprint["train"] != model.trained_on["train"]:
        return None
    return found_in(dataset.train, sequences)
