"""Which symbols a sequence is made of, and their ids: the real symbols first, then one id for MASK."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sedd.data.longest_match import longest_match
from sedd.errors import DataError
from sedd.plugins.contracts import Vocabulary
from sedd.plugins.symbols import MOST_SYMBOLS, is_special
from sedd.plugins.vocabularies import AMINO_ACIDS, Dna, Esm, Protein, Rna

MAX_SYMBOLS = MOST_SYMBOLS
Ids = NDArray[Any]
"""Ids of symbols: uint8, or uint16 for large alphabets."""


@dataclass(frozen=True)
class Alphabet:
    """Real symbols with ids 0..n-1; `mask_id` = n is the absorbing state and never part of data.

    Examples:
        >>> PROTEIN.encode("ACD")
        array([0, 1, 2], dtype=uint8)
        >>> PROTEIN.decode([0, 1, PROTEIN.mask_id])
        'AC_'
        >>> ids_alphabet(300).decode([299, 7, 300])
        '299 7 _'
    """

    name: str
    symbols: tuple[str, ...]
    separator: str = ""
    """Between the symbols of a sequence in text. Where it is not empty, it or white space separates symbols that are
    read. Where it is empty, the longest symbol that fits is read; a file has no names such as `<cls>` then."""

    def __post_init__(self) -> None:
        if len(set(self.symbols)) != len(self.symbols) or "" in self.symbols:
            raise DataError(f"alphabet {self.name!r}: symbols must be distinct and not empty, got {self.symbols!r}")
        if not 2 <= self.n <= MAX_SYMBOLS:
            raise DataError(f"alphabet {self.name!r} has {self.n} symbol(s); expected 2 to {MAX_SYMBOLS}")

    @property
    def n(self) -> int:
        """Number of real symbols."""
        return len(self.symbols)

    @property
    def mask_id(self) -> int:
        """Id of the absorbing state."""
        return self.n

    @cached_property
    def dtype(self) -> np.dtype[Any]:
        """The smallest of uint8 and uint16 that holds every id, MASK included."""
        return np.dtype(np.uint8 if self.n <= 255 else np.uint16)

    @cached_property
    def mask_symbol(self) -> str:
        """How `decode` shows MASK: `_`, or where that is a real symbol the first free one of `▒`, `�`."""
        return next((symbol for symbol in "_▒�" if symbol not in self.symbols), "<mask>")

    @cached_property
    def letters(self) -> bytes:
        """The capital letters A-Z among the symbols."""
        return "".join(s for s in self.symbols if len(s) == 1 and "A" <= s <= "Z").encode()

    @cached_property
    def residues(self) -> bytes:
        """The characters that the residue policy takes for residues: those of all symbols that a file can have. Gaps
        and stops are no residues of proteins, although ESM has ids for them."""
        if self.is_protein:
            return self.letters
        return bytes(sorted({*"".join(s for s in self.symbols if s.isascii() and not is_special(s)).encode()}))

    @property
    def is_text(self) -> bool:
        """Whether sequences are text, with line ends among their symbols."""
        return self.name == "text"

    @property
    def is_protein(self) -> bool:
        """Whether it is that of proteins or of ESM."""
        return self.name in (PROTEIN.name, ESM.name)

    @cached_property
    def has_amino_acids(self) -> bool:
        """Whether the 20 standard amino acids are among the symbols, which are not those of a text."""
        return set(AMINO_ACIDS) <= set(self.symbols) and self.name != "text"

    @property
    def is_nucleic(self) -> bool:
        """Whether it is that of DNA or RNA."""
        return self.name in (DNA.name, RNA.name)

    @property
    def any_characters(self) -> bool:
        """Whether sequences may have characters beside capital letters: those of a list or of a plugin."""
        return self.name not in BUILT_IN

    @cached_property
    def has_words(self) -> bool:
        """Whether symbols of several characters follow each other in text without a separator."""
        return not self.separator and any(len(symbol) > 1 and not is_special(symbol) for symbol in self.symbols)

    def length(self, text: str) -> int:
        """The number of symbols in a sequence; characters outside the alphabet do not count."""
        if self.separator:
            return len(self.words(text))
        return len(self.pattern.findall(text)) if self.has_words else len(text)

    def words(self, text: str) -> list[str]:
        """What stands between separators and white space."""
        separator = self.separator.strip()
        return (text.replace(separator, " ") if separator else text).split()

    @cached_property
    def pattern(self) -> re.Pattern[str]:
        """Matches the longest symbol that fits."""
        return longest_match(self.symbols)

    def encode(self, text: str | bytes) -> Ids:
        """Ids of a sequence; a symbol outside the alphabet is a `DataError` that names it and its position."""
        return np.frombuffer(self.encode_bytes(text), dtype=self.dtype)

    def encode_bytes(self, text: str | bytes) -> bytes:
        """`encode`, as the bytes that a token store holds."""
        if self.separator:
            return self._encode_words(self.words(text.decode("utf-8", "replace") if isinstance(text, bytes) else text))
        if self.has_words:
            return self._encode_longest(text.decode("utf-8", "replace") if isinstance(text, bytes) else text)
        if self._table is None:
            return self._encode_wide(text.decode() if isinstance(text, bytes) else text)
        raw = text if isinstance(text, bytes) else text.encode("ascii", "replace")
        if isinstance(text, str) and not text.isascii():
            position = next(i for i, letter in enumerate(text) if not letter.isascii())
            raise self._unknown(text[position], position)
        ids = raw.translate(self._table)
        # The table sends unknown letters to mask_id, which no real symbol has; one memchr finds them.
        if (position := ids.find(self.mask_id)) >= 0:
            raise self._unknown(chr(raw[position]), position)
        return ids

    def decode(self, ids: Iterable[int] | NDArray[Any]) -> str:
        """The symbols of `ids` in one string, MASK as `mask_symbol`."""
        shown = (*self.symbols, self.mask_symbol)
        numbers = ids.tolist() if isinstance(ids, np.ndarray) else [int(i) for i in ids]
        for position, number in enumerate(numbers):
            if not 0 <= number <= self.mask_id:
                raise DataError(f"id {number} at position {position} is not in alphabet {self.name!r} (0..{self.n})")
        return self.separator.join([shown[number] for number in numbers])

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        separator = {"separator": self.separator} if self.separator else {}
        return {"name": self.name, "symbols": list(self.symbols)} | separator

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Alphabet:
        """The inverse of `to_dict`."""
        from sedd.data.tokenizer import TokenizedAlphabet  # it derives from this class

        try:
            if "tokenizer" in data:
                return TokenizedAlphabet("ids", tuple(map(str, data["symbols"])), "", str(data["tokenizer"]))
            return cls(str(data["name"]), tuple(map(str, data["symbols"])), str(data.get("separator", "")))
        except (KeyError, TypeError) as error:
            raise DataError(f"not the description of an alphabet: {data!r}") from error

    @cached_property
    def _table(self) -> bytes | None:
        if self.n > 255 or not all(symbol.isascii() for symbol in self.symbols):
            return None
        table = bytearray([self.mask_id]) * 256
        for number, symbol in enumerate(self.symbols):
            if len(symbol) == 1:
                table[ord(symbol)] = number
        return bytes(table)

    @cached_property
    def _codes(self) -> tuple[NDArray[np.uint32], NDArray[Any]]:
        single = [(ord(symbol), number) for number, symbol in enumerate(self.symbols) if len(symbol) == 1]
        codes, numbers = zip(*sorted(single), strict=True)
        return np.array(codes, dtype=np.uint32), np.array(numbers, dtype=self.dtype)

    def _encode_wide(self, text: str) -> bytes:
        codes, numbers = self._codes
        given = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), dtype="<u4")
        at = np.minimum(np.searchsorted(codes, given), len(codes) - 1)
        unknown = np.flatnonzero(codes[at] != given)
        if unknown.size:
            raise self._unknown(text[int(unknown[0])], int(unknown[0]))
        return bytes(numbers[at].tobytes())

    @cached_property
    def _numbers(self) -> dict[str, int]:
        return {symbol: number for number, symbol in enumerate(self.symbols)}

    def _encode_words(self, words: Sequence[str]) -> bytes:
        numbers = [self._numbers.get(word, self.mask_id) for word in words]
        if self.mask_id in numbers:
            position = numbers.index(self.mask_id)
            raise self._unknown(words[position], position)
        return np.array(numbers, self.dtype).tobytes()

    def _encode_longest(self, text: str) -> bytes:
        symbols = self.pattern.findall(text)
        if sum(map(len, symbols)) != len(text):
            end = 0  # of the symbols before the first place where none begins
            for match in self.pattern.finditer(text):
                if match.start() != end:
                    break
                end = match.end()
            raise self._unknown(text[end], end)
        return np.fromiter(map(self._numbers.__getitem__, symbols), self.dtype, len(symbols)).tobytes()

    def _unknown(self, letter: str, position: int) -> DataError:
        if self.separator:
            known = f"{self.symbols[0]} to {self.symbols[-1]}, separated by white space"
            return DataError(f"{letter[:40]!r} at position {position} is not in alphabet {self.name!r} ({known})")
        if self.has_words:
            known = ", ".join(self.symbols[:20]) + (", ..." if self.n > 20 else "")
            return DataError(
                f"no symbol of alphabet {self.name!r} begins with {letter!r} at position {position}; they are {known}"
            )
        known = "".join(s for s in self.symbols if len(s) == 1)
        shown = known if len(known) <= 80 else f"{known[:77]}..."
        return DataError(f"{letter!r} at position {position} is not in alphabet {self.name!r} ({shown!r})")


def alphabet_of(vocabulary: Vocabulary) -> Alphabet:
    """The alphabet of a vocabulary whose symbols do not depend on the data."""
    return Alphabet(vocabulary.part_name(), tuple(vocabulary.symbols()), vocabulary.separator)


PROTEIN = alphabet_of(Protein())
"""The 20 standard amino acids."""

ESM = alphabet_of(Esm())
"""The vocabulary of ESM-2. Its `<mask>` is id 32 = `mask_id`, so that ESM's ids are unchanged."""

DNA = alphabet_of(Dna())
"""A, C, G and T."""

RNA = alphabet_of(Rna())
"""A, C, G and U."""

BUILT_IN = {alphabet.name: alphabet for alphabet in (PROTEIN, ESM, DNA, RNA)}
"""Alphabets that depend neither on plugins nor on data, by name."""


def text_alphabet(symbols: Iterable[str]) -> Alphabet:
    """The alphabet of a text: its characters, sorted by code point."""
    return Alphabet("text", tuple(sorted(set(symbols))))


def ids_alphabet(n: int) -> Alphabet:
    """The alphabet of a vocabulary whose symbols are not known: the numbers 0 to `n` - 1, separated by spaces."""
    return Alphabet("ids", tuple(map(str, range(n))), " ")
