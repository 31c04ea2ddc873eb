"""A hub folder of SEDD: the run configuration as `config.json`, and tensors under the names of our network."""

from __future__ import annotations

from pathlib import Path

from sedd.foreign.weights import sedd_config
from sedd.foreign.weights.files import as_tensors, read, without_wrapper
from sedd.foreign.weights.given import Given
from sedd.foreign.weights.published import Published


def recognises(given: Given) -> bool:
    """Whether a `config.json` is the run configuration of SEDD."""
    return all(isinstance(given.data.get(key), dict) for key in ("graph", "noise", "model"))


def published(given: Given, file: Path) -> Published:
    """The weights of a hub folder, from its configuration and its file of tensors."""
    return Published(
        layout="SEDD hub folder",
        file=file,
        weights="published",
        tensors=without_wrapper(as_tensors(read(file), file)),
        sections=sedd_config.sections(given),
        n=given.integer("tokens"),
    )
