"""The section `evaluation` of a run file."""

from __future__ import annotations

from typing import Annotated

from annotated_types import Interval
from pydantic import SerializeAsAny

from sedd.config.plugin_sections import Installed
from sedd.config.section import Count, Section
from sedd.plugins.contracts import Metric
from sedd.plugins.effects import Effect


class Evaluation(Section):
    """The bound on held-out data, over the full noise range whatever the curriculum."""

    sequences: Count = 256
    """Number of held-out sequences; every evaluation uses the same ones."""
    masks: Annotated[int, Interval(ge=1, le=10_000)] = 4
    """Number of stratified noise levels per sequence."""
    train_sequences: Annotated[int, Interval(ge=0, le=10**9), Effect.MONITORING] = 64
    """Number of training sequences that every evaluation scores in the same way, once with averaged and once with raw
    weights. They show whether the model knows its training data better than held-out data. Each evaluation takes about
    0.6 times longer than without (`quickstart`: 5 % of the training time), and memory for a copy of the weights. 0:
    none."""
    batch_size: Annotated[Count, Effect.NONE] = 64
    """Sequences evaluated at once; changes memory, not results."""
    metrics: Annotated[
        tuple[Annotated[SerializeAsAny[Metric], Installed.of("evaluation.metrics")], ...], Effect.NONE
    ] = ()
    """Numbers besides the bound, computed at every evaluation: names of installed metrics, such as `masked_accuracy`,
    or `{type: name, option: value}`."""
