"""Low-rank adaptation (LoRA, Hu et al. 2021) of linear layers: y = W x + b + (alpha / rank) B A x.

Only A and B are trained. They are parameters of the layer itself, beside its `weight` and `bias`, so that all other
names stay those of the network without LoRA.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from fnmatch import fnmatchcase
from typing import Any, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sedd.errors import ConfigError

A, B = "lora_A", "lora_B"
"""The names of the parameters, (rank, in) and (out, rank)."""


class LowRank(Protocol):
    """What `model.lora` says."""

    @property
    def rank(self) -> int: ...
    @property
    def scale(self) -> float: ...
    @property
    def targets(self) -> tuple[str, ...] | None: ...


def adapt(network: nn.Module, config: LowRank, *, seed: int) -> None:
    """Add A and B to the targets, and freeze all other parameters. B is zero, so that no output changes.

    Args:
        network: its linear layers may be targets, the user's own included.
        config: rank, scale and targets.
        seed: of the random values of A.

    Raises:
        ConfigError: if a target matches no linear layer.
    """
    network.requires_grad_(False)
    generator = torch.Generator().manual_seed(seed)
    for layer in dict(_targets(network, config)).values():
        weight = layer.weight
        bound = math.sqrt(3.0 / layer.in_features)  # that of nn.Linear's `kaiming_uniform_`, times sqrt(3)
        values = torch.empty(config.rank, layer.in_features).uniform_(-bound, bound, generator=generator)
        layer.register_parameter(A, nn.Parameter(values.to(weight)))
        layer.register_parameter(B, nn.Parameter(weight.new_zeros(layer.out_features, config.rank)))
        layer.register_forward_hook(_Adapter(config.scale))


def base_tensors(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Those of the network without LoRA."""
    return {name: tensor for name, tensor in tensors.items() if not is_lora(name)}


def is_lora(name: str) -> bool:
    """Whether a parameter of this name is one that `adapt` added."""
    return name.rpartition(".")[2] in (A, B)


@torch.no_grad()
def merged_tensors(tensors: Mapping[str, Tensor], scale: float) -> dict[str, Tensor]:
    """The tensors of the network without LoRA that computes the same: W + scale B A in place of W.

    The product is computed in float64, so that only the sum is rounded.
    """
    merged = base_tensors(tensors)
    for name in tensors.keys() - merged.keys():
        layer, _, kind = name.rpartition(".")
        if kind == A:
            weight = tensors[f"{layer}.weight"]
            change = scale * (tensors[f"{layer}.{B}"].double() @ tensors[name].double())
            merged[f"{layer}.weight"] = (weight.double() + change).to(weight.dtype)
    return merged


class _Adapter:
    """The hook of an adapted layer: adds scale B A x to its output."""

    def __init__(self, scale: float) -> None:
        self.scale = scale

    def __call__(self, layer: Any, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
        (x,) = inputs
        change = F.linear(F.linear(x, layer.lora_A), layer.lora_B)
        return output + self.scale * change.reshape(output.shape)


def _targets(network: nn.Module, config: LowRank) -> Iterator[tuple[str, nn.Linear]]:
    layers = {name: module for name, module in network.named_modules() if isinstance(module, nn.Linear)}
    if config.targets is None:
        yield from _in_blocks(network)
        return
    for pattern in config.targets:
        # `attn_qkv` means that layer of every block, as the target modules of PEFT do.
        found = {
            name: layer
            for name, layer in layers.items()
            if name == pattern or name.endswith(f".{pattern}") or fnmatchcase(name, pattern)
        }
        if not found:
            known = ", ".join(sorted({name.split(".", 2)[-1] if name[:6] == "blocks" else name for name in layers}))
            raise ConfigError(
                f"model.lora.targets: {pattern!r} is no linear layer of {type(network).__name__}; there are {known}",
                keys=["model.lora.targets"],
            )
        yield from found.items()


def _in_blocks(network: nn.Module) -> Iterator[tuple[str, nn.Linear]]:
    """The linear layers of the repeated blocks, without those that only condition on sigma."""
    blocks = [name for name, module in network.named_modules() if isinstance(module, nn.ModuleList)]
    for name, module in network.named_modules():
        inside = any(name.startswith(f"{block}.") for block in blocks)
        if inside and isinstance(module, nn.Linear) and not getattr(module, "conditions", False):
            yield name, module
