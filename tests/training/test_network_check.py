"""A user's network is compared with the configuration at once, and a loaded one is trained on."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

import sedd
from tests.training.test_interruptions import Counting
from tests.training.test_trainer import Brittle


class Outputs(Brittle):
    """A table of another size."""

    def __init__(self, states: int = 21, outputs: int = 20) -> None:
        super().__init__(set())
        self.table = nn.Embedding(states, outputs)


class FixedLength(Outputs):
    """Has learnt positions, and too few of them."""

    def __init__(self, positions: int) -> None:
        super().__init__()
        self.positions = nn.Parameter(torch.zeros(positions, 20))

    def forward(self, tokens: Tensor, sigma: Tensor, mask: Tensor | None = None) -> Tensor:
        return super().forward(tokens, sigma, mask) + self.positions[torch.arange(tokens.shape[1])]


class NoMask(Outputs):
    """Cannot be called with a mask."""

    def forward(self, tokens: Tensor, sigma: Tensor) -> Tensor:
        return self.table(tokens)


class BadMask(Outputs):
    """Takes the mask for one of another shape."""

    def forward(self, tokens: Tensor, sigma: Tensor, mask: Tensor | None = None) -> Tensor:
        x = self.table(tokens)
        return x if mask is None else x.masked_fill(~mask, 0.0)


class Integers(Outputs):
    """Returns tokens."""

    def forward(self, tokens: Tensor, sigma: Tensor, mask: Tensor | None = None) -> Tensor:
        return super().forward(tokens, sigma, mask).long()


class Several(Outputs):
    """Returns a tuple."""

    def forward(self, tokens: Tensor, sigma: Tensor, mask: Tensor | None = None) -> tuple[Tensor, None]:
        return super().forward(tokens, sigma, mask), None


WRONG = {
    "too many outputs": (lambda: Outputs(21, 21), r"21\).*20\)"),
    "too few states": (lambda: Outputs(20, 20), "embedding of 21"),
    "too few positions": (lambda: FixedLength(23), "24"),
    "no mask": (NoMask, "NoMask"),
    "a mask of another shape": (BadMask, "BadMask"),
    "integers": (Integers, "int64"),
    "a tuple": (Several, "tuple"),
}


@pytest.mark.parametrize(("network", "named"), WRONG.values(), ids=WRONG)
def test_a_network_that_does_not_fit_is_refused_before_it_trains(tiny, tmp_path, network, named):
    with pytest.raises(sedd.ConfigError, match=named):
        sedd.Trainer(tiny(), model=network(), run=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_the_check_changes_nothing(tiny):
    network = Counting()
    network.train()
    torch.manual_seed(7)
    expected = torch.rand(3)
    torch.manual_seed(7)
    sedd.Trainer(tiny(), model=network)
    assert torch.equal(torch.rand(3), expected)
    assert network.training
    assert network.passes == 0
    sedd.Trainer(tiny(), model=FixedLength(24))


def test_a_transformer_of_another_size_is_refused_by_its_keys(tiny):
    network = sedd.Trainer(tiny("model.hidden_size=24", "model.n_blocks=2", "model.n_heads=3")).network
    with pytest.raises(sedd.ConfigError) as caught:
        sedd.Trainer(tiny(), model=network)
    assert caught.value.keys == ("model.hidden_size", "model.n_blocks", "model.n_heads")
    same = tiny("model.hidden_size=24", "model.n_blocks=2", "model.n_heads=3")
    assert sedd.Trainer(same, model=network).network is network


def test_a_loaded_network_is_trained_on_and_its_average_begins_with_it(tiny, tmp_path):
    sedd.Trainer(tiny(), run=tmp_path / "run").fit(progress=False)
    loaded = sedd.load(tmp_path / "run")
    before = {name: tensor.clone() for name, tensor in loaded.network.state_dict().items()}
    trainer = sedd.Trainer(tiny("optim.warmup=1", "ema.decay=0.5"), model=loaded.network)
    for network in (trainer.network, trainer.ema.network):
        assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())
    reports = list(trainer.steps())
    assert reports[-1].bound is not None
    for network in (trainer.network, trainer.ema.network):
        assert any(not torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())
    assert all(torch.equal(tensor, before[name]) for name, tensor in loaded.network.state_dict().items())
    assert not any(p.requires_grad for p in loaded.network.parameters())
