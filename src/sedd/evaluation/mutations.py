"""Point mutations as people write them: A42G, A42G:L50P; in a CSV file, or one by one."""

from __future__ import annotations

import csv
import difflib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import numpy as np

from sedd.data import Alphabet
from sedd.data.alphabet import Ids
from sedd.data.prepare.bytestream import ByteStream
from sedd.data.prepare.readers import read_fasta
from sedd.errors import DataError

POINT = re.compile(r"(\D)(\d+)(\D)")
MUTATION_COLUMNS = ("mutation", "mutations", "mutant", "variant")
ID_COLUMNS = ("id", "sequence", "sequence_id", "name", "protein")


@dataclass(frozen=True, eq=False)
class Mutation:
    """One or several residues of a sequence that change together."""

    text: str
    """As it was written."""
    positions: tuple[int, ...]
    """From 0, ascending."""
    letters: tuple[int, ...]
    """Ids of what comes to stand there."""

    def applied(self, wild: Ids) -> Ids:
        """The mutated sequence."""
        changed = np.array(wild, np.int64)
        changed[list(self.positions)] = self.letters
        return changed


@dataclass(frozen=True, eq=False)
class WildType:
    """A sequence that mutations are relative to."""

    name: str
    tokens: Ids


@dataclass(frozen=True, eq=False)
class Row:
    """One row of a mutations file."""

    name: str
    """Which wild type."""
    mutation: Mutation


def wild_type(sequence: str, alphabet: Alphabet, longest: int) -> Ids:
    """Ids of a wild type.

    Raises:
        DataError: if it is empty, longer than `longest`, or has a letter outside the alphabet.
    """
    if not sequence:
        raise DataError("the wild type has no residues")
    if len(sequence) > longest:
        raise DataError(
            f"the wild type has {len(sequence):,} residues, and the model takes {longest:,} (model.length); cut out a "
            f"part of at most {longest:,} around the mutations, and count positions from its first residue"
        )
    for position, letter in enumerate(sequence, 1):
        if letter not in alphabet.symbols:
            raise DataError(f"residue {position} of the wild type is {letter!r}, {_not_a_letter(alphabet)}")
    return alphabet.encode(sequence)


def parse(text: str, wild: Ids, alphabet: Alphabet) -> Mutation:
    """Read a mutation such as A42G, or several joined with `:` or `,`, of the wild type `wild`.

    Raises:
        DataError: if it cannot be read, names a position twice or outside, or another letter than stands there.
    """
    points: dict[int, int] = {}
    for point in re.split(r"[:,]", text):
        position, letter = _point(point.strip(), text, wild, alphabet)
        if position in points:
            raise DataError(f"{text}: names position {position + 1} twice; give one letter for each position")
        points[position] = letter
    positions = tuple(sorted(points))
    return Mutation(text, positions, tuple(points[position] for position in positions))


def _point(point: str, whole: str, wild: Ids, alphabet: Alphabet) -> tuple[int, int]:
    found = POINT.fullmatch(point)
    if found is None:
        raise DataError(
            f"{whole!r}: expected a mutation such as A42G (letter, position from 1, letter), or several as A42G:L50P"
        )
    old, number, new = found[1], int(found[2]), found[3]
    for letter in (old, new):
        if letter not in alphabet.symbols:
            raise DataError(f"{whole}: {letter!r} is {_not_a_letter(alphabet)}")
    if not 1 <= number <= len(wild):
        raise DataError(f"{whole}: position {number} is outside the wild type, which has residues 1 to {len(wild)}")
    here = alphabet.decode(wild[number - 1 : number])
    if here != old:
        raise DataError(
            f"{whole}: residue {number} of the wild type is {here}, not {old}; are positions counted from 1, and is "
            "this the right sequence?"
        )
    return number - 1, alphabet.symbols.index(new)


def _not_a_letter(alphabet: Alphabet) -> str:
    return f"no letter of the model's alphabet {alphabet.name!r}: {''.join(s for s in alphabet.symbols if len(s) == 1)}"


def read_wild_types(path: Path, alphabet: Alphabet, longest: int) -> dict[str, WildType]:
    """The sequences of a FASTA file by their ids. Lower case is read as upper case, a stop (*) at the end left out.

    Nothing else is repaired, because positions would shift.

    Raises:
        DataError: with file and line.
    """
    found: dict[str, WildType] = {}
    for record in read_fasta(ByteStream(path)):
        where = f"{path}:{record.line}"
        text = record.sequence if isinstance(record.sequence, str) else record.sequence.decode("latin-1")
        if record.name in found:
            raise DataError(f"{where}: a second sequence {record.name!r}; give each an id of its own")
        try:
            tokens = wild_type(text.removesuffix("*").upper(), alphabet, longest)
        except DataError as error:
            raise DataError(f"{where}: {record.name}: {error}") from None
        found[record.name] = WildType(record.name, tokens)
    return found


def read_mutations(path: Path, wild: Mapping[str, WildType], alphabet: Alphabet) -> list[Row]:
    """The rows of a CSV (or tab-separated) file.

    With a header, the mutations are in the column `mutation` and the ids of their sequences in `id`, which may be left
    out where there is one sequence. Without a header, each line is a mutation.

    Raises:
        DataError: with file and line.
    """
    rows: list[Row] = []
    seen: dict[tuple[str, tuple[int, ...], tuple[int, ...]], int] = {}
    for line, text, name in _cells(path):
        where = f"{path}:{line}"
        sequence = _sequence(where, name, wild)
        try:
            mutation = parse(text, sequence.tokens, alphabet)
        except DataError as error:
            raise DataError(f"{where}: {error}") from None
        key = (sequence.name, mutation.positions, mutation.letters)
        if key in seen:
            raise DataError(f"{where}: {text} of {sequence.name} is on line {seen[key]} already; remove one of them")
        seen[key] = line
        rows.append(Row(sequence.name, mutation))
    if not rows:
        raise DataError(f"{path}: there are no mutations in it; expected one such as A42G on each line")
    return rows


def _cells(path: Path) -> Iterator[tuple[int, str, str | None]]:
    """Line, mutation and id of each row."""
    try:
        text = path.read_text("utf-8-sig")
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror or error}") from error
    except UnicodeDecodeError:
        raise DataError(
            f"{path}: not UTF-8 text; expected a CSV file with a mutation such as A42G on each line"
        ) from None
    first = next(iter(text.splitlines()), "")
    reader = csv.reader(text.splitlines(), delimiter="\t" if "\t" in first else ",")
    rows = ((reader.line_num, [cell.strip() for cell in cells]) for cells in reader)
    rows = ((line, cells) for line, cells in rows if any(cells))
    line, cells = next(rows, (0, []))
    if not cells:
        return
    header = _columns(f"{path}:{line}", cells)
    if header is None:
        # One column: commas are those of the mutations.
        for number, row in chain([(line, cells)], rows):
            yield number, ",".join(filter(None, row)), None
        return
    mutation, name = header
    for line, cells in rows:
        if len(cells) <= max(mutation, name or 0):
            raise DataError(f"{path}:{line}: the line has {len(cells)} columns, fewer than the header")
        yield line, cells[mutation], None if name is None else cells[name]


def _columns(where: str, cells: list[str]) -> tuple[int, int | None] | None:
    """Where mutations and ids stand, if this is a header; None if it is a row."""
    if POINT.fullmatch(re.split(r"[:,]", cells[0])[0].strip()):
        return None
    names = [cell.lower() for cell in cells]
    places = [
        next((names.index(name) for name in known if name in names), None) for known in (MUTATION_COLUMNS, ID_COLUMNS)
    ]
    if places[0] is None:
        raise DataError(
            f"{where}: neither a mutation such as A42G nor a header with a column `mutation`, but {', '.join(cells)!r}"
        )
    return places[0], places[1]


def _sequence(where: str, name: str | None, wild: Mapping[str, WildType]) -> WildType:
    if name is None:
        if len(wild) > 1:
            raise DataError(
                f"{where}: there are {len(wild)} wild types; add a column `id` that says which one each mutation is of"
            )
        return next(iter(wild.values()))
    if name not in wild:
        near = difflib.get_close_matches(name, wild, n=1)
        known = f"; did you mean {near[0]!r}?" if near else f"; it has {', '.join(list(wild)[:5])}"
        raise DataError(f"{where}: the FASTA has no sequence {name!r}{known}")
    return wild[name]
