"""Templates: sequences in which some residues are fixed and others are to be drawn, such as `MK__AC?`."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from sedd.data import Alphabet
from sedd.data.prepare.bytestream import ByteStream
from sedd.data.prepare.sources import is_pipe, regular_file
from sedd.errors import DataError, SamplingError
from sedd.randomness import generator
from sedd.sampling.sample_batch import Ids

MOST_BYTES = 1 << 28
"""Of a file of templates."""
MARKS = ("_", "?", ".")
"""Symbols for a residue to draw, besides `<mask>` and the alphabet's own mask symbol. Those that are symbols of the
alphabet (`.` in `esm`, `?` in a text) are read as such."""


@dataclass(frozen=True)
class BlankTemplates:
    """Templates without fixed residues, of `lengths` (samples,); `mark` is the id at residues to draw, `graph.n`."""

    lengths: np.ndarray
    mark: int

    def __len__(self) -> int:
        return len(self.lengths)

    def __getitem__(self, index: int) -> Ids:
        return np.full(int(self.lengths[index]), self.mark, np.int64)


@dataclass(frozen=True)
class RepeatedTemplates:
    """Each template `num_samples` times, one after the other."""

    templates: Sequence[Ids]
    num_samples: int

    def __len__(self) -> int:
        return self.num_samples * len(self.templates)

    def __getitem__(self, index: int) -> Ids:
        return self.templates[index // self.num_samples]


@dataclass(frozen=True)
class RandomRedesigns(RepeatedTemplates):
    """Each sequence `num_samples` times, with a random `share` of its residues marked by the id `mark`.

    Which residues is a function of (seed, index). Their number is rounded down, and at least one.
    """

    share: float
    mark: int
    seed: int

    def __getitem__(self, index: int) -> Ids:
        template = super().__getitem__(index).copy()
        count = max(1, int(self.share * len(template) + 1e-9))
        template[generator(self.seed, "redesign", index).choice(len(template), count, replace=False)] = self.mark
        return template


def parse_template(text: str, alphabet: Alphabet, name: str) -> Ids:
    """Ids of a template, (length,) int64; `alphabet.n` marks the residues to draw.

    A SamplingError if it is empty or nothing is to be drawn, a DataError if a symbol is unknown and no mark.
    """
    ids = _ids(text, alphabet, name)
    if not (ids == alphabet.mask_id).any():
        marks = " or ".join(_marks(alphabet))
        raise SamplingError(
            f"{name}: nothing is to be drawn; put {marks} where a residue is to be drawn, or name the symbol that "
            "marks them: --mark X",
            about=name,
        )
    return ids


def parse_sequence(text: str, alphabet: Alphabet, name: str) -> Ids:
    """Ids of a sequence, (length,) int64; a SamplingError if empty or with a mark, a DataError as for templates."""
    ids = _ids(text, alphabet, name)
    marks = np.flatnonzero(ids == alphabet.mask_id)
    if len(marks):
        raise SamplingError(
            f"{name}: residue {marks[0] + 1} is a mark, but redesign chooses the residues to draw. Give sequences "
            "without marks, or use them as templates without a share",
            about=name,
        )
    return ids


def _ids(text: str, alphabet: Alphabet, name: str) -> Ids:
    if not text.strip() if alphabet.separator else not text:
        raise SamplingError(f"{name}: it is empty; expected residues and marks such as MK__AC", about=name)
    if alphabet.separator:
        return _ids_of_words(text, alphabet, name)
    if alphabet.has_words:
        return _ids_of_longest(text, alphabet, name)
    pieces = re.split("(" + "|".join(map(re.escape, _marks(alphabet))) + ")", text)
    symbols = "".join(pieces[::2])
    if symbols.upper() != symbols and alphabet.letters and not any(symbol.islower() for symbol in alphabet.symbols):
        symbols = symbols.upper()
    if len(pieces) == 1:
        return _encoded(symbols, alphabet, name, text).astype(np.int64)
    fixed = np.concatenate([np.append(np.full(len(piece), True), False) for piece in pieces[::2]])[:-1]
    ids = np.full(len(fixed), alphabet.mask_id, np.int64)
    ids[fixed] = _encoded(symbols, alphabet, name, text)
    return ids


def _ids_of_words(text: str, alphabet: Alphabet, name: str) -> Ids:
    """Ids of a template whose symbols and marks are separated by white space, such as `12 _ _ 407`."""
    words = np.array(alphabet.words(text))
    fixed = ~np.isin(words, _marks(alphabet))
    ids = np.full(len(words), alphabet.mask_id, np.int64)
    try:
        ids[fixed] = alphabet.encode(alphabet.separator.join(words[fixed]))
    except DataError as error:
        raise DataError(f"{name}: {error}; marks for what is to be drawn are {' '.join(_marks(alphabet))}") from None
    return ids


def _ids_of_longest(text: str, alphabet: Alphabet, name: str) -> Ids:
    """Ids of a template in which symbols of several characters follow each other, such as `AAA_AAC` of codons."""
    pieces = re.split("(" + "|".join(map(re.escape, _marks(alphabet))) + ")", text)
    ids = list[int]()
    for number, piece in enumerate(pieces):
        try:
            ids += [alphabet.mask_id] if number % 2 else alphabet.encode(piece).tolist()
        except DataError as error:
            marks = " ".join(_marks(alphabet))
            raise DataError(f"{name}: in {piece[:40]!r}, {error}; marks for what is to be drawn are {marks}") from None
    return np.array(ids, np.int64)


def _encoded(symbols: str, alphabet: Alphabet, name: str, text: str) -> Ids:
    try:
        return alphabet.encode(symbols)
    except DataError:
        known = {symbol for symbol in alphabet.symbols if len(symbol) == 1}
        wrong = next(symbol for symbol in symbols if symbol not in known)
        position = text.upper().find(wrong) if wrong not in text else text.find(wrong)
        raise DataError(
            f"{name}: {wrong!r} at position {position + 1} is not in the model's alphabet {alphabet.name!r}, and "
            f"not a mark for a residue to draw ({' '.join(_marks(alphabet))}). If it is one, say so: --mark {wrong}"
        ) from None


def _marks(alphabet: Alphabet) -> list[str]:
    marks = () if alphabet.is_text and alphabet.has_words else MARKS  # a tokenizer has all characters
    return [mark for mark in dict.fromkeys((*marks, alphabet.mask_symbol, "<mask>")) if mark not in alphabet.symbols]


def read_templates(path: Path, alphabet: Alphabet, *, mark: str | None = None) -> list[tuple[str, str]]:
    """Names and texts of the templates in a file or a pipe: FASTA, or one per line for models of text, of
    ids and of symbols of several characters.

    `mark`, a symbol in either case, is replaced by the alphabet's mask symbol: it marks residues to draw. A DataError
    if the file does not exist, cannot be read, or is empty, or `mark` is not a single symbol.
    """
    if mark is not None and len(mark) != 1:
        raise DataError(f"{mark!r} is no mark; expected one symbol, such as X")
    if not path.exists() and not is_pipe(path):
        raise DataError(f"{path}: no such file; expected templates, as FASTA or (models of text) one per line")
    with regular_file(path) as file:
        content = ByteStream(file).content(most=MOST_BYTES)
    try:
        per_line = bool(alphabet.separator) or alphabet.has_words
        if alphabet.is_text or (per_line and not content.lstrip().startswith(b">")):
            lines = enumerate(content.decode("utf-8-sig").splitlines(), 1)
            templates = [(f"line-{number}", line) for number, line in lines if line]
        else:
            lines_of_fasta = content.decode("utf-8-sig", "backslashreplace").splitlines()
            templates = list(_records(path, lines_of_fasta, alphabet.separator and " "))
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: cannot be read: {error}") from error
    if not templates:
        raise DataError(f"{path}: it is empty; expected at least one template")
    if mark is None:
        return templates
    drawn = str.maketrans(dict.fromkeys({mark, mark.upper(), mark.lower()}, alphabet.mask_symbol))
    return [(name, text.translate(drawn)) for name, text in templates]


def _records(path: Path, lines: Sequence[str], separator: str) -> Iterator[tuple[str, str]]:
    """The templates in lines of FASTA. The reader of training data would take the `>` of `<mask>` for a header."""
    name, pieces = "", list[str]()
    for number, line in enumerate(map(str.strip, lines), 1):
        if line.startswith(">"):
            if name:
                yield name, separator.join(pieces)
            name, pieces = (line[1:].split() or [f"line-{number}"])[0], []
        elif not name and line.startswith(("#", ";")):
            continue
        elif line and not name:
            raise DataError(f"{path}:{number}: expected a FASTA header that starts with '>', got {line[:40]!r}")
        else:
            pieces.append(line)
    if name:
        yield name, separator.join(pieces)
