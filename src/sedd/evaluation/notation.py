"""Names of protein variants: `A42G`, several as `A42G:L50P`, HGVS (`p.Ala42Gly`, `p.[Ala42Gly;Leu50Pro]`), wild type.

HGVS: https://hgvs-nomenclature.org, recommendations for protein variants.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from sedd.errors import DataError

THREE_LETTERS = {
    "Ala": "A", "Arg": "R", "Asn": "N", "Asp": "D", "Cys": "C", "Gln": "Q", "Glu": "E", "Gly": "G", "His": "H",
    "Ile": "I", "Leu": "L", "Lys": "K", "Met": "M", "Phe": "F", "Pro": "P", "Ser": "S", "Thr": "T", "Trp": "W",
    "Tyr": "Y", "Val": "V", "Sec": "U", "Pyl": "O", "Asx": "B", "Glx": "Z", "Xaa": "X", "Ter": "*",
}  # fmt: skip
WILD_TYPE = {"_wt", "wt", "_sy", "wildtype", "wild type", "wild-type", "wild_type", "p.=", "p.(=)", "=", "(=)"}
"""Names of a variant without changes, in lower case; `_sy` is a synonymous change of the gene."""
_RESIDUE = "|".join(THREE_LETTERS) + r"|\D"
_CHANGE = re.compile(rf"({_RESIDUE})(\d+)({'|'.join(THREE_LETTERS)}|=|\D)")
_NO_SUBSTITUTIONS = (
    ("a frameshift", re.compile(r".*fs", re.IGNORECASE)),
    ("a deletion", re.compile(r".*\ddel", re.IGNORECASE)),
    ("an insertion", re.compile(r".*\dins", re.IGNORECASE)),
    ("a duplication", re.compile(r".*\ddup", re.IGNORECASE)),
    ("an extension", re.compile(r".*\dext", re.IGNORECASE)),
    ("no protein", re.compile(r"(p\.)?\(?0\)?\??$")),
    ("an unknown effect", re.compile(r"(p\.)?\(?\?\)?$")),
)
_SHAPE = re.compile(rf"({_RESIDUE})?\d+|p\.")


class Change(NamedTuple):
    """One residue that is replaced by another."""

    old: str
    position: int
    """From 1."""
    new: str


class NotScoredError(Exception):
    """A variant that is no substitution, so that a model of sequences of one length has no score for it."""


def changes(text: str) -> list[Change]:
    """The changes that a name stands for; none for the wild type.

    Raises:
        NotScoredError: if it stands for a stop, an insertion, a deletion or another change that is no substitution.
        DataError: if it is no name of a variant.
    """
    stripped = text.strip()
    if stripped.lower() in WILD_TYPE:
        return []
    # An accession may precede: NP_000509.1:p.Glu7Val.
    plain = re.sub(r"^.*:(?=p\.)", "", stripped)
    for what, pattern in _NO_SUBSTITUTIONS:
        if _SHAPE.match(plain) and pattern.match(plain):
            raise NotScoredError(f"{what}, no substitution")
    points = re.split(r"[:,;]", re.sub(r"^p\.", "", plain).strip("[]() "))
    return [_change(point.strip("() ").removeprefix("p.").strip("() "), text) for point in points]


def _change(point: str, text: str) -> Change:
    parts = _CHANGE.fullmatch(point)
    if parts is None:
        raise DataError(
            f"{text!r}: expected residue, position from 1, residue: A42G, p.Ala42Gly, several as A42G:L50P, or a wild "
            "type (_wt, p.=)"
        )
    old, new = (THREE_LETTERS.get(residue, residue) for residue in (parts[1], parts[3]))
    if new == "*":
        raise NotScoredError("a stop, no substitution")
    return Change(old, int(parts[2]), old if new == "=" else new)


def is_variant(text: str) -> bool:
    """Whether a text is the name of a variant."""
    try:
        changes(text)
    except NotScoredError:
        return True
    except DataError:
        return False
    return True
