"""Counts of the records of a file: kept, repaired, dropped, noted; each kind with its first example."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

REPAIRS = {
    "byte_order_mark": "byte order mark removed",
    "carriage_returns": "carriage returns read as line ends",
    "blank_lines": "blank lines inside a record skipped",
    "spaces": "white space inside a sequence removed",
    "comments": "comment lines (;) skipped",
    "glued_header": "header glued to the sequence before it split off",
    "lowercase": "lower case read as upper case",
    "stop": "stop (*) stripped from the end",
    "gaps": "gaps (- and .) removed",
    "substituted": "rare amino acids substituted",
    "split": "split at ambiguous letters, or short pieces cut off",
}
DROPS = {
    "lowercase": "lower case letters",
    "stop": "stop (*) inside the sequence",
    "gaps": "gaps (- and .)",
    "ambiguous": "letters outside the alphabet",
    "illegal": "digits, punctuation or other characters that are no residues",
    "empty": "no residues",
    "short": "shorter than min_length",
}
NOTES = {"unnamed": "kept, but without an id", "nucleotides": "kept, but only A, C, G, T, U and N: nucleotides?"}


@dataclass
class Kind:
    """How many records, and the first of them as `file:line id`."""

    count: int
    first: str


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
        return sum(kind.count for kind in self.dropped.values())

    def add(self, later: Tally) -> None:
        """Add the tally of records further on in the file."""
        self.read += later.read
        self.kept += later.kept
        self.sequences += later.sequences
        self.residues += later.residues
        for group in ("repaired", "dropped", "noted"):
            mine = getattr(self, group)
            for name, kind in getattr(later, group).items():
                before = mine.get(name)
                mine[name] = kind if before is None else Kind(before.count + kind.count, before.first)

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        kinds = {
            group: {name: [kind.count, kind.first] for name, kind in getattr(self, group).items()}
            for group in ("repaired", "dropped", "noted")
        }
        return {"read": self.read, "kept": self.kept, "sequences": self.sequences, "residues": self.residues, **kinds}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Tally:
        """The inverse of `to_dict`."""
        repaired, dropped, noted = (
            {name: Kind(int(number), str(first)) for name, (number, first) in data[group].items()}
            for group in ("repaired", "dropped", "noted")
        )
        read, kept, sequences, residues = (int(data[name]) for name in ("read", "kept", "sequences", "residues"))
        return cls(read, kept, sequences, residues, repaired, dropped, noted)

    def __str__(self) -> str:
        lines = [f"{self.read:,} read, {self.kept:,} kept, {self.lost:,} dropped; {self.residues:,} residues"]
        if self.sequences != self.kept:
            lines[0] += f" in {self.sequences:,} sequences"
        for title, group, words in (
            ("repaired", self.repaired, REPAIRS),
            ("dropped", self.dropped, DROPS),
            ("noted", self.noted, NOTES),
        ):
            for name, kind in sorted(group.items(), key=lambda item: -item[1].count):
                lines.append(f"  {title:8} {kind.count:>11,}  {words.get(name, name)} (first: {kind.first})")
        return "\n".join(lines)


def count(group: dict[str, Kind], name: str, where: str) -> None:
    """Add one record of kind `name` to `group`."""
    if name in group:
        group[name].count += 1
    else:
        group[name] = Kind(1, where)
