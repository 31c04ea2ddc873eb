"""Point mutations of a wild type, one by one or from a CSV file; `sedd.evaluation.notation` reads their names."""

from __future__ import annotations

import csv
import difflib
import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import NamedTuple

import numpy as np

from sedd.data import Alphabet
from sedd.data.alphabet import PROTEIN, Ids
from sedd.data.prepare.reading import SequenceFile
from sedd.data.prepare.records import Record
from sedd.data.prepare.sources import regular_file
from sedd.errors import DataError
from sedd.evaluation.notation import Change, NotScoredError, changes, is_variant
from sedd.files import read_bounded

MOST_BYTES = 1 << 28
"""Of a file of mutations."""
MUTATION_COLUMNS = (
    "mutation", "mutations", "mutant", "variant", "hgvs_pro", "hgvsp", "hgvs_p", "hgvs", "protein_variant", "aa_change",
    "protein_change", "mut",
)  # fmt: skip
ID_COLUMNS = ("id", "sequence", "sequence_id", "name", "protein")


@dataclass(frozen=True, eq=False)
class Mutation:
    """One or several residues of a sequence that change together."""

    text: str
    """As it was written."""
    positions: tuple[int, ...]
    """From 0, ascending."""
    tokens: tuple[int, ...]
    """Ids of the new residues at `positions`."""

    def applied(self, wild: Ids) -> Ids:
        """The mutated sequence, (L,) token ids."""
        changed = np.array(wild, np.int64)
        changed[list(self.positions)] = self.tokens
        return changed


class Row(NamedTuple):
    """One row of a mutations file."""

    name: str
    """That of the wild type."""
    text: str
    """The mutation, as it was written."""
    mutation: Mutation | None
    """None if it is no substitution and has no score."""
    remark: str = ""
    """Why there is no score."""


def wild_type(sequence: str, alphabet: Alphabet, longest: int) -> Ids:
    """Token ids of a wild type, (L,); a DataError if empty, longer than `longest`, or not of the alphabet."""
    if alphabet.separator or alphabet.has_words:
        raise DataError(
            f"the model has the alphabet {alphabet.name!r}, whose symbols have no names of variants such as A42G; "
            "variants are scored in alphabets of single characters"
        )
    if not sequence:
        raise DataError("the wild type has no residues")
    if len(sequence) > longest:
        raise DataError(
            f"the wild type has {len(sequence):,} residues, and the model takes {longest:,} (model.length); cut out a "
            f"part of at most {longest:,} around the mutations, and count positions from its first residue"
        )
    for position, symbol in enumerate(sequence, 1):
        if symbol not in alphabet.symbols:
            raise DataError(f"residue {position} of the wild type is {symbol!r}, {_not_in(alphabet)}")
    return alphabet.encode(sequence)


def parse(text: str, wild: Ids, alphabet: Alphabet) -> Mutation:
    """Read a mutation of the wild type `wild`, such as A42G, p.Ala42Gly, A42G:L50P, or p.= for none.

    Raises:
        NotScoredError: if it is no substitution.
        DataError: if it cannot be read, a position is repeated or outside, or the wild-type residue differs.
    """
    points: dict[int, int] = {}
    for change in changes(text):
        position, token = _point(change, text, wild, alphabet)
        if position in points:
            raise DataError(f"{text}: position {position + 1} is given twice; give each position once")
        points[position] = token
    positions = tuple(sorted(points))
    return Mutation(text, positions, tuple(points[position] for position in positions))


def all_singles(name: str, wild: Ids, alphabet: Alphabet) -> Iterator[Row]:
    """Every change of one residue of a wild type to another of the 20 standard amino acids, or for nucleotides of the
    four bases, by position."""
    residues = alphabet.symbols if alphabet.is_nucleic else PROTEIN.symbols
    for position, token in enumerate(wild.tolist()):
        old = alphabet.symbols[token]
        for new in residues:
            if new != old:
                text = f"{old}{position + 1}{new}"
                yield Row(name, text, Mutation(text, (position,), (alphabet.symbols.index(new),)))


def _point(change: Change, mutation: str, wild: Ids, alphabet: Alphabet) -> tuple[int, int]:
    old, number, new = change
    for symbol in (old, new):
        if symbol not in alphabet.symbols:
            raise DataError(f"{mutation}: {symbol!r} is {_not_in(alphabet)}")
    if not 1 <= number <= len(wild):
        raise DataError(f"{mutation}: position {number} is outside the wild type, which has residues 1 to {len(wild)}")
    residue = alphabet.decode(wild[number - 1 : number])
    if residue != old:
        message = f"{mutation}: residue {number} of the wild type is {residue}, not {old}"
        raise DataError(f"{message}; are positions counted from 1, and is this the right sequence?")
    return number - 1, alphabet.symbols.index(new)


def _not_in(alphabet: Alphabet) -> str:
    return f"not in the model's alphabet {alphabet.name!r}: {''.join(s for s in alphabet.symbols if len(s) == 1)}"


def read_wild_types(path: Path, alphabet: Alphabet, longest: int) -> dict[str, Ids]:
    """The sequences of a file by their ids, (L,) token ids each.

    Lower case is read as upper case, and a stop (*) at the end is removed; both are logged. Nothing else is repaired,
    because positions would shift: a DataError with file and line if a sequence is invalid or an id is repeated.
    """
    wild_types: dict[str, Ids] = {}
    repaired: list[str] = []
    for record in _records(path):
        where = f"{path}:{record.line}"
        text = record.sequence if isinstance(record.sequence, str) else record.sequence.decode("latin-1")
        if text != text.removesuffix("*").upper():
            repaired.append(record.name)
        if record.name in wild_types:
            raise DataError(f"{where}: a second sequence {record.name!r}; ids must be unique")
        try:
            wild_types[record.name] = wild_type(text.removesuffix("*").upper(), alphabet, longest)
        except DataError as error:
            raise DataError(f"{where}: {record.name}: {error}") from None
    if repaired:
        logging.getLogger("sedd").info(
            "%s: lower case read as upper case, or a stop (*) at the end removed, in %d of %d sequences, first %s",
            path, len(repaired), len(wild_types), repaired[0],
        )  # fmt: skip
    return wild_types


def _records(path: Path) -> Iterator[Record]:
    with regular_file(path) as file:
        yield from SequenceFile.of(file).read()


def read_mutations(path: Path, wild: Mapping[str, Ids], alphabet: Alphabet) -> list[Row]:
    """The rows of a CSV (or tab-separated) file.

    With a header, mutations are in the column `mutation` (or another of `MUTATION_COLUMNS`) and ids of the wild types
    in `id`, which is optional with one wild type; cells are separated by tabs, semicolons or commas, as in the header.
    Without a header, each line is a mutation.

    Raises:
        DataError: if a row is invalid or repeated, or there is none; with file and line.
    """
    rows: list[Row] = []
    lines: dict[tuple[str, tuple[int, ...], tuple[int, ...]], int] = {}
    for line, text, name in _cells(path):
        where = f"{path}:{line}"
        name = _wild_type_name(where, name, wild)
        try:
            mutation = parse(text, wild[name], alphabet)
        except NotScoredError as error:
            rows.append(Row(name, text, None, str(error)))
            continue
        except DataError as error:
            raise DataError(f"{where}: {error}") from None
        key = (name, mutation.positions, mutation.tokens)
        if key in lines and mutation.positions:
            raise DataError(f"{where}: {text} of {name} repeats line {lines[key]}; remove one of them")
        lines[key] = line
        rows.append(Row(name, text, mutation))
    if not rows:
        raise DataError(f"{path}: no mutations; expected one such as A42G on each line")
    return rows


def _cells(path: Path) -> Iterator[tuple[int, str, str | None]]:
    """Line number, mutation and id of each row; the id is None without a column of ids."""
    try:
        text = read_bounded(path, most=MOST_BYTES).decode("utf-8-sig")
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror or error}") from error
    except UnicodeDecodeError:
        raise DataError(f"{path}: not UTF-8 text; expected a CSV file with mutations such as A42G") from None
    lines = [line if not line.startswith("#") else "" for line in text.splitlines()]
    first = next(filter(None, lines), "")
    titled = not is_variant(first)
    delimiter = "\t" if "\t" in first else ";" if ";" in first and titled else ","
    reader = csv.reader(lines, delimiter=delimiter)
    rows = ((reader.line_num, [cell.strip() for cell in cells]) for cells in reader)
    rows = ((line, cells) for line, cells in rows if any(cells))
    line, cells = next(rows, (0, []))
    if not cells:
        return
    header = _columns(f"{path}:{line}", cells)
    if header is None:
        # The only column: commas separate the changes of one mutation.
        for number, row in chain([(line, cells)], rows):
            yield number, ",".join(filter(None, row)), None
        return
    mutation, name = header
    for line, cells in rows:
        if len(cells) <= max(mutation, name or 0):
            raise DataError(f"{path}:{line}: the line has {len(cells)} columns, fewer than the header")
        yield line, cells[mutation], None if name is None else cells[name]


def _columns(where: str, cells: list[str]) -> tuple[int, int | None] | None:
    """The columns of mutations and ids if `cells` are a header; None if they are a row."""
    if is_variant(cells[0]):
        return None
    names = [cell.lower() for cell in cells]
    mutation, identifier = (
        next((names.index(name) for name in known if name in names), None) for known in (MUTATION_COLUMNS, ID_COLUMNS)
    )
    if mutation is None:
        expected = "a mutation such as A42G or a header with a column `mutation`"
        raise DataError(f"{where}: expected {expected}, got {', '.join(cells)!r}")
    return mutation, identifier


def _wild_type_name(where: str, name: str | None, wild: Mapping[str, Ids]) -> str:
    if name is None:
        if len(wild) > 1:
            raise DataError(f"{where}: there are {len(wild)} wild types; add a column `id` with that of each mutation")
        return next(iter(wild))
    if name not in wild:
        near = difflib.get_close_matches(name, wild, n=1)
        known = f"; did you mean {near[0]!r}?" if near else f"; its ids are {', '.join(list(wild)[:5])}"
        raise DataError(f"{where}: the FASTA has no sequence {name!r}{known}")
    return name
