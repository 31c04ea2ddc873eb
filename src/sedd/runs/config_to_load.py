"""The configuration with which a trained model is loaded."""

from __future__ import annotations

import warnings
from pathlib import Path

from sedd.config.alphabet import SECTION
from sedd.config.config import Config
from sedd.data import Alphabet
from sedd.errors import SeddWarning
from sedd.plugins.curricula import Constant
from sedd.plugins.registry import registry
from sedd.runs.checkpoint import Checkpoint
from sedd.runs.plugin_record import check_installed


def config_to_load(saved: Checkpoint, device: str, alphabet: Alphabet, *, file: Path) -> Config:
    """The configuration of a checkpoint, on another device perhaps, without what only training needs: the plugins of
    its curriculum and of its `alphabet` may be gone.

    Raises:
        CheckpointError: if its network or noise is of a plugin that is not installed; `file` is the checkpoint.
    """
    config = saved.config
    check_installed(config, saved.state.get("plugins"), "model", "noise", file=file)
    data = dict(config) | {"device": {"type": device, "precision": config["device"]["precision"]}, "trackers": ()}
    data["evaluation"] = {**data.get("evaluation", {}), "metrics": ()}
    if data["curriculum"]["difficulty_ramp"] not in registry().of("curriculum"):
        data["curriculum"] = Constant()
    chosen = data["data"]["alphabet"]
    if isinstance(chosen, str) and chosen not in registry().of(SECTION):
        listed = {"symbols": alphabet.symbols, "separator": alphabet.separator}
        data["data"] = {**data["data"], "alphabet": listed}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SeddWarning)  # what was said when the run began need not be said again
        return Config(**data)
