"""Recognizing DNA and RNA, which nothing else tells from proteins: all of their symbols are amino acids too."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sedd.data.prepare.tally import Tally
from sedd.errors import DataError, SeddWarning

NUCLEOTIDES = b"ACGTUN"
CODES = NUCLEOTIDES + b"RYSWKMBDHV"
"""Nucleotides and the ambiguity codes of IUPAC."""
SURELY = 20
"""A sequence at least this long, of nothing but these, is no protein: of natural proteins fewer than one in 5,000
begins with 20 residues without E, F, I, L, P and Q, and hardly any of them is rich in nucleotide symbols."""
LEAST_SHARE = 0.8
"""Share of `NUCLEOTIDES` among the symbols; the others are ambiguity codes."""
NEARLY_ALL, MOST = 0.9, 0.5
"""Shares of a file's records from which it is refused, and warned of."""
REMEDY = (
    "train on them as such with data.alphabet=dna (or rna), translate them first (`seqkit translate`, EMBOSS "
    "`transeq`), or give the FASTA of the proteins. If these are proteins, set data.residues.nucleotides=keep"
)
AMINO_ACIDS_ALONE = b"EFILPQ"
"""Amino acids whose symbols stand for no nucleotide, not even an ambiguous one."""
LEAST_ALONE = 0.1
"""Least share of these in a protein that counts as one; about a third of the residues of natural proteins are."""
_CAPITALS = bytes(range(ord("A"), ord("Z") + 1))
_IS_CODE = np.isin(np.arange(256), np.frombuffer(CODES, np.uint8))


def is_nucleotides(sequence: bytes) -> bool:
    """Whether a sequence, as the file has it, is DNA or RNA; gaps, stops and case do not matter."""
    if len(sequence) < SURELY or sequence[:SURELY].upper().translate(None, CODES + b"-.*"):
        return False  # nearly every protein ends here
    symbols = sequence.upper().translate(None, b"-.*")
    if len(symbols) < SURELY or symbols.translate(None, CODES):
        return False
    bases = len(symbols) - len(symbols.translate(None, NUCLEOTIDES))
    known = len(symbols) - len(symbols.translate(None, b"ACGTU"))
    return bases >= LEAST_SHARE * len(symbols) and 2 * known >= len(symbols)


def may_be_nucleotides(
    symbols: NDArray[np.uint8], starts: NDArray[np.int64], lengths: NDArray[np.int64]
) -> NDArray[np.bool_]:
    """Which sequences begin like nucleotides: so few proteins that these can be examined one by one.

    Args:
        symbols: (symbols,), sequences of capital symbols, one after the other.
        starts: (sequences,), where each begins.
        lengths: (sequences,), residues of each.

    Returns:
        (sequences,), False where `is_nucleotides` is False for certain.
    """
    candidates = lengths >= SURELY
    for offset in range(SURELY):
        candidates[candidates] = _IS_CODE[symbols[starts[candidates] + offset]]
    return candidates


def is_protein(sequence: bytes) -> bool:
    """Whether a sequence, as the file has it, is a protein and cannot be DNA or RNA; gaps, stops and case do not
    matter."""
    symbols = sequence.upper().translate(None, b"-.*")
    if len(symbols) < SURELY or symbols.translate(None, _CAPITALS):
        return False
    alone = len(symbols) - len(symbols.translate(None, AMINO_ACIDS_ALONE))
    return alone >= LEAST_ALONE * len(symbols)


def refuse_proteins(tally: Tally, source: Path, alphabet: str) -> None:
    """Raise DataError if nearly all records of a source are proteins, and warn if most are."""
    found = tally.noted.get("proteins")
    if found is None or found.records <= MOST * tally.read:
        return
    what = f"{found.records:,} of {tally.read:,} sequences are proteins, first {found.first}"
    remedy = f"data.alphabet={alphabet} is for nucleotides; for proteins set data.alphabet=protein"
    if found.records >= NEARLY_ALL * tally.read:
        raise DataError(f"{what}; {remedy}", file=source)
    warnings.warn(f"{source}: {what}, and dropped; {remedy}", SeddWarning, stacklevel=2)


def refuse_nucleotides(tally: Tally, source: Path) -> None:
    """Raise DataError if nearly all records of a source are DNA or RNA, and warn if most are."""
    found = tally.noted.get("nucleotides")
    if found is None or found.records <= MOST * tally.read:
        return
    what = f"{found.records:,} of {tally.read:,} sequences are nucleotides (DNA or RNA), first {found.first}"
    if found.records >= NEARLY_ALL * tally.read:
        raise DataError(f"{what}; this is a model of proteins: {REMEDY}", file=source)
    warnings.warn(
        f"{source}: {what}; a model of proteins learns nothing from them: {REMEDY}", SeddWarning, stacklevel=2
    )
