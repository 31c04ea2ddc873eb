"""Counts of the records of a file: kept, repaired, dropped, noted; each kind with its first example."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, NamedTuple

from sedd.errors import DataError

REPAIRS = {
    "byte_order_mark": "byte order mark removed",
    "carriage_returns": "carriage returns read as line ends",
    "blank_lines": "blank lines inside a record skipped",
    "spaces": "white space inside a sequence removed",
    "comments": "comment lines (; or #) skipped",
    "nul_bytes": "NUL bytes between or after records removed",
    "glued_header": "header glued to the sequence before it split off",
    "lowercase": "lower case read as upper case",
    "stop": "stop (*) stripped from the end",
    "gaps": "gaps (- and .) removed",
    "substituted": "residues substituted (data.residues.substitute)",
    "chains": "cut at chain separators",
    "split": "split at ambiguous residues, or short fragments cut off",
}
DROPS = {
    "lowercase": "lower case letters",
    "stop": "stop (*) inside the sequence",
    "gaps": "gaps (- and .)",
    "annotation": "rows of an alignment that are no proteins (ss_*, sa_*, aa_*, *consensus*)",
    "chains": "chain separators between residues (data.residues.chains=split cuts there)",
    "ambiguous": "residues outside the alphabet",
    "illegal": "digits, punctuation or other characters that are no residues",
    "empty": "no residues",
    "short": "shorter than min_length",
}
NOTES = {
    "unnamed": "kept, but without an id",
    "nucleotides": "only nucleotides (A, C, G, T, U, N and ambiguity codes): DNA or RNA?",
    "proteins": "amino acids that are no nucleotides: proteins?",
    "cluster_alias": "found in the cluster file by the accession, or by the beginning of the id",
    "cluster_order": "lines of the cluster file read as MMseqs2 writes them, representative first",
    "cluster_cdhit": "members read from a cluster file of CD-HIT",
}
MOST_CHARACTERS = 20
"""Characters that are listed for one kind."""
GROUPS = ("repaired", "dropped", "noted")
"""The groups of kinds in a `Tally`."""


class Kind(NamedTuple):
    """How many records, the first of them as `file:line id`, and the characters that were the reason."""

    records: int
    first: str
    characters: str = ""


@dataclass
class Tally:
    """`read` = `kept` + the sum of `dropped`, always; `sequences` exceeds `kept` where records were split."""

    read: int = 0
    kept: int = 0
    sequences: int = 0
    residues: int = 0
    repaired: dict[str, Kind] = field(default_factory=dict)
    dropped: dict[str, Kind] = field(default_factory=dict)
    noted: dict[str, Kind] = field(default_factory=dict)

    @property
    def lost(self) -> int:
        """Records dropped, of all kinds."""
        return sum(kind.records for kind in self.dropped.values())

    def add(self, later: Tally) -> None:
        """Add the tally of records further on in the file."""
        self.read += later.read
        self.kept += later.kept
        self.sequences += later.sequences
        self.residues += later.residues
        for group in GROUPS:
            for name, kind in getattr(later, group).items():
                count(getattr(self, group), name, kind.first, number=kind.records, characters=kind.characters)

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Tally:
        """The inverse of `to_dict`. Raises DataError if the data are no tally."""
        try:
            groups = {group: {name: Kind(*kind) for name, kind in data[group].items()} for group in GROUPS}
            tally = cls(**{**data, **groups})
            counts = [tally.read, tally.kept, tally.sequences, tally.residues]
            counts += [kind.records for group in groups.values() for kind in group.values()]
            if not all(type(count) is int for count in counts):
                raise TypeError(f"numbers of records are {counts}")
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            reason = f"{type(error).__name__}: {error}"
            raise DataError(f"the counts of what was read are damaged ({reason}); make the store again") from None
        return tally

    def __str__(self) -> str:
        lines = [f"{self.read:,} read, {self.kept:,} kept, {self.lost:,} dropped; {self.residues:,} residues"]
        if self.sequences != self.kept:
            lines[0] += f" in {self.sequences:,} sequences"
        for title, words in zip(GROUPS, (REPAIRS, DROPS, NOTES), strict=True):
            group: dict[str, Kind] = getattr(self, title)
            for name, kind in sorted(group.items(), key=lambda item: -item[1].records):
                text = remark({name: words.get(name, name)}, [name], kind.characters)
                lines.append(f"  {title:8} {kind.records:>11,}  {text} (first: {kind.first})")
        return "\n".join(lines)


def remark(words: Mapping[str, str], kinds: Iterable[str], characters: str = "") -> str:
    """The kinds of repairs (or drops) of one record in words, with the characters that were the reason."""
    because = f": {', '.join(map(repr, characters))}" if characters else ""
    return "; ".join(words[kind] for kind in kinds) + because


def count(group: dict[str, Kind], name: str, first: str, *, number: int = 1, characters: str = "") -> None:
    """Add records of kind `name` to `group`; `first` is the first of them, `characters` were the reason."""
    before = group.get(name)
    if before is not None:
        number, first = before.records + number, before.first
        characters = "".join(sorted({*before.characters, *characters})[:MOST_CHARACTERS])
    group[name] = Kind(number, first, characters)
