"""Networks of plugins: chosen in a run file, trained, found again, and named where they are missing or broken."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

import sedd
from sedd.config.schema import schema
from sedd.diagnosis.foresight import network_parameters
from sedd.plugins.networks import Ddit
from sedd.plugins.registry import registry
from sedd.runs.differences import blocking_differences, config_differences
from sedd.runs.directory import RunDirectory
from tests.cli.commands import failed, sedd_
from tests.plugins.test_plugins import Install

SOURCE = """
import sedd
from typing import Annotated, Literal
from annotated_types import Interval
from torch import nn

class Body(nn.Module):
    def __init__(self, width, states, outputs):
        super().__init__()
        self.embed = nn.Embedding(states, width)
        self.out = nn.Linear(width, outputs)

    def forward(self, tokens, sigma, mask=None):
        {forward}

class Bag(sedd.Network):
    '''Every residue by itself.'''
    type: Literal["bag"] = "bag"
    width: Annotated[int, Interval(ge=1, le=64)] = 8

    def build(self, states, outputs):
        {build}

@sedd.hookimpl
def sedd_networks():
    return [Bag]
"""
CHOSEN = {"type": "bag", "width": 6, "length": 24}


def source(
    forward: str = "return self.out(self.embed(tokens))", build: str = "return Body(self.width, states, outputs)"
) -> str:
    return SOURCE.format(forward=forward, build=build)


def bags(tiny, *overrides: str) -> sedd.Config:
    config = tiny(*overrides)
    return sedd.Config(**{**config.to_dict(), "model": CHOSEN})


def test_a_model_section_without_a_type_is_the_built_in_network():
    assert sedd.Config(model={"n_blocks": 3}).model == Ddit(n_blocks=3)
    assert sedd.load_config({"model": {"length": 9}}, "model.type=transformer").model == Ddit(length=9)
    assert sedd.Config().to_dict()["model"]["type"] == "transformer"


def test_a_network_of_a_plugin_trains_resumes_samples_and_is_found_again(install: Install, tiny, tmp_path: Path):
    install("sedd-bags", source())
    config, run = bags(tiny), tmp_path / "run"
    sedd.Trainer(config, run=run).fit(until=4, progress=False)
    trainer = sedd.Trainer(config, run=run, resume=True)
    trainer.fit(progress=False)
    assert trainer.state.step == 8
    model = sedd.load(run, which="latest", device="cpu")
    assert type(model.network).__name__ == "Body"
    assert model.sample(3, seed=1) == trainer.sample(3, seed=1)
    assert json.loads(sedd_("evaluate", run, "--device", "cpu", "--json", "--no-controls"))["nats"] > 0
    sedd_("export", run, tmp_path / "out")
    assert "sedd-bags 1.2" in (tmp_path / "out" / "README.md").read_text()
    assert sedd.load(tmp_path / "out", device="cpu").sample(2) == sedd.load(run, device="cpu").sample(2)
    assert network_parameters(config, 20) == sum(p.numel() for p in trainer.network.parameters())
    assert RunDirectory(run).environment()["model.bag"] == "sedd-bags 1.2"


def test_overrides_of_a_run_file_reach_the_network_of_a_plugin(install: Install):
    install("sedd-bags", source())
    config = sedd.load_config({"model": {"type": "bag"}}, "model.width=5", "model.length=7")
    assert (config.model.width, config.model.length) == (5, 7)
    assert any("width" in choice["properties"] for choice in schema()["properties"]["model"]["anyOf"])
    with pytest.raises(sedd.ConfigError) as caught:
        sedd.load_config({"model": {"type": "bag", "n_blocks": 2}})
    assert caught.value.keys == ("model.n_blocks",)


def test_a_run_whose_network_is_missing_names_its_distribution(install: Install, tiny, tmp_path, monkeypatch, capsys):
    install("sedd-bags", source())
    config, run = bags(tiny), tmp_path / "run"
    sedd.Trainer(config, run=run).fit(until=4, progress=False)
    sedd_("export", run, tmp_path / "out")
    (tmp_path / "sedd_bags-1.2.dist-info" / "entry_points.txt").unlink()
    registry.cache_clear()
    for place in (run, tmp_path / "out"):
        with pytest.raises(sedd.CheckpointError) as caught:
            sedd.load(place)
        assert "sedd-bags 1.2" in str(caught.value)
    assert "sedd-bags 1.2" in failed(monkeypatch, capsys, "train", "--resume", "--run", run)


BROKEN = {
    "it cannot be built": {"build": "raise KeyError('oops')"},
    "it builds no module": {"build": "return 7"},
    "it has nothing to train": {"build": "return nn.Identity()"},
    "its network fails": {"forward": "raise KeyError('oops')"},
    "its network returns another shape": {"forward": "return self.embed(tokens)"},
    "its network returns ids": {"forward": "return self.out(self.embed(tokens)).long()"},
}


@pytest.mark.parametrize("why", BROKEN)
def test_a_broken_network_is_named_with_its_distribution_before_the_first_step(why, install: Install, tiny):
    install("sedd-bags", source(**BROKEN[why]))
    with pytest.raises(sedd.PluginError) as caught:
        sedd.Trainer(bags(tiny))
    assert "Bag" in str(caught.value)
    assert "sedd-bags 1.2" in str(caught.value)


def test_what_a_network_says_of_its_options_is_passed_on(install: Install, tiny):
    install("sedd-bags", source(build="raise sedd.ConfigError('no', keys=['model.width'])"))
    with pytest.raises(sedd.ConfigError) as caught:
        sedd.Trainer(bags(tiny))
    assert caught.value.keys == ("model.width",)


def test_runs_from_before_networks_were_parts_are_resumed_and_compared(tiny, tmp_path: Path):
    config = tiny()
    old = config.to_dict()
    del old["model"]["type"]
    assert blocking_differences(old, config.to_dict()) == ()
    assert config_differences([old, config.to_dict()]) == ()
    run = tmp_path / "run"
    trainer = sedd.Trainer(config, run=run)
    trainer.fit(until=4, progress=False)
    text = (run / "config.yaml").read_text()
    assert "  type: transformer\n" in text
    (run / "config.yaml").write_text(text.replace("  type: transformer\n", ""))
    assert sedd.Trainer(config, run=run, resume=True).state.step == 4


def test_the_weights_are_drawn_from_the_seed_of_the_run(install: Install, tiny):
    install("sedd-bags", source())
    first, again, other = (sedd.Trainer(bags(tiny, f"seed={seed}")).network.state_dict() for seed in (1, 1, 2))
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["out.weight"], other["out.weight"])
