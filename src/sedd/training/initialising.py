"""Fine-tuning: a run begins with the weights of another model, `training.init_from`."""

from __future__ import annotations

import shlex

from torch import nn

from sedd.config.config import Config
from sedd.data import Alphabet
from sedd.distributed.matching import mismatch
from sedd.errors import ConfigError
from sedd.model.lora import base_tensors
from sedd.runs.checkpoint import Checkpoint
from sedd.runs.content import refusing_alien_content
from sedd.runs.differences import flattened, with_part_names
from sedd.runs.finding import find
from sedd.runs.hub import local
from sedd.runs.lineage import Ancestor, descended
from sedd.runs.lora import merged

WITHOUT_EFFECT = ("model.length", "model.dropout", "model.gate_init", "model.attention", "model.lora")
"""Keys of the `model` section that decide neither which tensors there are nor what they compute."""
OF_ANY_NETWORK = ("graph.type", "model.head", "model.scale_by_sigma", "model.time_conditioning")
"""Keys that decide what the output of a user's own network means."""


def initialise(network: nn.Module, config: Config, alphabet: Alphabet, *, own_network: bool) -> tuple[Ancestor, ...]:
    """Load the weights of `training.init_from` into a network; returns the lineage of the run, empty without it.

    The low-rank changes of a parent that was trained with `model.lora` are merged into its weights.

    Args:
        network: weights are loaded into it.
        config: of the run.
        alphabet: of its data.
        own_network: whether it is a network of the user's own, which the `model` section says little about.

    Raises:
        ConfigError: if the parent has another alphabet, graph, head or other tensors; names them. Or if there is
            `model.lora` and no parent.
        CheckpointError: if there is no such model, or it is damaged.
    """
    source = config.training.init_from
    if source is None:
        if config.model.lora is not None:
            raise ConfigError(
                "model.lora adapts a trained model; name it with training.init_from=RUN, or remove model.lora",
                keys=["training.init_from"],
            )
        return ()
    saved = _read(source)
    weights = config.training.init_weights
    if problem := _problem(saved, config, alphabet, own_network=own_network):
        raise _refused(source, problem)
    tensors = dict(merged(saved).tensors[weights])
    own = base_tensors(network.state_dict())
    if problem := mismatch(own, tensors):
        raise _refused(source, f"its weights do not fit {type(network).__name__}: {problem}")
    network.load_state_dict(network.state_dict() | tensors)
    return descended(source, saved, weights)


def _read(source: str) -> Checkpoint:
    return refusing_alien_content(lambda path: find(path, "best")[1])(local(source))


def _problem(saved: Checkpoint, config: Config, alphabet: Alphabet, *, own_network: bool) -> str | None:
    parent = Alphabet.from_dict(saved.state["alphabet"])
    if parent != alphabet:
        return (
            f"its alphabet is {parent.name!r} of {parent.n:,} symbols, that of the data {alphabet.name!r} of "
            f"{alphabet.n:,}; set data.alphabet as the parent has it"
        )
    theirs, ours = (dict(flattened(with_part_names(data))) for data in (saved.config, config.to_dict()))
    keys = OF_ANY_NETWORK if own_network else [key for key in ours if _matters(key)]
    # A key that the parent lacks is younger than it.
    differ = [key for key in keys if theirs.get(key, ours[key]) != ours[key]]
    return "; ".join(f"{key} is {theirs[key]!r} there, {ours[key]!r} here" for key in differ[:4]) or None


def _matters(key: str) -> bool:
    return key == "graph.type" or (key.startswith("model.") and not key.startswith(WITHOUT_EFFECT))


def _refused(source: str, problem: str) -> ConfigError:
    file = local(source) / "config.yaml"
    train = f"sedd train {shlex.quote(str(file))} training.init_from={shlex.quote(source)}"
    advice = f". To train like it, begin with its run file: {train}" if file.exists() else ""
    return ConfigError(f"training.init_from={source}: {problem}{advice}", keys=["training.init_from"])
