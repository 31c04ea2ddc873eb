"""The kinds of a verdict in a few words, the same in the terminal, in reports and in pictures."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from sedd.diagnosis.verdict import Kind

LABELS: Mapping[Kind, str] = MappingProxyType(
    {
        "healthy": "healthy",
        "curriculum": "healthy, the task gets harder",
        "plateau": "plateau",
        "inconclusive": "inconclusive",
        "learning": "the model diverges",
        "instability": "unstable",
        "data": "the training data changed",
        "overfitting": "overfitting",
        "leak": "the training loss sees its targets",
        "averages": "the averaged weights do not follow",
        "held_out": "held-out data of another kind",
        "config": "the configuration does not fit",
        "unit": "another unit",
    }
)
"""A label for each kind."""
