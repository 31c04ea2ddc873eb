"""A training directory of SEDD or PLS: `.hydra/config.yaml`, and `checkpoints-meta/checkpoint.pth` or
`checkpoints/checkpoint_N.pth` with `model`, `ema` and `step`.

`ema["shadow_params"]` is a list in the order of `model.parameters()`. That is the order of the state dict without the
buffers.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from sedd.errors import CheckpointError
from sedd.foreign.weights import sedd_config
from sedd.foreign.weights.files import as_tensors, read, without_wrapper
from sedd.foreign.weights.given import Given
from sedd.foreign.weights.published import Published

CONFIG = Path(".hydra/config.yaml")
NEWEST = Path("checkpoints-meta/checkpoint.pth")
BUFFERS = ("rotary_emb.inv_freq",)
"""Tensors of the state dict that are no parameters."""


def newest(folder: Path) -> Path:
    """The newest checkpoint of a training directory. Raises CheckpointError if there is none."""
    if (folder / NEWEST).exists():
        return folder / NEWEST
    numbered = {
        int(found[1]): path
        for path in folder.glob("checkpoints/checkpoint_*.pth")
        if (found := re.fullmatch(r"checkpoint_(\d+)", path.stem))
    }
    if not numbered:
        raise CheckpointError(f"has neither {NEWEST} nor checkpoints/checkpoint_N.pth", file=folder)
    return numbered[max(numbered)]


def published(given: Given, file: Path, weights: str) -> Published:
    """The averaged (`ema`) or `raw` weights of a checkpoint."""
    content = read(file)
    model = without_wrapper(as_tensors(content.get("model"), file, "model"))
    step = content.get("step", 0)
    if type(step) is not int or step < 0:
        raise CheckpointError(f"step is {str(step)[:80]!r}, expected a whole number", file=file)
    return Published(
        layout="training directory of SEDD or PLS",
        file=file,
        weights=weights,
        tensors=model if weights == "raw" else _averaged(content.get("ema"), model, file),
        sections=sedd_config.sections(given),
        n=given.integer("tokens"),
        step=sedd_config.optimizer_steps(given, step),
    )


def _averaged(ema: object, model: Mapping[str, Tensor], file: Path) -> dict[str, Tensor]:
    shadow = ema.get("shadow_params") if isinstance(ema, Mapping) else None
    if not isinstance(shadow, list | tuple) or not all(isinstance(tensor, Tensor) for tensor in shadow):
        raise CheckpointError(
            "has no averaged weights (ema.shadow_params, a list of tensors); take the raw ones: --weights raw",
            file=file,
        )
    names = [name for name in model if name not in BUFFERS]
    if len(shadow) != len(names):
        raise CheckpointError(
            f"ema.shadow_params has {len(shadow)} tensors and the model {len(names)} parameters; which is which cannot "
            "be known. Take the raw weights: --weights raw",
            file=file,
        )
    for index, (name, tensor) in enumerate(zip(names, shadow, strict=True)):
        if tensor.shape != model[name].shape:
            shapes = f"{tuple(tensor.shape)}, and {name} of the model {tuple(model[name].shape)}"
            raise CheckpointError(f"ema.shadow_params[{index}] has the shape {shapes}", file=file)
    return dict(model) | dict(zip(names, shadow, strict=True))
