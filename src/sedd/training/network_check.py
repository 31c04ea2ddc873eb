"""A user's network, compared with the configuration before it trains."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import cast

import torch
from torch import Tensor, nn

from sedd.config.config import Config
from sedd.devices import is_out_of_memory
from sedd.diffusion.process import Process
from sedd.errors import ConfigError
from sedd.model.transformer import Block, Transformer
from sedd.plugins.contracts import Backend
from sedd.plugins.networks import Ddit

LONGEST = 2048
"""Residues of the sequences that the network is tried on, at most."""


def check_network(network: nn.Module, config: Config, process: Process, backend: Backend, device: torch.device) -> None:
    """Call the network once, with every token id, at the full length, with padding and without; nothing of it changes.

    Raises:
        ConfigError: if it cannot be called as `model(tokens, sigma, mask)`, or what it returns does not fit the
            configuration; names what differs.
    """
    if isinstance(network, Transformer) and isinstance(config.model, Ddit):
        _check_sizes(network, config.model)
    states, length = process.graph.states, min(config.model.length, LONGEST)
    tokens = (torch.arange(2 * length, device=device) % states).reshape(2, length)
    sigma = torch.tensor(process.sigma_range, device=device)
    padded = torch.ones(2, length, dtype=torch.bool, device=device)
    padded[1, (length + 1) // 2 :] = False
    with _untouched(network, device), torch.no_grad(), backend.autocast():
        for mask in (None, padded):
            output = _called(network, tokens, sigma, mask, states)
            process.parametrization.check_output(output, tokens, process.graph)
            if not output.is_floating_point():
                raise ConfigError(f"the network returned {output.dtype}, expected floating-point numbers")


def _called(network: nn.Module, tokens: Tensor, sigma: Tensor, mask: Tensor | None, states: int) -> Tensor:
    name = type(network).__name__
    try:
        output: object = network(tokens, sigma, mask)
    except Exception as error:  # a user's network may fail in any way
        if is_out_of_memory(error):
            raise
        raise ConfigError(
            f"model: {name} called as model(tokens, sigma, mask) failed ({type(error).__name__}: {error}). It got "
            f"tokens {tuple(tokens.shape)} with ids 0 to {states - 1}, sigma {tuple(sigma.shape)} and mask "
            f"{None if mask is None else tuple(mask.shape)}; it needs an embedding of {states} ids, and positions up "
            "to model.length"
        ) from error
    if not isinstance(output, Tensor):
        raise ConfigError(f"the network {name} returned a {type(output).__name__}, expected a tensor")
    return output


def _check_sizes(network: Transformer, wanted: Ddit) -> None:
    """Compare the built-in transformer, of a loaded model for example, with the `model` section."""
    block = cast(Block, network.blocks[0])
    sizes = {
        "hidden_size": (network.vocab_embed.embedding.shape[1], wanted.hidden_size),
        "cond_dim": (block.adaLN_modulation.in_features, wanted.cond_dim),
        "n_blocks": (len(network.blocks), wanted.n_blocks),
        "n_heads": (block.n_heads, wanted.n_heads),
        "time_conditioning": (network.time_conditioning, wanted.time_conditioning),
    }
    different = {f"model.{key}": pair for key, pair in sizes.items() if pair[0] != pair[1]}
    lines = [
        f"  {key}: {has!r} in the network, {says!r} in the configuration" for key, (has, says) in different.items()
    ]
    if different:
        raise ConfigError(
            "\n".join(["the network differs from the configuration:", *lines, "Set the keys to those of the network"]),
            keys=different,
        )


@contextmanager
def _untouched(network: nn.Module, device: torch.device) -> Iterator[None]:
    """Evaluation mode; afterwards modes, buffers and torch's random generators are as they were."""
    modes = [(module, module.training) for module in network.modules()]
    buffers = [(buffer, buffer.clone()) for buffer in network.buffers()]
    devices = [device] if device.type == "cuda" else []
    try:
        with torch.random.fork_rng(devices=devices):
            network.eval()
            yield
    finally:
        for module, training in modes:
            module.training = training
        with torch.no_grad():
            for buffer, before in buffers:
                buffer.copy_(before)
