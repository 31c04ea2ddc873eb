"""Where the weights of a run began: the model that it was fine-tuned from, and that one's own ancestors."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from sedd.runs.checkpoint import Checkpoint

KEY = "lineage"
"""Of the state of a checkpoint: ancestors as plain data, the nearest first; without it, or empty, there are none."""


@dataclass(frozen=True)
class Ancestor:
    """A model whose weights another one began with."""

    source: str
    """Where it was read: a run, a checkpoint, an exported folder, or `hf://user/name`."""
    run: str | None
    """The identity of its run."""
    step: int
    """Optimizer steps that it was trained for."""
    weights: str
    """`ema` or `model`."""
    sha256: str
    """Of its tensors, see `tensors_sha256`; hexadecimal."""
    imported: Mapping[str, Any] | None = None
    """`sedd.runs.imported.Origin` as plain data, if another program trained it."""

    def to_dict(self) -> dict[str, Any]:
        """Plain data for the state of a checkpoint."""
        return asdict(self)

    def __str__(self) -> str:
        return f"{self.source}, {self.weights} weights of step {self.step:,}, sha256 {self.sha256[:16]}"

    @staticmethod
    def from_dict(data: Mapping[str, Any]) -> Ancestor:
        """The inverse of `to_dict`. Raises TypeError where a key is missing or unknown."""
        return Ancestor(**data)


def lineage_of(state: Mapping[str, Any]) -> tuple[Ancestor, ...]:
    """The ancestors in the state of a checkpoint, the nearest first."""
    return tuple(map(Ancestor.from_dict, state.get(KEY) or ()))


def descended(source: str, saved: Checkpoint, weights: str) -> tuple[Ancestor, ...]:
    """The lineage of a run that begins with the `weights` of a checkpoint that was read from `source`."""
    parent = Ancestor(
        source=source,
        run=saved.run,
        step=int(saved.state["train"]["step"]),
        weights=weights,
        sha256=tensors_sha256(saved.tensors[weights]),
        imported=saved.state.get("imported"),
    )
    return (parent, *lineage_of(saved.state))


def tensors_sha256(tensors: Mapping[str, Tensor]) -> str:
    """The SHA-256 of names, number formats, shapes and values, in the order of the names: equal for equal weights,
    whatever file they were read from. Hexadecimal."""
    digest = hashlib.sha256()
    for name, tensor in sorted(tensors.items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        flat = tensor.detach().cpu().contiguous().reshape(-1)
        digest.update(flat.view(torch.uint8).numpy().data)
    return digest.hexdigest()
