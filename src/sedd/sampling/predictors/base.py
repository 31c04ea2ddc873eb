"""What a predictor is."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import ClassVar

from torch import Tensor

from sedd.sampling.cached_score_model import CachedScoreModel
from sedd.sampling.sample_batch import SampleBatch

Report = Callable[[float], object]
"""Called with the progress of sampling."""


class Predictor(ABC):
    """A way to denoise a batch, from its start noise to none. Stateless; `score_model` holds process and options."""

    needs_mask: ClassVar[bool] = False
    """Whether it works only for graphs with a MASK state (`absorb`)."""
    parameters: ClassVar[tuple[str, ...]] = ()
    """Keys of the `sampling` section that are its own; they go into the headers of sample files."""

    @abstractmethod
    def denoise(
        self, batch: SampleBatch, score_model: CachedScoreModel, start_rates: Tensor, *, report: Report
    ) -> None:
        """Draw the residues that `batch.to_draw` marks, by calls of `batch.update`.

        Args:
            batch: sequences at their start noise; it may shrink as sequences are finished.
            score_model: log-scores at the tokens of the batch and any sigma.
            start_rates: (batch at the start,) float64 mask rates to start from; index it with `batch.indices`.
            report: called with the share that is done, in [0, 1].

        Raises:
            SamplingError: if the sequences cannot be finished.
        """
