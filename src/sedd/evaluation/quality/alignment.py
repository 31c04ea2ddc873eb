"""Identity with the nearest training sequence by alignment; needs the extra `align` (Biopython)."""

from __future__ import annotations

from importlib import import_module
from typing import Any

import numpy as np

from sedd.data import PROTEIN
from sedd.errors import SeddError, install_extra
from sedd.evaluation.quality.novelty import Neighbours, TrainingIndex
from sedd.evaluation.quality.packed import PackedSequences
from sedd.evaluation.quality.statistic import Ratio

MOST = 100
"""Sequences of each set that are aligned; an alignment takes milliseconds."""


def identity(sequences: PackedSequences, neighbours: Neighbours, index: TrainingIndex) -> Ratio:
    """Identical residues in the best local alignment with the neighbour, as a share of the sequences' residues.

    BLOSUM62, a gap of n residues costs 11 + n. Over the first 100 sequences. A SeddError if Biopython is missing.
    """
    aligner = blast_like()
    same = np.zeros(len(sequences))
    count = min(MOST, len(sequences))
    for number in range(count):
        mine, theirs = _residues(sequences, number), _residues(index.sequences, int(neighbours.which[number]))
        if aligner.score(mine, theirs) > 0:  # else there is no local alignment
            same[number] = aligner.align(mine, theirs)[0].counts().identities
    below = np.where(np.arange(len(sequences)) < count, sequences.lengths, 0).astype(np.float64)
    return Ratio(same, below)


def _residues(sequences: PackedSequences, number: int) -> str:
    """One sequence in the symbols of the matrix; X for all other symbols, such as `<cls>`."""
    symbols = sequences.alphabet.symbols
    return "".join(symbols[i] if symbols[i] in PROTEIN.symbols else "X" for i in sequences.row(number).tolist())


def blast_like() -> Any:
    """An aligner with the scores of BLAST; a SeddError if Biopython is missing."""
    try:
        align = import_module("Bio.Align")
    except ModuleNotFoundError as missing:
        raise SeddError(f"aligning needs Biopython ({missing}): {install_extra('align')}") from None
    aligner = align.PairwiseAligner(mode="local")
    aligner.substitution_matrix = align.substitution_matrices.load("BLOSUM62")
    aligner.open_gap_score, aligner.extend_gap_score = -12, -1
    return aligner
