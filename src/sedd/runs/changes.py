"""Keys of a run that are changed on purpose when it goes on: `--resume --allow optim.lr,training.n_iters`."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from sedd.config.config import Config
from sedd.errors import ConfigError
from sedd.runs.differences import Difference, blocking_differences, flattened

SECTIONS = ("training", "optim", "lr_schedule", "ema", "curriculum", "evaluation")
"""What decides neither which tensors there are, nor which sequences and noise they are trained on."""
FIXED = ("training.init_from", "training.init_weights", "optim.groups", "optim.optimizer")
"""Keys in these sections that were used up at the first step, or decide what the optimizer keeps."""


def allowed_keys(keys: Iterable[str]) -> tuple[str, ...]:
    """The keys, or complete sections, that may change; each may be a list with commas.

    Raises:
        ConfigError: if one does not exist, or may not change.
    """
    wanted = tuple(key.strip() for text in keys for key in text.split(",") if key.strip())
    # The keys of curricula are those of plugins, so any key of theirs may exist.
    known = {key for key, _ in flattened(Config().to_dict())} | set(SECTIONS)
    for key in wanted:
        if not may_change(key):
            raise ConfigError(
                f"--allow {key}: this cannot change in a run; start a new one, with training.init_from for its "
                f"weights. What can: keys of {', '.join(SECTIONS)}",
                keys=[key],
            )
        if key not in known and not key.startswith("curriculum."):
            close = difflib.get_close_matches(key, known, n=1)
            raise ConfigError(f"--allow {key}: no such key{f'; did you mean {close[0]}?' if close else ''}", keys=[key])
    return wanted


def may_change(key: str) -> bool:
    """Whether a key, or a section, may be changed on purpose."""
    return key.split(".")[0] in SECTIONS and not key.startswith(FIXED)


def split(
    recorded: Mapping[str, Any], config: Mapping[str, Any], allow: Sequence[str]
) -> tuple[list[Difference], list[Difference]]:
    """The differences between a recorded configuration and another one with which a run cannot go on, and those that
    `allow` permits."""
    refused: list[Difference] = []
    permitted: list[Difference] = []
    for item in blocking_differences(recorded, config):
        is_permitted = may_change(item.key) and any(item.key == key or item.key.startswith(f"{key}.") for key in allow)
        (permitted if is_permitted else refused).append(item)
    return refused, permitted


def advice(refused: Sequence[Difference]) -> str:
    """What to do about differences that keep a run from going on."""
    keys = [item.key for item in refused]
    on_purpose = f", or change it on purpose with --allow {','.join(keys)}" if all(map(may_change, keys)) else ""
    return f"Resume with the same configuration{on_purpose}, or start a new run with --run"
