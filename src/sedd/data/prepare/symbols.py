"""The residue policy for symbols of several characters: with a separator between them, or one after the other."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

from sedd.data.alphabet import Alphabet
from sedd.data.prepare.clean import Cleaner
from sedd.data.prepare.records import Record
from sedd.data.prepare.tally import MOST_CHARACTERS


def cleaner_for(alphabet: Alphabet) -> type[Cleaner]:
    """The class that applies the residue policy to sequences of an alphabet."""
    if alphabet.separator:
        return SeparatedCleaner
    return LongestCleaner if alphabet.has_words else Cleaner


class _WordCleaner(Cleaner):
    """What both kinds share: what happens to residues outside the alphabet."""

    def _outside(self, record: Record, words: Sequence[str], repairs: list[str]) -> None:
        """Divide the sequence at these words, drop it, or stop with an error, as `ambiguous` of the policy says."""
        what = f"symbols outside alphabet {self.alphabet.name!r}: {', '.join(map(repr, words[:5]))}"
        remedy = "data.residues.ambiguous=drop or split"
        self._decide(record, self.policy.ambiguous, "ambiguous", what, remedy, _shown(words))
        if "split" not in repairs:
            repairs.append("split")


class LongestCleaner(_WordCleaner):
    """Of symbols one after the other: what begins no symbol is a residue outside the alphabet."""

    _last: tuple[bytes, int] = b"", 0
    """The last fragment whose symbols were counted, and their number: nearly all records have one fragment."""

    def _of_residues(self, record: Record, repairs: list[str]) -> list[bytes]:
        fragments = super()._of_residues(record, repairs)
        if all(map(self._is_read, fragments)):
            return fragments
        whole = b" ".join(fragments).decode("latin-1")
        outside = self.alphabet.pattern.sub("", whole).replace(" ", "")
        self._outside(record, sorted(set(outside)), repairs)
        return [piece for fragment in fragments for piece in self._divided(fragment)] or [b""]

    def _length(self, fragment: bytes) -> int:
        if fragment != self._last[0]:
            self._last = fragment, self.alphabet.length(fragment.decode("latin-1"))
        return self._last[1]

    def _is_read(self, fragment: bytes) -> bool:
        """Whether it has symbols alone."""
        symbols = self.alphabet.pattern.findall(fragment.decode("latin-1"))
        self._last = fragment, len(symbols)
        return sum(map(len, symbols)) == len(fragment)

    def _divided(self, fragment: bytes) -> list[bytes]:
        """The stretches of symbols that follow each other."""
        pieces, end = list[str](), -1
        for match in self.alphabet.pattern.finditer(fragment.decode("latin-1")):
            if match.start() == end:
                pieces[-1] += match.group()
            else:
                pieces.append(match.group())
            end = match.end()
        return [piece.encode("latin-1") for piece in pieces]


class SeparatedCleaner(_WordCleaner):
    """Of symbols with a separator: there are no repairs, and a word outside the alphabet is a residue outside it."""

    def _of_residues(self, record: Record, repairs: list[str]) -> list[bytes]:
        words = self._words(record.sequence)
        known = set(self.alphabet.symbols)
        outside = sorted({word for word in words if word not in known})
        if outside:
            self._outside(record, outside, repairs)
        stretches = groupby(words, key=known.__contains__)
        return [self._joined(list(stretch)) for inside, stretch in stretches if inside] or [b""]

    def _length(self, fragment: bytes) -> int:
        return len(self._words(fragment))

    def _words(self, sequence: bytes | str) -> list[str]:
        text = sequence if isinstance(sequence, str) else sequence.decode("utf-8", "replace")
        return self.alphabet.words(text)

    def _joined(self, words: Sequence[str]) -> bytes:
        return self.alphabet.separator.join(words).encode()


def _shown(words: Sequence[str]) -> str:
    """Distinct words or characters in a few characters, for a tally."""
    return "".join(sorted(set("".join(words))))[:MOST_CHARACTERS]
