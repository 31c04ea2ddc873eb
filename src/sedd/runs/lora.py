"""Low-rank changes (LoRA) in checkpoints: merged into the weights, or a folder of their own in the format of PEFT.

    adapter_config.json  adapter_model.safetensors  sedd.json  README.md

PEFT reads the first two; `sedd.json` has what sedd needs besides: the configuration of the run, and the SHA-256 of the
weights that the changes belong to.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import safetensors.torch
from torch import Tensor

from sedd.errors import CheckpointError
from sedd.files import check_regular, json_bytes, read_bounded
from sedd.model.lora import base_tensors, is_lora, merged_tensors
from sedd.plugins.options import Lora
from sedd.runs.checkpoint import Checkpoint
from sedd.runs.content import refusing_alien_content
from sedd.runs.lineage import lineage_of, tensors_sha256
from sedd.runs.manifest import DamagedError

CONFIG, WEIGHTS, ABOUT = "adapter_config.json", "adapter_model.safetensors", "sedd.json"
MOST_JSON = 64 << 20
"""Bytes of a JSON file."""
PREFIX = "base_model.model."
"""With which PEFT begins the name of each tensor."""


def lora_of(config: Mapping[str, Any]) -> Lora | None:
    """The `model.lora` section of a configuration; None if the run has no low-rank changes."""
    section = config["model"].get("lora")
    return None if section is None else Lora(**section)


def merged(saved: Checkpoint) -> Checkpoint:
    """A checkpoint of the network without low-rank changes that computes the same; the checkpoint itself without
    any. What is not a set of weights is left out."""
    lora = lora_of(saved.config)
    if lora is None:
        return saved
    weights = {name: saved.tensors[name] for name in ("model", "ema")}
    config = dict(saved.config) | {"model": dict(saved.config["model"]) | {"lora": None}}
    return replace(saved, tensors={name: merged_tensors(weights[name], lora.scale) for name in weights}, config=config)


def adapter_files(saved: Checkpoint, weights: str, *, base: str | None = None) -> dict[str, bytes]:
    """The files of an adapter, by name.

    Args:
        saved: a checkpoint of a run with `model.lora`.
        weights: `ema` or `model`.
        base: the model that they are changes of, in place of what `training.init_from` was.

    Raises:
        CheckpointError: if the run has no low-rank changes.
    """
    lora, ancestors = lora_of(saved.config), lineage_of(saved.state)
    if lora is None or not ancestors:
        raise CheckpointError("was not trained with model.lora, so there is no adapter; export it without --adapter")
    tensors = saved.tensors[weights]
    changes = {f"{PREFIX}{name}.weight": tensor for name, tensor in tensors.items() if is_lora(name)}
    config = {
        "peft_type": "LORA",
        "base_model_name_or_path": base or ancestors[0].source,
        "r": lora.rank,
        "lora_alpha": lora.alpha,
        "lora_dropout": 0.0,
        "target_modules": sorted({name.rpartition(".")[0] for name in tensors if is_lora(name)}),
        "bias": "none",
        "fan_in_fan_out": False,
        "inference_mode": True,
        "task_type": None,
    }
    about = {
        "library": "sedd",
        "base_sha256": tensors_sha256(base_tensors(tensors)),
        "config": dict(saved.config),
        "state": {key: saved.state.get(key) for key in ("lengths", "token_counts", "data", "alphabet", "lineage")},
        "step": int(saved.state["train"]["step"]),
        "run": saved.run,
    }
    data = safetensors.torch.save(changes, {"format": "pt"})
    return {WEIGHTS: data, CONFIG: json_bytes(config), ABOUT: json_bytes(about)}


def is_adapter(path: Path) -> bool:
    """Whether a folder has the files of an adapter of sedd."""
    return all((path / name).is_file() for name in (CONFIG, WEIGHTS, ABOUT))


@refusing_alien_content
def read_adapter(folder: Path, base: Checkpoint, weights: str) -> Checkpoint:
    """The checkpoint of a run with `model.lora`, from its adapter and the model that it was trained from.

    Args:
        folder: of the adapter.
        base: the model that its `base_model_name_or_path` names.
        weights: those of the base that the run began with, `ema` or `model`.

    Raises:
        CheckpointError: if the base has other weights than those that the adapter belongs to.
        DamagedError: if a file is not what was written.
    """
    about = read_about(folder)
    unchanged = base_tensors(merged(base).tensors[weights])
    if tensors_sha256(unchanged) != about["base_sha256"]:
        raise CheckpointError(
            "belongs to other weights than those of its base; name the right one in base_model_name_or_path of "
            f"{CONFIG}",
            file=folder,
        )
    check_regular(folder / WEIGHTS)
    changes: dict[str, Tensor] = safetensors.torch.load((folder / WEIGHTS).read_bytes())
    own = {name.removeprefix(PREFIX).removesuffix(".weight"): tensor for name, tensor in changes.items()}
    tensors = unchanged | own
    state = dict(about["state"]) | {"train": {"step": int(about["step"]), "best_step": None}}
    return Checkpoint({"ema": tensors, "model": tensors}, state, dict(about["config"]), about.get("run"))


def read_about(folder: Path, name: str = ABOUT) -> dict[str, Any]:
    """A JSON file of an adapter. Raises DamagedError if it is none, or no object."""
    try:
        data = json.loads(read_bounded(folder / name, most=MOST_JSON))
    except (ValueError, RecursionError) as error:
        raise DamagedError(f"not JSON ({error}); copy the folder again", file=folder / name) from None
    if not isinstance(data, dict):
        raise DamagedError(f"has a {type(data).__name__}, expected an object", file=folder / name)
    return data
