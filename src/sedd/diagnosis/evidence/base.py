"""What evidence is, and the facts of a run that it is drawn from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from sedd.config.config import Config
from sedd.diagnosis.bayes import Measured
from sedd.diagnosis.levels import Levels
from sedd.diagnosis.predictors import Predictor
from sedd.runs.history import History
from sedd.runs.metrics import TrainRecord


@dataclass(frozen=True)
class Evidence:
    """How much the log of a run speaks for one symptom, against its absence."""

    log_bayes_factor: float
    """Log of the probability of the log with the symptom over that without it."""
    effect: Measured
    """Size of the symptom, in the unit that the function which measures it states."""
    since: tuple[int, int] | None = None
    """95 % interval of the optimizer step from which it is there; None where it has no beginning."""
    numbers: Mapping[str, float] = field(default_factory=dict)
    """Further numbers for sentences, by name."""


@dataclass(frozen=True, eq=False)
class RunFacts:
    """Everything about a run that its metrics file and its configuration show."""

    config: Config
    history: History
    predictors: Mapping[str, Predictor]
    """`untrained` and `unigram`, where they are known."""
    levels: Levels
    """The loss at equal mask rates, of the train records."""

    @property
    def lines(self) -> list[TrainRecord]:
        """The train records."""
        return self.history.lines

    @property
    def step(self) -> int:
        """The last optimizer step in the file."""
        records = (self.history.lines, self.history.bounds, self.history.skipped)
        return max((part[-1].step for part in records if part), default=0)

    @property
    def planned(self) -> int:
        """Optimizer steps that the run is to take."""
        return self.config.training.n_iters

    @property
    def epochs(self) -> float | None:
        """How often each training sequence was seen on average; None where the training set is unknown."""
        data = self.history.data
        if data is None or not self.lines:
            return None
        return self.lines[-1].residues / max(data.sequences * data.mean_length, 1.0)

    def epochs_at(self, step: int) -> float | None:
        """`epochs` at an optimizer step, in proportion."""
        total = self.epochs
        return None if total is None else total * step / max(self.lines[-1].step, 1)
