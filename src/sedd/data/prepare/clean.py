"""The residue policy: from a record of the file to zero or more sequences over the alphabet.

Clean records, nearly all of them, return after one `bytes.translate`.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from sedd.data.alphabet import Alphabet
from sedd.data.prepare.nucleotides import is_nucleotides, is_protein
from sedd.data.prepare.records import Record
from sedd.data.prepare.tally import DROPS, MOST_CHARACTERS, REPAIRS, Tally, count, remark
from sedd.errors import DataError

if TYPE_CHECKING:
    from sedd.config.sections import Residues

_CAPITALS = bytes(range(ord("A"), ord("Z") + 1))
_LETTERS = _CAPITALS + _CAPITALS.lower()
_GAPS = b"-."
_NO_GAPS = bytes(set(range(256)) - set(_GAPS))
CHAIN_SEPARATORS = b"/:|"
"""What other programs write between the chains of a complex."""
_ALWAYS_ANNOTATION = re.compile(r"(ss|sa|aa)_(pred|dssp|conf)$")
_ANNOTATION = re.compile(r"(ss|sa|aa)_|.*onsensus")
"""Names of the rows of an alignment that are no proteins: secondary structure, accessibility, consensus."""


class _Dropped(Exception):  # noqa: N818  # control flow within this file, never an error that anyone sees
    def __init__(self, kind: str, characters: str = "") -> None:
        self.kind, self.characters = kind, characters


class Outcome(NamedTuple):
    """What became of a record."""

    sequences: list[bytes]
    """Empty if it was dropped."""
    remark: str
    """Why it was dropped, or what was repaired; empty if it was kept as it is."""


class Cleaner:
    """Applies `policy` and `min_length` to records of `source`, and keeps the `tally`. In an `alignment`, rows of
    annotation are dropped."""

    def __init__(
        self, alphabet: Alphabet, policy: Residues, *, min_length: int, source: str, alignment: bool = False
    ) -> None:
        self.alphabet = alphabet
        self.policy = policy
        self.min_length = min_length
        self.source = source
        self.tally = Tally()
        self._annotation = _ANNOTATION if alignment else _ALWAYS_ANNOTATION
        self._substitute = _table(alphabet, policy)
        residues = alphabet.residues
        self._gaps, separators = (bytes(set(characters) - set(residues)) for characters in (_GAPS, CHAIN_SEPARATORS))
        self._no_separators = bytes(set(range(256)) - set(separators))
        self._at_separators = re.compile(b"[" + re.escape(separators) + b"]+") if separators else None
        self._split = re.compile(b"[^" + re.escape(residues) + b"]+") if residues else None
        self._has_case = residues != residues.upper()

    def __call__(self, record: Record) -> list[bytes]:
        """The sequences of `record` after cleaning; an empty list if it is dropped. Raises DataError with file and
        line, if the policy is `error`."""
        return self.outcome(record).sequences

    def outcome(self, record: Record) -> Outcome:
        """`__call__`, with what was done to the record."""
        tally = self.tally
        tally.read += 1
        repairs: list[str] = []
        for kind in record.repairs:
            count(tally.repaired, kind, record.location(self.source))
        try:
            if self._annotation.match(record.name):
                raise _Dropped("annotation")
            self._note(record)
            fragments = self._cleaned(record, repairs)
        except _Dropped as dropped:
            count(tally.dropped, dropped.kind, record.location(self.source), characters=dropped.characters)
            return Outcome([], remark(DROPS, [dropped.kind], dropped.characters))
        for kind in repairs:
            count(tally.repaired, kind, record.location(self.source))
        tally.kept += 1
        tally.sequences += len(fragments)
        tally.residues += sum(map(self._length, fragments))
        return Outcome(fragments, remark(REPAIRS, repairs))

    def _cleaned(self, record: Record, repairs: list[str]) -> list[bytes]:
        fragments = self._of_residues(record, repairs)
        long = [fragment for fragment in fragments if self._length(fragment) >= self.min_length]
        if not long:
            raise _Dropped("short" if any(fragments) else "empty")
        if len(long) < len(fragments) and "split" not in repairs:
            repairs.append("split")
        return long

    def _of_residues(self, record: Record, repairs: list[str]) -> list[bytes]:
        """The record, repaired and divided into fragments that have symbols of the alphabet alone."""
        sequence = record.sequence
        assert isinstance(sequence, bytes)  # noqa: S101  # tells the type checker
        foreign = sequence.translate(None, self.alphabet.residues)
        if not foreign:
            return [sequence]
        chains = self._chains(record, sequence, foreign, repairs)
        return [fragment for chain in chains for fragment in self._fragments(record, chain, repairs)]

    def _length(self, fragment: bytes) -> int:
        """Number of its symbols."""
        return len(fragment)

    def _chains(self, record: Record, sequence: bytes, foreign: bytes, repairs: list[str]) -> list[bytes]:
        """The chains of a complex; a sequence without separators is one chain."""
        separators = foreign.translate(None, self._no_separators)
        if (
            self._at_separators is None
            or not separators
            or foreign.upper().translate(None, _CAPITALS + _GAPS + b"*" + CHAIN_SEPARATORS)
        ):
            return [sequence]  # other characters that are no residues are judged in `_ambiguous`
        what = f"chain separators ({_shown(separators)})"
        self._decide(record, self.policy.chains, "chains", what, "data.residues.chains=split", _shown(separators))
        repairs.append("chains")
        return [chain for chain in self._at_separators.split(sequence) if chain] or [b""]

    def _fragments(self, record: Record, chain: bytes, repairs: list[str]) -> list[bytes]:
        own: list[str] = []
        foreign = chain.translate(None, self.alphabet.residues)
        if not foreign:
            return [chain]
        fragments = self._ambiguous(record, self._repaired(record, chain, foreign, own), own)
        repairs += [kind for kind in own if kind not in repairs]
        return fragments

    def _repaired(self, record: Record, sequence: bytes, foreign: bytes, repairs: list[str]) -> bytes:
        """Case, stops, gaps and substitutions, in this order."""
        policy = self.policy
        if foreign != foreign.upper() and not self._has_case:
            self._decide(record, policy.lowercase, "lowercase", "lower case residues", "data.residues.lowercase=upper")
            sequence = sequence.upper()
            repairs.append("lowercase")
        if b"*" in foreign:
            self._decide(record, policy.stop, "stop", "a stop (*)", "data.residues.stop=strip")
            sequence = sequence.rstrip(b"*")
            if b"*" in sequence:
                raise _Dropped("stop")
            repairs.append("stop")
        if foreign.translate(None, _NO_GAPS):
            self._decide(record, policy.gaps, "gaps", "gaps (- or .)", "data.residues.gaps=remove")
            sequence = sequence.translate(None, self._gaps)
            repairs.append("gaps")
        if self._substitute:
            table, substituted = self._substitute
            if sequence.translate(None, substituted) != sequence:
                sequence = sequence.translate(table)
                repairs.append("substituted")
        return sequence

    def _ambiguous(self, record: Record, sequence: bytes, repairs: list[str]) -> list[bytes]:
        foreign = sequence.translate(None, self.alphabet.residues)
        if not foreign:
            return [sequence]
        illegal = foreign.translate(None, _LETTERS if self._has_case else _CAPITALS)
        shown = _shown(illegal or foreign)
        policy = self.policy.ambiguous
        remedy = "data.residues.ambiguous=drop" + ("" if illegal else " or split")
        # Digits and punctuation are no residues at all: the residues on both sides may not belong together.
        self._decide(
            record, policy if policy == "error" or not illegal else "drop", "illegal" if illegal else "ambiguous",
            f"characters outside alphabet {self.alphabet.name!r}: {shown!r}", remedy, shown,
        )  # fmt: skip
        assert self._split is not None  # noqa: S101  # tells the type checker
        repairs.append("split")
        return [fragment for fragment in self._split.split(sequence) if fragment] or [b""]

    def _decide(self, record: Record, action: str, kind: str, what: str, remedy: str, characters: str = "") -> None:
        if action == "error":
            raise DataError(
                f"{what}. Clean the file, or set {remedy}", file=Path(self.source), line=record.line, record=record.name
            )
        if action == "drop":
            raise _Dropped(kind, characters)

    def _note(self, record: Record) -> None:
        assert isinstance(record.sequence, bytes)  # noqa: S101  # tells the type checker
        if not record.name:
            count(self.tally.noted, "unnamed", record.location(self.source))
        if self.alphabet.has_amino_acids and is_nucleotides(record.sequence):
            count(self.tally.noted, "nucleotides", record.location(self.source))
        if self.alphabet.is_nucleic and is_protein(record.sequence):
            count(self.tally.noted, "proteins", record.location(self.source))


class TextCleaner:
    """Text and token ids have no policy, only `min_length`: the last chunk of a text may be too short.

    Args:
        min_length: in symbols.
        source: name of the file, for the tally.
        length_of: the number of symbols in a text; by default each character is one.
    """

    def __init__(self, *, min_length: int, source: str, length_of: Callable[[str], int] = len) -> None:
        self.min_length = min_length
        self.length_of = length_of
        self.source = source
        self.tally = Tally()

    def __call__(self, record: Record) -> list[str]:
        """The chunk in a list, or an empty list where it is too short."""
        assert isinstance(record.sequence, str)  # noqa: S101  # tells the type checker
        self.tally.read += 1
        for kind in record.repairs:
            count(self.tally.repaired, kind, record.location(self.source))
        length = self.length_of(record.sequence)
        if length < self.min_length:
            count(self.tally.dropped, "short", record.location(self.source))
            return []
        self.tally.kept += 1
        self.tally.sequences += 1
        self.tally.residues += length
        return [record.sequence]


def _shown(characters: bytes) -> str:
    """Distinct characters, as many as a tally lists."""
    return "".join(sorted(set(characters.decode("latin-1"))))[:MOST_CHARACTERS]


def _table(alphabet: Alphabet, policy: Residues) -> tuple[bytes, bytes] | None:
    """Substitutions of letters that are not in the alphabet themselves, as a translation table."""
    known = alphabet.residues.decode()
    pairs = {old: new for old, new in policy.substitute.items() if old not in known}
    for old, new in policy.substitute.items():
        if len(old) != 1 or not "A" <= old <= "Z" or len(new) != 1 or new not in known:
            raise DataError(
                f"data.residues.substitute: {old!r}: {new!r} is no substitution; "
                f"expected a capital letter and one of {known}"
            )
    if not pairs:
        return None
    return bytes.maketrans("".join(pairs).encode(), "".join(pairs.values()).encode()), "".join(pairs).encode()
