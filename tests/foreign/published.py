"""Tiny checkpoints in the layouts of other programs, made of our own network."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import Tensor

from sedd.config.config import Config
from sedd.diffusion.process import Process
from sedd.model.transformer import Transformer

N = 20
SIZES = {"hidden_size": 16, "cond_dim": 8, "length": 12, "n_blocks": 2, "n_heads": 2, "dropout": 0.1}


class Code:
    """Its pickle would run code."""

    def __reduce__(self):
        return print, ("the pickle has run code",)


def network(graph: str = "absorb", head: str = "score", n: int = N, seed: int = 0) -> Transformer:
    """A network with random weights, in every tensor."""
    curriculum = {"difficulty_ramp": "constant"}
    config = Config(model=SIZES | {"head": head}, graph={"type": graph}, curriculum=curriculum)
    process = Process.of(config, n)
    made = Transformer(config.model, states=process.graph.states, outputs=process.outputs)
    draws = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.copy_(0.2 * torch.randn(parameter.shape, generator=draws))
    return made.eval()


def run_configuration(graph: str = "absorb", noise: str = "loglinear", n: int = N, **more: Any) -> dict[str, Any]:
    """A run configuration of SEDD."""
    return {
        "tokens": n,
        "training": {"accum": 2, "n_iters": 1000},
        "graph": {"type": graph, "file": "data"},
        "noise": {"type": noise, "sigma_min": 1e-4, "sigma_max": 20},
        "model": SIZES | {"name": "tiny", "type": "ddit", "scale_by_sigma": graph == "absorb"},
    } | more


def sedd_hub(folder: Path, tensors: dict[str, Tensor], *, safe: bool = False, **options: Any) -> Path:
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(run_configuration(**options)))
    if safe:
        safetensors.torch.save_file(tensors, folder / "model.safetensors")
    else:
        torch.save(tensors, folder / "pytorch_model.bin")
    return folder


def sedd_run(folder: Path, raw: Transformer, averaged: Transformer, *, step: int = 700, **more: Any) -> Path:
    for name in (".hydra", "checkpoints-meta"):
        (folder / name).mkdir(parents=True)
    (folder / ".hydra/config.yaml").write_text(json.dumps(run_configuration(**more)))  # JSON is YAML
    ema = {"decay": 0.999, "num_updates": 0, "shadow_params": [p.detach() for p in averaged.parameters()]}
    content = {"model": raw.state_dict(), "ema": ema, "optimizer": {"state": {}}, "step": step}
    torch.save(content, folder / "checkpoints-meta/checkpoint.pth")
    return folder


def mdlm_hub(folder: Path, made: Transformer, n: int = N) -> Path:
    """With a row of MASK in the last layer, whose logit would win if it were read."""
    folder.mkdir()
    tensors = {f"backbone.{name}": tensor.clone() for name, tensor in made.state_dict().items()}
    for name, row in (("weight", torch.zeros(1, SIZES["hidden_size"])), ("bias", torch.full((1,), 50.0))):
        key = f"backbone.output_layer.linear.{name}"
        tensors[key] = torch.cat([tensors[key], row])
    safetensors.torch.save_file(tensors, folder / "model.safetensors")
    names = {"hidden_size": "hidden_dim", "length": "model_length"}
    sizes = {names.get(name, name): value for name, value in SIZES.items()}
    config = sizes | {"model_type": "mdlm", "vocab_size": n + 1, "time_conditioning": False}
    (folder / "config.json").write_text(json.dumps(config))
    return folder


def rewrite(file: Path, **changes: Any) -> None:
    """Change keys of a JSON file."""
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))
