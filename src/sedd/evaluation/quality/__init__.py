"""How good generated sequences are, beside held-out natural ones and shuffled ones."""

from __future__ import annotations

from sedd.evaluation.quality.judging import judge
from sedd.evaluation.quality.novelty import TrainingIndex
from sedd.evaluation.quality.quality import Quality, Row

__all__ = ["Quality", "Row", "TrainingIndex", "judge"]
