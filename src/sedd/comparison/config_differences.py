"""What differs between the configurations of some runs, on plain data: no plugin has to be installed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sedd.comparison.recorded import Recorded

NEUTRAL = (
    "device", "trackers", "checkpoint", "sampling", "monitoring", "evaluation", "training.log_every",
    "training.eval_every", "training.max_skipped", "data.cache",
)  # fmt: skip
"""Keys and sections that do not change what is trained."""
PLACES = ("data.train", "data.valid", "data.clusters")
"""Where the data are: neutral as long as they are the same data."""
ARITHMETIC = "device.precision"
"""Not neutral: another rounding is another run, if only a little."""


@dataclass(frozen=True)
class Difference:
    """A dotted key and its value in each run, None where a run does not have it."""

    key: str
    values: tuple[Any, ...]
    neutral: bool
    """Whether it leaves what is trained as it is."""


def config_differences(runs: Sequence[Recorded], *, same_data: bool) -> tuple[Difference, ...]:
    """One entry per key that differs, in the order of the configuration.

    Args:
        runs: in the order of the values.
        same_data: whether the runs are known to share their training sequences, wherever these lie.
    """
    flat = [dict(flattened(run.config)) for run in runs]
    neutral = (*NEUTRAL, *(PLACES if same_data else ()))
    if any(run.rolled_back for run in runs):  # then the monitor did change what was trained
        neutral = tuple(key for key in neutral if key != "monitoring")
    found = []
    for key in dict.fromkeys(key for each in flat for key in each):
        values = tuple(each.get(key) for each in flat)
        if any(value != values[0] for value in values):
            found.append(Difference(key, values, key != ARITHMETIC and any(_within(key, part) for part in neutral)))
    return tuple(found)


def flattened(config: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Dotted keys and values; lists stay whole."""
    for key, value in config.items():
        if isinstance(value, Mapping) and value:
            yield from flattened(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _within(key: str, section: str) -> bool:
    return key == section or key.startswith(f"{section}.")
