"""The data and the network of a trainer, before its first step."""

from __future__ import annotations

import copy

import torch
from torch import nn

from sedd.config.config import Config
from sedd.data import Batches, Dataset, Sequences, open_data
from sedd.data.prepare.progress import DataProgress
from sedd.data.random_batches import RandomBatches
from sedd.data.user import UserData, user_dataset
from sedd.devices import seed_generators
from sedd.diffusion.process import Process
from sedd.errors import ConfigError
from sedd.model.lora import adapt
from sedd.model.transformer import Transformer
from sedd.plugins.checked import check_output
from sedd.plugins.contracts import Backend, Layout
from sedd.randomness import seed_for
from sedd.training.network_check import check_network
from sedd.training.optimizer import freeze


def open_dataset(config: Config, data: Dataset | UserData | None, *, show: bool) -> Dataset:
    """The data of a run: those of `config.data`, or the user's own `data`. Shows progress where files are prepared."""
    if isinstance(data, Dataset):
        return data
    if data is not None:
        return user_dataset(data, config.data, seed=config.seed)
    with DataProgress(enabled=show) as progress:
        return open_data(config.data, seed=config.seed, progress=progress)


def make_batches(config: Config, sequences: Sequences, layout: Layout) -> Batches:
    """The order of the training sequences, and how they are cut into batches for a layout."""
    training = config.training
    return (RandomBatches if layout == "packed" else Batches)(
        sequences,
        seed=config.seed,
        batch_size=training.batch_size,
        accum=training.accum,
        batch_residues=training.batch_residues,
        max_length=config.model.length,
    )


def make_network(
    config: Config, process: Process, model: nn.Module | None, backend: Backend, device: torch.device
) -> nn.Module:
    """The network to train, on its device: that of the `model` section, or the user's own `model`.

    With `model.lora` it is adapted, and `optim.groups` may freeze parameters of it.

    A model that is frozen as a whole, such as `Pretrained.network`, is copied, and the copy is trained.

    Raises:
        ConfigError: if it has no parameters to train, or does not fit the configuration, or a pattern fits none of its
            parameters.
        PluginError: if the part that makes it is broken.
    """
    given = model
    if model is None:
        seed_generators(backend, seed_for(config.seed, "weights"))
        model = process.network(config.model)
        if not isinstance(model, Transformer):
            check_output(config.model, model, process.graph.states, process.outputs)
    if next(model.parameters(), None) is None:
        raise ConfigError(f"the model {type(model).__name__} has no parameters to train")
    if not any(parameter.requires_grad for parameter in model.parameters()):
        model = copy.deepcopy(model).requires_grad_(True)
    if config.model.lora is not None:
        adapt(model, config.model.lora, seed=seed_for(config.seed, "lora"))
    freeze(model, config)
    if not any(parameter.requires_grad for parameter in model.parameters()):
        raise ConfigError("optim.groups freezes all parameters; leave some to train", keys=["optim.groups"])
    model = model.to(device)
    if given is not None:
        check_network(model, config, process, backend, device)
    return model


def may_skip_parameters(network: nn.Module) -> bool:
    """Whether a forward pass may leave parameters unused. That is known of the built-in network only."""
    return not isinstance(network, Transformer)
