"""Muon for the matrices of the blocks and AdamW for the rest: updates, groups, checkpoints, skipped steps."""

from __future__ import annotations

import copy
import shutil
from typing import Any

import pytest
import torch
from torch import nn

import sedd
from sedd.config.config import Config
from sedd.errors import CheckpointError, ConfigError
from sedd.runs import checkpoint
from sedd.training.muon import MuonWithAdamW
from sedd.training.optimizer import LR_FACTOR, make_optimizer
from tests.training.test_trainer import Brittle, contents

MUON = ("optim.optimizer=Muon", "model.n_blocks=2")
OF_BLOCKS = ("attn_qkv.weight", "attn_out.weight", "mlp.0.weight", "mlp.2.weight")


class Blocks(nn.Module):
    """A user's network: a table, two blocks with a matrix and a bias, a head."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(21, 12)
        self.blocks = nn.ModuleList(nn.Linear(12, 12) for _ in range(2))
        self.head = nn.Linear(12, 20)

    def forward(self, tokens: torch.Tensor, sigma: torch.Tensor, mask: torch.Tensor | None = None) -> torch.Tensor:
        x = self.table(tokens)
        for block in self.blocks:
            x = x + block(x)
        out: torch.Tensor = self.head(x)
        return out


def parts(trainer: sedd.Trainer) -> dict[str, set[str]]:
    """The names of the parameters that each of the two optimizers updates."""
    optimizer = trainer.optimizer
    assert isinstance(optimizer, MuonWithAdamW)
    names = {id(parameter): name for name, parameter in trainer.network.named_parameters()}
    return {
        type(part).__name__: {names[id(p)] for group in part.param_groups for p in group["params"]}
        for part in optimizer.parts
    }


def with_gradients(network: nn.Module, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    for parameter in network.parameters():
        parameter.grad = torch.randn(parameter.shape, generator=generator)


def test_muon_has_the_matrices_of_the_blocks_and_adamw_the_rest(tiny):
    trainer = sedd.Trainer(tiny(*MUON))
    expected = {f"blocks.{index}.{name}" for index in range(2) for name in OF_BLOCKS}
    found = parts(trainer)
    assert found["Muon"] == expected
    assert found["AdamW"] == {name for name, _ in trainer.network.named_parameters()} - expected
    assert len(trainer.optimizer.param_groups) == 3  # matrices of Muon; of AdamW; vectors and tables


@pytest.mark.parametrize("shape", [(24, 24), (48, 16), (16, 48)])
def test_an_update_of_muon_is_the_orthogonal_factor_of_its_momentum(shape):
    torch.manual_seed(0)
    network = nn.Sequential(nn.ModuleList([nn.Linear(shape[1], shape[0], bias=False)]))
    weight = network[0][0].weight
    optimizer = make_optimizer(network, Config(optim={"optimizer": "Muon", "lr": 0.1, "weight_decay": 0.5}))
    momentum = torch.zeros(shape)
    for seed in range(3):
        with_gradients(network, seed)
        # B <- 0.95 B + 0.05 g; the update, with Nesterov, is U V^T of 0.95 B + 0.05 g = U S V^T.
        momentum = 0.95 * momentum + 0.05 * weight.grad
        u, _, vt = torch.linalg.svd(0.95 * momentum + 0.05 * weight.grad, full_matrices=False)
        before = weight.detach().clone()
        optimizer.step()
        scale = 0.1 * 0.2 * max(shape) ** 0.5  # learning rate, and the factor that matches AdamW
        update = ((1 - 0.1 * 0.5) * before - weight.detach()) / scale
        inside = u.T @ update @ vt.T
        # Newton-Schulz ends near 1 (0.68 to 1.13), not at 1, in the singular directions of the momentum.
        assert inside.diagonal().min() > 0.6
        assert inside.diagonal().max() < 1.3
        assert (inside - torch.diag(inside.diagonal())).abs().max() < 0.05
        assert torch.allclose(update, u @ inside @ vt, atol=0.05)


def test_the_other_parameters_are_updated_as_by_adamw_alone():
    torch.manual_seed(0)
    mixed, plain = (network := Blocks()), copy.deepcopy(network)
    optim: dict[str, Any] = {"lr": 0.01, "weight_decay": 0.1, "beta2": 0.95}
    optimizers = [
        make_optimizer(one, Config(optim=optim | {"optimizer": name}))
        for one, name in ((mixed, "Muon"), (plain, "AdamW"))
    ]
    for seed in range(4):
        for one, optimizer in zip((mixed, plain), optimizers, strict=True):
            with_gradients(one, seed)
            optimizer.step()
    expected = dict(plain.named_parameters())
    for name, parameter in mixed.named_parameters():
        of_muon = name in ("blocks.0.weight", "blocks.1.weight")
        assert torch.equal(parameter, expected[name]) != of_muon, name


def test_a_muon_run_resumes_bit_for_bit(tiny, tmp_path):
    config = tiny(*MUON, "optim.weight_decay=0.1", "optim.grad_clip=0.5", "model.dropout=0.1")
    for name in ("straight", "stopped"):
        trainer = sedd.Trainer(config, run=tmp_path / name)
        trainer.fit(until=8 if name == "straight" else 3, progress=False)
    sedd.Trainer(config, run=tmp_path / "stopped", resume=True).fit(progress=False)
    assert contents(tmp_path / "straight") == contents(tmp_path / "stopped")
    saved = checkpoint.latest(tmp_path / "stopped" / "checkpoints")[1].tensors["optimizer"]
    assert {name.rpartition("/")[2] for name in saved} == {"momentum_buffer", "step", "exp_avg", "exp_avg_sq"}
    assert saved["blocks.0.attn_qkv.weight/momentum_buffer"].abs().sum() > 0
    assert sedd.load(tmp_path / "stopped", which="latest").step == 8


def test_a_run_trains_on_with_the_other_optimizer_only_as_a_new_one(tiny, tmp_path):
    sedd.Trainer(tiny(*MUON), run=tmp_path / "run").fit(until=4, progress=False)
    with pytest.raises(CheckpointError, match=r"optim\.optimizer"):
        sedd.Trainer(tiny("model.n_blocks=2"), run=tmp_path / "run", resume=True)
    with pytest.raises(ConfigError):
        sedd.Trainer(tiny("model.n_blocks=2"), run=tmp_path / "run", resume=True, allow=["optim.optimizer"])
    changed = tiny(*MUON, "optim.momentum=0.9")
    trainer = sedd.Trainer(changed, run=tmp_path / "run", resume=True, allow=["optim.momentum"])
    muon = trainer.optimizer.parts[0]
    assert [group["momentum"] for group in muon.param_groups] == [0.9]
    assert trainer.state.step == 4


def test_a_checkpoint_without_the_momentum_of_muon_is_refused(tiny, tmp_path):
    run = tmp_path / "run"
    sedd.Trainer(tiny(*MUON), run=run).fit(until=4, progress=False)
    _, saved = checkpoint.latest(run / "checkpoints")
    lost = "blocks.1.mlp.0.weight/momentum_buffer"
    tensors = {
        group: {name: tensor for name, tensor in of_group.items() if name != lost}
        for group, of_group in saved.tensors.items()
    }
    shutil.rmtree(run / "checkpoints")
    checkpoint.write(run / "checkpoints", 4, checkpoint.Checkpoint(tensors, saved.state, saved.config, saved.run))
    with pytest.raises(CheckpointError, match=rf"Muon.*{lost}"):
        sedd.Trainer(tiny(*MUON), run=run, resume=True)


def test_a_skipped_step_of_muon_changes_nothing(tiny):
    torch.manual_seed(0)
    model = Brittle({3})
    groups = "optim.groups=[{pattern: '*weight', optimizer: Muon}]"
    trainer = sedd.Trainer(tiny("optim.optimizer=Muon", groups), model=model)
    steps = trainer.steps()
    next(steps), next(steps)
    networks = (trainer.network, trainer.ema.network)
    before = [tensor.clone() for network in networks for tensor in network.state_dict().values()]
    state = {key: tensor.clone() for key, tensor in trainer.parallel.optimizer_state(trainer.optimizer).items()}
    assert next(steps).skipped
    assert all(map(torch.equal, before, [t for network in networks for t in network.state_dict().values()]))
    after = trainer.parallel.optimizer_state(trainer.optimizer)
    assert state.keys() == after.keys()
    assert all(torch.equal(state[key], after[key]) for key in state)
    assert not next(steps).skipped


@pytest.mark.parametrize("first", [1, 0], ids=["the first step", "a later step"])
def test_what_the_device_finds_not_finite_changes_nothing(first):
    """As fused optimizers do for torch's gradient scaler: the host does not know that the step is skipped."""
    torch.manual_seed(0)
    network, twin = (one := Blocks()), copy.deepcopy(one)
    config = Config(optim={"optimizer": "Muon", "lr": 0.1, "weight_decay": 0.1})
    optimizer, plain = make_optimizer(network, config), make_optimizer(twin, config)
    assert optimizer.defaults["fused"]
    for number in range(3):
        bad = number == 1 - first
        for parameter in network.parameters():
            parameter.grad = torch.full_like(parameter, torch.nan if bad else number + 1.0)
        vars(optimizer).update(grad_scale=None, found_inf=torch.tensor(float(bad)))
        optimizer.step()
        if not bad:  # the twin takes the other steps alone
            for parameter in twin.parameters():
                parameter.grad = torch.full_like(parameter, number + 1.0)
            plain.step()
    for mine, other in zip(network.parameters(), twin.parameters(), strict=True):
        assert torch.equal(mine, other)
        kept, expected = optimizer.state[mine], plain.state[other]
        assert kept.keys() == expected.keys()
        assert all(torch.equal(kept[key], expected[key]) for key in kept)


def test_groups_choose_learning_rate_freezing_and_optimizer(tiny):
    groups = (
        "optim.groups=[{pattern: 'blocks.0.*', freeze: true}, {pattern: '*.mlp.*', lr_factor: 0.5}, "
        "{pattern: '*.attn_out.weight', optimizer: AdamW}, {pattern: '*.adaLN_modulation.weight', optimizer: Muon}]"
    )
    trainer = sedd.Trainer(tiny(*MUON, groups))
    assert parts(trainer)["Muon"] == {
        "blocks.1.attn_qkv.weight", "blocks.1.mlp.0.weight", "blocks.1.mlp.2.weight",
        "blocks.1.adaLN_modulation.weight", "output_layer.adaLN_modulation.weight",
    }  # fmt: skip
    muon = trainer.optimizer.parts[0]
    names = {id(parameter): name for name, parameter in trainer.network.named_parameters()}
    factors = {names[id(p)]: group[LR_FACTOR] for group in muon.param_groups for p in group["params"]}
    assert {name for name, factor in factors.items() if factor == 0.5} == {f"blocks.1.{n}" for n in OF_BLOCKS[2:]}
    report = next(trainer.steps())
    for group in trainer.optimizer.param_groups:
        assert group["lr"] == report.lr * group[LR_FACTOR]


def test_low_rank_changes_are_matrices_of_the_blocks(tiny, tmp_path):
    parent, config = tmp_path / "parent", tiny(*MUON)
    sedd.Trainer(config, run=parent).fit(until=4, progress=False)
    lora = config.replace(model={"lora": {"rank": 2}}, training={"init_from": str(parent)})
    trainer = sedd.Trainer(lora)
    (muon,) = trainer.optimizer.parts  # nothing is left for AdamW
    assert len(muon.param_groups[0]["params"]) == 2 * 2 * len(OF_BLOCKS)
    before = trainer.network.blocks[0].attn_qkv.lora_B.clone()
    list(trainer.steps(until=2))
    assert not torch.equal(before, trainer.network.blocks[0].attn_qkv.lora_B)


@pytest.mark.parametrize(
    ("groups", "keys"),
    [("[]", ("optim.optimizer",)), ("[{pattern: '*', optimizer: Muon}]", ("optim.groups",))],
)
def test_muon_is_refused_where_it_has_no_matrix_or_another_parameter(tiny, groups, keys):
    network = nn.Sequential(nn.Embedding(21, 8), nn.Linear(8, 20))
    config = tiny("optim.optimizer=Muon", f"optim.groups={groups}")
    with pytest.raises(ConfigError) as caught:
        make_optimizer(network, config)
    assert caught.value.keys == keys


def test_a_group_names_an_optimizer_only_beside_muon(tiny):
    with pytest.raises(ConfigError):
        tiny("optim.groups=[{pattern: '*', optimizer: AdamW}]")
