"""Sequences: from files, or drawn with a known entropy, to batches.

`open_data` turns the `data` section of a run file into a `Dataset`; `Batches` and `load` turn that into tensors.
"""

from __future__ import annotations

from sedd.data.alphabet import DNA, ESM, PROTEIN, RNA, Alphabet, ids_alphabet, text_alphabet
from sedd.data.batch import Batch, crop, load
from sedd.data.dataset import Dataset, open_data, open_whole
from sedd.data.order import STRATA, Batches, Cursor, GlobalBatch, Sequences, length_counts, lengths_of
from sedd.data.permutation import Permutation
from sedd.data.store import TokenStore
from sedd.data.synthetic import SyntheticSource

__all__ = [
    "DNA", "ESM", "PROTEIN", "RNA", "STRATA", "Alphabet", "Batch", "Batches", "Cursor", "Dataset", "GlobalBatch",
    "Permutation", "Sequences", "SyntheticSource", "TokenStore", "crop", "ids_alphabet", "length_counts", "lengths_of",
    "load", "open_data", "open_whole", "text_alphabet",
]  # fmt: skip
