"""What a key of the configuration affects; written beside its field, as in `Annotated[int, Effect.NONE]`."""

from __future__ import annotations

from enum import Enum


class Effect(Enum):
    """What another value changes. A field without one has the effect of its section, and a section `TRAINING`."""

    TRAINING = "the trained weights"
    ROUNDING = "the trained weights, by rounding alone: device, compilation, number of processes"
    EVALUATION = "what is measured, not what is trained"
    LOCATION = "where the data lie; `Dataset.fingerprint` checks that they are the same data"
    MONITORING = "the trained weights only where a divergence made the run go back"
    NONE = "neither training nor evaluation"

    @property
    def may_change_on_resume(self) -> bool:
        """Whether a run may be resumed with another value."""
        return self not in (Effect.TRAINING, Effect.EVALUATION)

    def neutral(self, *, same_data: bool, rolled_back: bool) -> bool:
        """Whether two runs with different values were trained alike.

        Args:
            same_data: whether both were trained on the same sequences.
            rolled_back: whether one of them went back to an earlier checkpoint.
        """
        depends = {Effect.LOCATION: same_data, Effect.MONITORING: not rolled_back}
        return depends.get(self, self in (Effect.EVALUATION, Effect.NONE))
