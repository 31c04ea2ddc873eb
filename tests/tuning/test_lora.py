"""Low-rank adaptation: the base stays as it is, and what is trained can be merged, exported and read back."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from torch import nn

import sedd
from sedd.errors import CheckpointError, ConfigError
from sedd.model.lora import adapt, base_tensors, is_lora, merged_tensors
from sedd.plugins.options import Lora
from tests.cli.commands import failed, sedd_
from tests.conftest import TINY


@pytest.fixture(scope="module")
def parent(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("parent") / "run"
    sedd.Trainer(sedd.load_config("quickstart", *TINY, "ema.decay=0.5"), run=path).fit(progress=False)
    return path


@pytest.fixture(scope="module")
def tuned(parent: Path) -> Path:
    path = parent.parent / "tuned"
    options = (f"training.init_from={parent}", "model.lora.rank=2", "optim.lr=0.05", "optim.warmup=0")
    sedd.Trainer(sedd.load_config(parent / "config.yaml", *options), run=path).fit(progress=False)
    return path


def outputs(model: sedd.Pretrained) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    tokens = torch.randint(0, model.alphabet.n + 1, (8, 24), generator=generator)
    return model.network(tokens, torch.linspace(0.1, 4.0, 8))


def test_the_base_is_untouched_bit_for_bit_and_the_rest_trained(parent, tuned):
    base, own = (sedd.load(run, device="cpu").network.state_dict() for run in (parent, tuned))
    assert all(torch.equal(base[name], own[name]) for name in base)
    changes = [tensor for name, tensor in own.items() if is_lora(name)]
    assert len(changes) == 8
    assert all(bool(tensor.abs().max() > 0) for tensor in changes)


def test_before_training_nothing_changes(parent, tmp_path):
    config = sedd.load_config(parent / "config.yaml", f"training.init_from={parent}", "model.lora={}")
    trainer = sedd.Trainer(config, run=tmp_path / "run")
    assert trainer.evaluate().nats == sedd.load(parent, device="cpu").bound(trainer.data.valid, masks=2, count=256).nats
    trained = sum(p.numel() for p in trainer.network.parameters() if p.requires_grad)
    assert trained == 8 * (16 + 48) + 8 * (16 + 16) + 2 * 8 * (16 + 64)


def test_merged_equals_unmerged(tuned, tmp_path):
    sedd_("export", tuned, tmp_path / "merged", "--merge")
    sedd_("export", tuned, tmp_path / "whole")
    model, merged, whole = (sedd.load(path, device="cpu") for path in (tuned, tmp_path / "merged", tmp_path / "whole"))
    assert merged.config.model.lora is None
    assert not any(is_lora(name) for name in merged.network.state_dict())
    assert torch.equal(outputs(model), outputs(whole))
    parent = sedd.load(model.config.training.init_from, device="cpu")
    assert float((outputs(model) - outputs(parent)).abs().max()) > 1e-2
    assert float((outputs(model) - outputs(merged)).abs().max()) < 1e-6


def test_an_adapter_has_the_format_of_peft_and_is_read_with_its_base(parent, tuned, tmp_path):
    sedd_("export", tuned, tmp_path / "adapter", "--adapter")
    config = json.loads((tmp_path / "adapter" / "adapter_config.json").read_text())
    assert (config["peft_type"], config["r"], config["lora_alpha"]) == ("LORA", 2, 16.0)
    assert config["base_model_name_or_path"] == str(parent)
    assert torch.equal(outputs(sedd.load(tmp_path / "adapter", device="cpu")), outputs(sedd.load(tuned, device="cpu")))
    assert not list((tmp_path / "adapter").glob("model.safetensors"))


def test_an_adapter_is_refused_on_another_base(parent, tuned, tmp_path):
    sedd_("export", tuned, tmp_path / "adapter", "--adapter")
    file = tmp_path / "adapter" / "adapter_config.json"
    config = json.loads(file.read_text())
    for base in (tuned / "checkpoints" / "step-00000008", tmp_path / "nowhere"):
        file.write_text(json.dumps(config | {"base_model_name_or_path": str(base)}))
        with pytest.raises(CheckpointError):
            sedd.load(tmp_path / "adapter", device="cpu")


def test_peft_reads_an_adapter(parent, tuned, tmp_path):
    peft = pytest.importorskip("peft", reason="the package peft is not installed")
    sedd_("export", tuned, tmp_path / "adapter", "--adapter")
    base = sedd.load(parent, device="cpu")
    model = peft.PeftModel.from_pretrained(base.network, tmp_path / "adapter")
    generator = torch.Generator().manual_seed(0)
    tokens = torch.randint(0, base.alphabet.n + 1, (8, 24), generator=generator)
    found = model(tokens, torch.linspace(0.1, 4.0, 8))
    assert float((found - outputs(sedd.load(tuned, device="cpu"))).abs().max()) < 1e-6


def test_a_run_without_changes_has_no_adapter(parent, tmp_path, monkeypatch, capsys):
    failed(monkeypatch, capsys, "export", parent, tmp_path / "out", "--adapter")
    failed(monkeypatch, capsys, "export", parent, tmp_path / "out", "--adapter", "--merge")
    assert not list(tmp_path.iterdir())


def test_an_adapted_model_is_a_parent_too(tuned, tmp_path):
    config = sedd.load_config(tuned / "config.yaml", f"training.init_from={tuned}", "model.lora=null")
    trainer = sedd.Trainer(config, run=tmp_path / "run")
    expected = sedd.load(tuned, device="cpu").bound(trainer.data.valid, masks=2, count=256).nats
    assert trainer.evaluate().nats == pytest.approx(expected, abs=1e-6)
    assert len(trainer.lineage) == 2


def test_targets_that_are_not_there_and_a_missing_parent_are_refused(parent, tiny, tmp_path):
    with pytest.raises(ConfigError) as caught:
        sedd.Trainer(tiny("model.lora={}"), run=tmp_path / "run")
    assert caught.value.keys == ("training.init_from",)
    config = sedd.load_config(parent / "config.yaml", f"training.init_from={parent}", "model.lora.targets=[query]")
    with pytest.raises(ConfigError) as caught:
        sedd.Trainer(config, run=tmp_path / "run")
    assert caught.value.keys == ("model.lora.targets",)


def test_layers_of_any_network_are_adapted():
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(5, 7), nn.ReLU(), nn.Linear(7, 3))
    x = torch.randn(11, 4, 5)
    before = network(x)
    adapt(network, Lora(rank=2, targets=("2",)), seed=1)
    assert torch.equal(network(x), before)
    assert [name for name, p in network.named_parameters() if p.requires_grad] == ["2.lora_A", "2.lora_B"]
    network[2].lora_B.data.normal_()
    adapted = network(x)
    plain = nn.Sequential(nn.Linear(5, 7), nn.ReLU(), nn.Linear(7, 3))
    plain.load_state_dict(merged_tensors(network.state_dict(), Lora(rank=2).scale))
    torch.testing.assert_close(plain(x), adapted, atol=1e-5, rtol=1e-5)
    assert base_tensors(network.state_dict()).keys() == plain.state_dict().keys()
