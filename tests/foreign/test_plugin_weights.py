"""Weights that fit the network of a plugin, which recognises them; the library itself knows nothing of their layout."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
import safetensors.torch
import torch
from torch import Tensor

import sedd
from sedd.foreign.weights.importing import import_weights
from sedd.plugins import registry as plugins
from sedd.runs import checkpoint

SOURCE = """
import sedd
from typing import Annotated, Literal
from annotated_types import Interval
from torch import nn

class Body(nn.Module):
    def __init__(self, width, states, outputs):
        super().__init__()
        self.embed, self.out = nn.Embedding(states, width), nn.Linear(width, outputs)

    def forward(self, tokens, sigma, mask=None):
        return self.out(self.embed(tokens))

class Bag(sedd.Network):
    '''Every residue by itself.'''
    type: Literal["bag"] = "bag"
    width: Annotated[int, Interval(ge=1, le=64)] = 8

    def build(self, states, outputs):
        return Body(self.width, states, outputs)

    @classmethod
    def published(cls, config, read):
        if config.get("model_type") != "bag":
            return None
        {published}

@sedd.hookimpl
def sedd_networks():
    return [Bag]
"""
RIGHT = """
        tensors = {name.removeprefix("bag."): tensor for name, tensor in read().items()}
        return sedd.PublishedWeights("folder of Bag", cls(width=config["width"], length=9), tensors, n=20,
                                     alphabet="protein", drawn="ACD", remarks=("nothing is left out",))
"""
CONFIG = {"model_type": "bag", "width": 4}
TENSORS = {"bag.embed.weight": (21, 4), "bag.out.weight": (20, 4), "bag.out.bias": (20,)}


@pytest.fixture
def bag(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Iterator[None]:
    """The plugin, whose `published` is the parameter of the test, or right."""
    body = getattr(request, "param", RIGHT)
    (tmp_path / "some_bag.py").write_text(SOURCE.replace("{published}", body.strip()))
    monkeypatch.syspath_prepend(tmp_path)
    entry = plugins.EntryPoint("bag", "some_bag", plugins.GROUP)
    monkeypatch.setattr(plugins, "installed_entry_points", lambda: [entry])
    plugins.registry.cache_clear()
    yield
    monkeypatch.undo()
    sys.modules.pop("some_bag", None)
    plugins.registry.cache_clear()


def hub(folder: Path, tensors: Mapping[str, Tensor] | None = None, **config: object) -> Path:
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(CONFIG | config))
    torch.manual_seed(0)
    made = {name: torch.randn(shape) for name, shape in TENSORS.items()} if tensors is None else dict(tensors)
    safetensors.torch.save_file(made, folder / "model.safetensors")
    return folder


@pytest.mark.usefixtures("bag")
def test_the_network_of_a_plugin_takes_its_published_weights(tmp_path):
    imported = import_weights(hub(tmp_path / "hub"), tmp_path / "run")
    assert (imported.origin.layout, imported.alphabet.name, imported.remarks) == (
        "folder of Bag", "protein", ("nothing is left out",),
    )  # fmt: skip
    model = sedd.load(tmp_path / "run", device="cpu")
    assert (model.config.model.part_name(), model.config.model.width, model.config.model.length) == ("bag", 4, 9)
    assert set("".join(model.sample(5, length=9, steps=3))) <= set("ACD")
    state = checkpoint.read(tmp_path / "run" / "checkpoints" / "step-00000000").state
    assert state["plugins"] == {"model.bag": "some_bag"}


@pytest.mark.usefixtures("bag")
def test_with_another_alphabet_every_symbol_may_be_drawn(tmp_path):
    import_weights(hub(tmp_path / "hub"), tmp_path / "run", alphabet="ids")
    assert sedd.load(tmp_path / "run", device="cpu").token_counts is None


@pytest.mark.usefixtures("bag")
@pytest.mark.parametrize(
    ("name", "shape"), [("bag.out.bias", None), ("bag.more", (2,)), ("bag.out.weight", (20, 5))], ids=str
)
def test_a_tensor_that_does_not_fit_is_named(name, shape, tmp_path):
    shapes = {key: value for key, value in (TENSORS | {name: shape}).items() if value is not None}
    tensors = {key: torch.zeros(value) for key, value in shapes.items()}
    with pytest.raises(sedd.CheckpointError) as caught:
        import_weights(hub(tmp_path / "hub", tensors), tmp_path / "run")
    assert name.removeprefix("bag.") in str(caught.value)
    assert not (tmp_path / "run").exists()


@pytest.mark.usefixtures("bag")
def test_an_option_that_is_out_of_bounds_is_an_error_about_the_configuration(tmp_path):
    with pytest.raises(sedd.CheckpointError) as caught:
        import_weights(hub(tmp_path / "hub", width=1_000), tmp_path / "run")
    assert caught.value.file == tmp_path / "hub" / "config.json"
    assert "width" in str(caught.value)


@pytest.mark.usefixtures("bag")
@pytest.mark.parametrize(
    ("bag", "error"),
    [
        ("raise sedd.CheckpointError('the key is wrong')", sedd.CheckpointError),
        ("return config['no_such_key']", sedd.PluginError),
        ("return read()", sedd.PluginError),
    ],
    indirect=["bag"],
)
def test_what_goes_wrong_in_a_plugin_is_one_error(error, tmp_path):
    with pytest.raises(error) as caught:
        import_weights(hub(tmp_path / "hub"), tmp_path / "run")
    if error is sedd.PluginError:
        assert "Bag" in str(caught.value)
    else:
        assert caught.value.file == tmp_path / "hub" / "config.json"
    assert not (tmp_path / "run").exists()


def test_a_folder_that_no_network_takes_is_refused_with_its_kind(tmp_path):
    with pytest.raises(sedd.CheckpointError) as caught:
        import_weights(hub(tmp_path / "hub", model_type="walrus"), tmp_path / "run")
    assert "walrus" in str(caught.value)
