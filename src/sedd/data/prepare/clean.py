"""The residue policy: from a record of the file to zero or more sequences over the alphabet.

Clean records, nearly all of them, return after one `bytes.translate`.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

from sedd.data.alphabet import Alphabet
from sedd.data.prepare.records import Record
from sedd.data.prepare.tally import Tally, count
from sedd.errors import DataError

if TYPE_CHECKING:
    from sedd.config.sections import Residues

_CAPITALS = bytes(range(ord("A"), ord("Z") + 1))
_GAPS = b"-."
NUCLEOTIDES = b"ACGTUN"
SURELY_NOT_PROTEIN = 30
"""A sequence at least this long, of nucleotides only, is noted as suspicious (and kept)."""


class _Dropped(Exception):  # noqa: N818  # control flow within this file, never an error that anyone sees
    def __init__(self, kind: str) -> None:
        self.kind = kind


class Cleaner:
    """Applies `policy` and `min_length` to records of `source`, and keeps the `tally`."""

    def __init__(
        self, alphabet: Alphabet, policy: Residues, *, min_length: int, source: str, tally: Tally | None = None
    ) -> None:
        self.alphabet = alphabet
        self.policy = policy
        self.min_length = min_length
        self.source = source
        self.tally = Tally() if tally is None else tally
        self._substitute = _table(alphabet, policy)
        self._split = re.compile(b"[^" + alphabet.letters + b"]+") if alphabet.letters else None

    def __call__(self, record: Record) -> list[bytes]:
        """The sequences of `record` after cleaning; an empty list if it is dropped.

        Raises:
            DataError: with file and line, if the policy is `error`.
        """
        tally, where = self.tally, None
        tally.read += 1
        assert isinstance(record.sequence, bytes)  # noqa: S101  # tells the type checker
        repairs: list[str] = []
        if record.repairs or not record.name:
            where = self._where(record)
            for kind in record.repairs:
                count(tally.repaired, kind, where)
        try:
            pieces = self._cleaned(record, repairs)
        except _Dropped as dropped:
            count(tally.dropped, dropped.kind, where or self._where(record))
            return []
        for kind in repairs:
            count(tally.repaired, kind, where or self._where(record))
        self._note(record, pieces)
        tally.kept += 1
        tally.sequences += len(pieces)
        tally.residues += sum(map(len, pieces))
        return pieces

    def _cleaned(self, record: Record, repairs: list[str]) -> list[bytes]:
        sequence = record.sequence
        assert isinstance(sequence, bytes)  # noqa: S101  # tells the type checker
        foreign = sequence.translate(None, self.alphabet.letters)
        pieces = [sequence]
        if foreign:
            sequence = self._letters(record, sequence, foreign, repairs)
            pieces = self._ambiguous(record, sequence, repairs)
        long = [piece for piece in pieces if len(piece) >= self.min_length]
        if not long:
            raise _Dropped("short" if any(pieces) else "empty")
        if len(long) < len(pieces) and "split" not in repairs:
            repairs.append("split")
        return long

    def _letters(self, record: Record, sequence: bytes, foreign: bytes, repairs: list[str]) -> bytes:
        """Case, stops, gaps and substitutions, in this order."""
        policy = self.policy
        if foreign != foreign.upper():
            self._decide(record, policy.lowercase, "lowercase", "lower case letters", "data.residues.lowercase=upper")
            sequence = sequence.upper()
            repairs.append("lowercase")
        if b"*" in foreign:
            self._decide(record, policy.stop, "stop", "a stop (*)", "data.residues.stop=strip")
            sequence = sequence.rstrip(b"*")
            if b"*" in sequence:
                raise _Dropped("stop")
            repairs.append("stop")
        if b"-" in foreign or b"." in foreign:
            self._decide(record, policy.gaps, "gaps", "gaps (- or .)", "data.residues.gaps=remove")
            sequence = sequence.translate(None, _GAPS)
            repairs.append("gaps")
        if self._substitute:
            table, letters = self._substitute
            if sequence.translate(None, letters) != sequence:
                sequence = sequence.translate(table)
                repairs.append("substituted")
        return sequence

    def _ambiguous(self, record: Record, sequence: bytes, repairs: list[str]) -> list[bytes]:
        foreign = sequence.translate(None, self.alphabet.letters)
        if not foreign:
            return [sequence]
        illegal = foreign.translate(None, _CAPITALS)
        shown = "".join(sorted(set((illegal or foreign).decode("latin-1"))))[:20]
        policy = self.policy.ambiguous
        remedy = "data.residues.ambiguous=drop" + ("" if illegal else " or split")
        # Digits and punctuation are no residues at all: what stands around them may not belong together, or may.
        self._decide(
            record, policy if policy == "error" or not illegal else "drop", "illegal" if illegal else "ambiguous",
            f"characters outside alphabet {self.alphabet.name!r}: {shown!r}", remedy,
        )  # fmt: skip
        assert self._split is not None  # noqa: S101  # tells the type checker
        repairs.append("split")
        return [piece for piece in self._split.split(sequence) if piece] or [b""]

    def _decide(self, record: Record, action: str, kind: str, what: str, remedy: str) -> None:
        if action == "error":
            raise DataError(
                f"{what}. Clean the file, or set {remedy}", file=Path(self.source), line=record.line, record=record.name
            )
        if action == "drop":
            raise _Dropped(kind)

    def _note(self, record: Record, pieces: list[bytes]) -> None:
        if not record.name:
            count(self.tally.noted, "unnamed", self._where(record))
        for piece in pieces:
            # Few proteins begin with five nucleotide letters, so that complete sequences are examined rarely.
            maybe = len(piece) >= SURELY_NOT_PROTEIN and not piece[:5].translate(None, NUCLEOTIDES)
            if maybe and not piece.translate(None, NUCLEOTIDES):
                count(self.tally.noted, "nucleotides", self._where(record))
                break

    def _where(self, record: Record) -> str:
        return f"{self.source}:{record.line} {record.name}".rstrip()


class TextCleaner:
    """Text has no policy, only `min_length`: the last chunk may be too short."""

    def __init__(self, *, min_length: int, source: str, tally: Tally | None = None) -> None:
        self.min_length = min_length
        self.source = source
        self.tally = Tally() if tally is None else tally

    def __call__(self, record: Record) -> list[str]:
        """The chunk in a list, or an empty list where it is too short."""
        assert isinstance(record.sequence, str)  # noqa: S101  # tells the type checker
        where = f"{self.source}:{record.line} {record.name}"
        self.tally.read += 1
        for kind in record.repairs:
            count(self.tally.repaired, kind, where)
        if len(record.sequence) < self.min_length:
            count(self.tally.dropped, "short", where)
            return []
        self.tally.kept += 1
        self.tally.sequences += 1
        self.tally.residues += len(record.sequence)
        return [record.sequence]


def _table(alphabet: Alphabet, policy: Residues) -> tuple[bytes, bytes] | None:
    """Substitutions of letters that are not in the alphabet themselves, as a translation table."""
    known = alphabet.letters.decode()
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
