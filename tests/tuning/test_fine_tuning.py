"""A run that begins with the weights of another one: `training.init_from`, `optim.groups`, and exports of it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from torch import nn

import sedd
from sedd.errors import CheckpointError, ConfigError
from sedd.runs import checkpoint
from sedd.runs.lineage import lineage_of, tensors_sha256
from tests.cli.commands import sedd_
from tests.conftest import TINY
from tests.foreign.published import network, sedd_hub


@pytest.fixture(scope="module")
def parent(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("parent") / "run"
    sedd.Trainer(sedd.load_config("quickstart", *TINY, "ema.decay=0.5"), run=path).fit(progress=False)
    return path


def child(parent: Path, *overrides: str) -> sedd.Config:
    return sedd.load_config(parent / "config.yaml", f"training.init_from={parent}", *overrides)


@pytest.mark.parametrize("weights", ["ema", "model"])
def test_the_bound_at_step_0_is_the_parents_bit_for_bit(parent, tmp_path, weights):
    trainer = sedd.Trainer(child(parent, f"training.init_weights={weights}"), run=tmp_path / "run")
    model = sedd.load(parent, weights=weights, device="cpu")
    assert trainer.state.step == 0
    assert trainer.evaluate().nats == model.bound(trainer.data.valid, masks=2, count=256).nats
    (ancestor,) = trainer.lineage
    assert ancestor.sha256 == tensors_sha256(model.network.state_dict())
    assert (ancestor.step, ancestor.weights) == (model.step, weights)


def test_a_run_goes_on_without_its_parent_and_keeps_its_lineage(parent, tmp_path):
    moved = tmp_path / "parent"
    shutil.copytree(parent, moved)
    config = child(moved)
    straight = sedd.Trainer(config, run=tmp_path / "straight")
    straight.fit(progress=False)
    sedd.Trainer(config, run=tmp_path / "run").fit(until=4, progress=False)
    shutil.rmtree(moved)
    resumed = sedd.Trainer(config, run=tmp_path / "run", resume=True)
    resumed.fit(progress=False)
    assert resumed.lineage == straight.lineage
    (a, b) = (checkpoint.read(checkpoint.listing(run / "checkpoints")[-1]) for run in
              (tmp_path / "straight", tmp_path / "run"))  # fmt: skip
    assert all(torch.equal(a.tensors[g][n], b.tensors[g][n]) for g in a.tensors for n in a.tensors[g])
    assert "fine-tuned from" in (tmp_path / "run" / "environment.json").read_text()


def test_an_interruption_of_the_first_step_goes_back_to_the_parent(parent, tmp_path, monkeypatch):
    trainer = sedd.Trainer(child(parent), run=tmp_path / "run")
    before = trainer.evaluate().nats
    step = trainer.optimizer.step

    def interrupted(*arguments, **options):
        step(*arguments, **options)
        raise KeyboardInterrupt

    monkeypatch.setattr(trainer.optimizer, "step", interrupted)
    with pytest.raises(KeyboardInterrupt):
        next(trainer.steps())
    monkeypatch.undo()
    assert trainer.evaluate().nats == before


def test_exports_and_grandchildren_have_the_whole_lineage(parent, tmp_path):
    sedd.Trainer(child(parent), run=tmp_path / "child").fit(progress=False)
    sedd_("export", tmp_path / "child", tmp_path / "out")
    config = sedd.load_config(parent / "config.yaml", f"training.init_from={tmp_path / 'out'}")
    grandchild = sedd.Trainer(config, run=tmp_path / "grandchild")
    assert len(grandchild.lineage) == 2
    assert grandchild.lineage[0].run == json.loads((tmp_path / "child" / "environment.json").read_text())["run"]
    assert grandchild.lineage[1].run == json.loads((parent / "environment.json").read_text())["run"]
    files = b"".join(path.read_bytes() for path in (tmp_path / "out").iterdir())
    assert str(parent).encode() not in files


@pytest.mark.parametrize(
    ("override", "named"),
    [
        ("model.hidden_size=32", "model.hidden_size"),
        ("model.n_heads=1", "model.n_heads"),
        ("model.head=score", "model.head"),
        ("graph.type=uniform", "graph.type"),
        ("data.alphabet=esm", "esm"),
    ],
)
def test_what_does_not_fit_is_refused_by_name(parent, tmp_path, override, named):
    (tmp_path / "few.fasta").write_text("".join(f">{i}\nMKVLAAGIV{'ACDEFGHIKL'[i % 10] * 3}\n" for i in range(100)))
    data = (f"data.train={tmp_path / 'few.fasta'}", "data.holdout=0.3") if "alphabet" in override else ()
    with pytest.raises(ConfigError, match=named.replace(".", r"\.")) as caught:
        sedd.Trainer(child(parent, override, *data), run=tmp_path / "run")
    assert caught.value.keys == ("training.init_from",)
    assert not (tmp_path / "run").exists()


def test_a_parent_that_is_not_there_is_refused(parent, tmp_path):
    with pytest.raises(CheckpointError):
        sedd.Trainer(child(parent, f"training.init_from={tmp_path / 'nowhere'}"), run=tmp_path / "run")


def test_groups_have_their_own_learning_rate_or_none(parent, tmp_path):
    groups = [{"pattern": "vocab_embed.*", "freeze": True}, {"pattern": "blocks.*", "lr_factor": 1e-3}]
    config = child(parent).replace(optim={"groups": groups, "warmup": 0, "weight_decay": 0.0})
    trainer = sedd.Trainer(config, run=tmp_path / "run")
    before = {name: tensor.clone() for name, tensor in trainer.network.state_dict().items()}
    trainer.fit(until=1, progress=False)
    change = {
        name: float((tensor - before[name]).abs().max())
        for name, tensor in trainer.network.state_dict().items()
        if tensor.is_floating_point()
    }
    # The first step of AdamW changes each number that has a gradient by its learning rate.
    lr = config.optim.lr
    assert change["vocab_embed.embedding"] == 0.0
    assert change["blocks.0.mlp.0.weight"] == pytest.approx(1e-3 * lr, rel=0.05)
    assert change["output_layer.linear.weight"] == pytest.approx(lr, rel=0.05)
    sedd.Trainer(config, run=tmp_path / "run", resume=True)  # its moments fit


def test_a_group_that_fits_nothing_is_refused(parent, tmp_path):
    with pytest.raises(ConfigError) as caught:
        sedd.Trainer(child(parent).replace(optim={"groups": [{"pattern": "block.*"}]}), run=tmp_path / "run")
    assert caught.value.keys == ("optim.groups.0.pattern",)


def test_lineage_is_read_back(parent, tmp_path):
    trainer = sedd.Trainer(child(parent), run=tmp_path / "run")
    assert lineage_of({"lineage": [one.to_dict() for one in trainer.lineage]}) == trainer.lineage
    assert lineage_of({}) == ()


def test_imported_weights_are_fine_tuned(tmp_path):
    sedd_("import", "weights", sedd_hub(tmp_path / "hub", network().state_dict()), "--run", tmp_path / "imported",
          "--alphabet", "protein")  # fmt: skip
    options = ("data.train=synthetic", "training.n_iters=2", "curriculum.preschool_time=1", "optim.warmup=1")
    config = sedd.load_config(
        tmp_path / "imported" / "config.yaml", f"training.init_from={tmp_path / 'imported'}", *options, "device=cpu"
    )
    trainer = sedd.Trainer(config, run=tmp_path / "run")
    own, expected = trainer.network.state_dict(), network().state_dict()
    assert all(torch.equal(own[name], expected[name]) for name in expected)
    assert trainer.lineage[0].imported is not None
    trainer.fit(progress=False)
    assert sedd.load(tmp_path / "run", device="cpu").step == 2


class Doubled(nn.Module):
    """A network of a user."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.table = nn.Embedding(21, size)
        self.head = nn.Linear(size, 20)

    def forward(self, tokens, sigma, mask=None):
        return self.head(2.0 * self.table(tokens))


def test_a_network_of_ones_own_is_fine_tuned_and_compared_by_its_tensors(tiny, tmp_path):
    sedd.Trainer(tiny(), model=Doubled(8), run=tmp_path / "parent").fit(progress=False)
    config = tiny(f"training.init_from={tmp_path / 'parent'}")
    trainer = sedd.Trainer(config, model=Doubled(8), run=tmp_path / "run")
    parent = sedd.load(tmp_path / "parent", model=Doubled(8), device="cpu")
    assert trainer.evaluate().nats == parent.bound(trainer.data.valid, masks=2, count=256).nats
    with pytest.raises(ConfigError, match=r"table\.weight"):
        sedd.Trainer(config, model=Doubled(9), run=tmp_path / "other")
