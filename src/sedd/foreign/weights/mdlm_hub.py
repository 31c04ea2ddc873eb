"""A hub folder of MDLM: `config.json` with keys of its own, and tensors under `backbone.`.

Its parametrization is our normalised head on `absorb`. The network has an output for MASK, whose probability MDLM sets
to 0: that row of the last layer is left out. Without `time_conditioning` sigma is 0 in both programs. The noise is not
in the folder; MDLM trains with SEDD's `loglinear`, and its bound does not depend on the noise.
"""

from __future__ import annotations

import math
from pathlib import Path

from torch import Tensor

from sedd.errors import CheckpointError
from sedd.foreign.weights.files import as_tensors, read
from sedd.foreign.weights.given import Given
from sedd.foreign.weights.published import Published
from sedd.foreign.weights.sedd_config import SEDD_EPS

PREFIX = "backbone."
LAST = "output_layer.linear."


def recognises(given: Given) -> bool:
    """Whether a `config.json` is that of MDLM."""
    return given.data.get("model_type") == "mdlm"


def published(given: Given, file: Path) -> Published:
    """The weights of a hub folder, from its configuration and its file of tensors."""
    states = given.integer("vocab_size")
    tensors = {name.removeprefix(PREFIX): tensor for name, tensor in as_tensors(read(file), file).items()}
    model = {
        "head": "normalised",
        "hidden_size": given.integer("hidden_dim"),
        "cond_dim": given.integer("cond_dim"),
        "length": given.integer("model_length"),
        "n_blocks": given.integer("n_blocks"),
        "n_heads": given.integer("n_heads"),
        "dropout": given.number("dropout", 0.1),
        "time_conditioning": given.boolean("time_conditioning", default=False),
    }
    noise = {"type": "loglinear", "sigma_max": -math.log(SEDD_EPS)}
    return Published(
        layout="MDLM hub folder",
        file=file,
        weights="published",
        tensors={name: _without_mask(name, tensor, states, file) for name, tensor in tensors.items()},
        sections={"graph": {"type": "absorb"}, "noise": noise, "model": model},
        n=states - 1,
        remarks=(f"the row of MASK of {LAST}weight and {LAST}bias is left out: MDLM never predicts it",),
    )


def _without_mask(name: str, tensor: Tensor, states: int, file: Path) -> Tensor:
    """The last layer without its row of MASK, which is the last one; other tensors as they are."""
    if not name.startswith(LAST):
        return tensor
    if not tensor.dim() or len(tensor) != states:
        shape = tuple(tensor.shape)
        raise CheckpointError(f"{PREFIX}{name} has the shape {shape}, expected {states} rows (vocab_size)", file=file)
    return tensor[: states - 1]
