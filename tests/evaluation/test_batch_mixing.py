"""A network that mixes the sequences of a batch is told from one that does not."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

import sedd
from sedd.diffusion.process import Process
from sedd.evaluation.batch_mixing import batch_mixing
from sedd.runs.history import History


class Mixing(nn.Module):
    """Looks at its own tokens, and by `mix` in a way of its own at the rest of the batch."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind = kind
        self.table, self.norm, self.drop = nn.Embedding(21, 20), nn.BatchNorm1d(20), nn.Dropout(0.2)
        self.passes = 0

    def forward(self, tokens: Tensor, sigma: Tensor, mask: Tensor | None = None) -> Tensor:
        x: Tensor = self.table(tokens)
        self.passes += 1
        match self.kind:
            case "mean":
                return x + 0.01 * x.mean(0, keepdim=True) if self.training else x
            case "norm":
                return self.norm(x.transpose(1, 2)).transpose(1, 2)
            case "attention":
                return x + torch.softmax(0.1 * x.flatten(0, 1) @ x.flatten(0, 1).T, -1).matmul(x.flatten(0, 1)).view_as(
                    x
                )
            case "dropout":
                return self.drop(x)
            case "unsteady":
                return x * self.passes
            case "zero":
                return x * 0.0
            case "broken":
                return x * math.nan
        return x


@pytest.fixture
def process(tiny):
    return Process.of(tiny(), 20)


@pytest.mark.parametrize("kind", ["mean", "norm", "attention"])
def test_a_mixing_network_is_seen(process, kind):
    assert batch_mixing(Mixing(kind), process, torch.device("cpu"), max_length=24) > 0.003


@pytest.mark.parametrize("kind", ["none", "dropout", "zero"])
def test_a_network_that_is_right_has_exactly_none(process, kind):
    network, state = Mixing(kind), torch.get_rng_state()
    assert batch_mixing(network, process, torch.device("cpu"), max_length=24) == 0.0
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("kind", ["unsteady", "broken"])
def test_where_it_cannot_be_known_nothing_is_said(process, kind):
    assert math.isnan(batch_mixing(Mixing(kind), process, torch.device("cpu"), max_length=24))


def test_our_network_has_none(tiny, tmp_path):
    trainer = sedd.Trainer(tiny("model.dropout=0.3", "training.eval_every=4", "optim.lr=0.01"), run=tmp_path / "run")
    trainer.fit(progress=False)
    assert [bound.batch_mixing for bound in History.read(tmp_path / "run").bounds] == [0.0, 0.0]


class InTraining(nn.Module):
    """Mixes in training mode alone."""

    def __init__(self, config: sedd.Config) -> None:
        super().__init__()
        self.inner = Mixing("none")
        self.mix = nn.Parameter(torch.tensor(1.0))

    def forward(self, tokens: Tensor, sigma: Tensor, mask: Tensor | None = None) -> Tensor:
        x = self.inner(tokens, sigma, mask)
        return x + self.mix * x.roll(1, 0) if self.training else x


def test_a_run_whose_network_mixes_is_called_a_leak(tiny, tmp_path):
    config = tiny("training.n_iters=60", "training.eval_every=20", "training.log_every=2")
    sedd.Trainer(config, model=InTraining(config), run=tmp_path / "run").fit(progress=False)
    verdict = sedd.diagnose(tmp_path / "run").verdict
    assert verdict.kind == "leak"
    assert verdict.went_wrong
