"""The built-in vocabularies of `data.alphabet`: `protein`, `esm`, `dna`, `rna`, and `text` and `ids`, found in data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

from sedd.plugins.contracts import Vocabulary
from sedd.plugins.hookspecs import hookimpl

AMINO_ACIDS = "ACDEFGHIKLMNPQRSTVWY"
RARE_AMINO_ACIDS = {"U": "C", "O": "K"}
"""Selenocysteine and pyrrolysine, and the standard amino acids that are nearest to them."""


class Protein(Vocabulary):
    """The 20 standard amino acids."""

    alphabet: Literal["protein"] = "protein"

    def symbols(self) -> Sequence[str]:
        return tuple(AMINO_ACIDS)

    def substitutions(self) -> Mapping[str, str]:
        return RARE_AMINO_ACIDS


class Esm(Vocabulary):
    """The vocabulary of ESM-2 without its `<mask>`, which is the next id, 32."""

    alphabet: Literal["esm"] = "esm"

    def symbols(self) -> Sequence[str]:
        return "<cls>", "<pad>", "<eos>", "<unk>", *"LAGVSERTIDPKQNFYMHWCXBUZO.-", "<null_1>"

    def substitutions(self) -> Mapping[str, str]:
        return RARE_AMINO_ACIDS


class Dna(Vocabulary):
    """The four bases of DNA; U is read as T."""

    alphabet: Literal["dna"] = "dna"

    def symbols(self) -> Sequence[str]:
        return tuple("ACGT")

    def substitutions(self) -> Mapping[str, str]:
        return {"U": "T"}


class Rna(Vocabulary):
    """The four bases of RNA; T is read as U."""

    alphabet: Literal["rna"] = "rna"

    def symbols(self) -> Sequence[str]:
        return tuple("ACGU")

    def substitutions(self) -> Mapping[str, str]:
        return {"T": "U"}


class FoundInData(Vocabulary):
    """A vocabulary whose symbols are those that occur in the data."""

    def symbols(self) -> Sequence[str]:
        return ()


class Text(FoundInData):
    """The characters that occur in the data, which are cut into chunks."""

    alphabet: Literal["text"] = "text"


class Ids(FoundInData):
    """Token ids from 0 to the largest in the data, as numbers separated by spaces."""

    alphabet: Literal["ids"] = "ids"

    separator = " "


NAMES = frozenset(cls.part_name() for cls in (Protein, Esm, Dna, Rna, Text, Ids))


@hookimpl
def sedd_alphabets() -> list[type[Vocabulary]]:
    return [Protein, Esm, Dna, Rna, Text, Ids]
