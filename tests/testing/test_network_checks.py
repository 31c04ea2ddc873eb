"""The checks of networks: for each there is a network that fails it, and one whose hidden states are right passes."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

import pytest
import torch
from annotated_types import Interval
from torch import Tensor, nn

import sedd
from sedd.testing import checks_for


class Body(nn.Module):
    """A network that mixes the residues of a sequence, correctly."""

    def __init__(self, width: int, states: int, outputs: int) -> None:
        super().__init__()
        self.embed, self.sigma = nn.Embedding(states, width), nn.Linear(1, width)
        self.mix, self.out = nn.Linear(width, width), nn.Linear(width, outputs)

    def states(self, tokens: Tensor, sigma: Tensor, mask: Tensor | None) -> Tensor:
        x = self.embed(tokens) + self.sigma(sigma[:, None])[:, None]
        return x + self.mix(self.mean(x, mask))

    def mean(self, x: Tensor, mask: Tensor | None) -> Tensor:
        kept = x.new_ones(x.shape[:2]) if mask is None else mask.to(x)
        return (x * kept[..., None]).sum(1, keepdim=True) / kept.sum(1)[:, None, None]

    def forward(self, tokens: Tensor, sigma: Tensor, mask: Tensor | None = None) -> Tensor:
        out: Tensor = self.out(self.states(tokens, sigma, mask))
        return out

    def hidden_states(self, tokens: Tensor, sigma: Tensor, mask: Tensor | None = None) -> Any:
        yield self.embed(tokens)
        yield self.states(tokens, sigma, mask)


class OnePerSequence(Body):
    def forward(self, tokens: Tensor, sigma: Tensor, mask: Tensor | None = None) -> Tensor:
        return super().forward(tokens, sigma, mask).mean(1)


class SeesPadding(Body):
    def mean(self, x: Tensor, mask: Tensor | None) -> Tensor:
        return super().mean(x, None)


class SeesTheBatch(Body):
    def mean(self, x: Tensor, mask: Tensor | None) -> Tensor:
        return super().mean(x, mask).mean(0, keepdim=True)


class OwnGenerator(Body):
    def __init__(self, width: int, states: int, outputs: int) -> None:
        super().__init__(width, states, outputs)
        if not self.embed.weight.is_meta:
            self.embed.weight.data.normal_(generator=torch.Generator().manual_seed(torch.seed()))


class Heavy(Body):
    def __init__(self, width: int, states: int, outputs: int) -> None:
        super().__init__(width + self_is_light(), states, outputs)


def self_is_light() -> int:
    """1 under `torch.device("meta")`: another width there."""
    return int(torch.empty(0).is_meta)


class Forgets(Body):
    def __init__(self, width: int, states: int, outputs: int) -> None:
        super().__init__(width, states, outputs)
        self.scale = 1.0 + torch.rand(()) if not self.embed.weight.is_meta else torch.ones(())

    def forward(self, tokens: Tensor, sigma: Tensor, mask: Tensor | None = None) -> Tensor:
        return super().forward(tokens, sigma, mask) * self.scale


class Detached(Body):
    def forward(self, tokens: Tensor, sigma: Tensor, mask: Tensor | None = None) -> Tensor:
        return super().forward(tokens, sigma, mask).detach() + 0.0 * self.out.bias


class Pooled(Body):
    def hidden_states(self, tokens: Tensor, sigma: Tensor, mask: Tensor | None = None) -> Any:
        yield self.states(tokens, sigma, mask).mean(1)


class Part(sedd.Network):
    """A network of a test."""

    type: Literal["part"] = "part"
    width: Annotated[int, Interval(ge=4, le=4096)] = 1024
    body: ClassVar[Any] = Body

    def build(self, states: int, outputs: int) -> nn.Module:
        return self.body(self.width, states, outputs)


BROKEN = {
    "the_output_has_a_number_for_each_symbol": OnePerSequence,
    "padding_has_no_effect": SeesPadding,
    "other_sequences_have_no_effect": SeesTheBatch,
    "sigma_is_ignored_without_time_conditioning": Body,
    "equal_seeds_give_equal_weights": OwnGenerator,
    "it_is_built_without_memory": Heavy,
    "weights_fit_another_instance": Forgets,
    "gradients_are_finite": Detached,
    "hidden_states_are_by_residue": Pooled,
}


def named(cls: type[sedd.Network], name: str) -> Any:
    return next(check for check in checks_for(cls) if str(check) == name)


@pytest.mark.parametrize("name", BROKEN)
def test_a_network_that_is_wrong_fails_its_check(name: str) -> None:
    class Wrong(Part):
        """A network that is wrong."""

        body: ClassVar[Any] = BROKEN[name]

    with pytest.raises(AssertionError) as caught:
        named(Wrong, name)()
    assert "Wrong(" in str(caught.value)


class Timeless(Part):
    """A network that is right, without sigma."""

    time_conditioning: Literal[False] = False

    def build(self, states: int, outputs: int) -> nn.Module:
        network = Body(self.width, states, outputs)
        network.sigma = nn.Linear(1, self.width).requires_grad_(False)
        network.register_forward_pre_hook(lambda module, given: (given[0], torch.zeros_like(given[1]), given[2]))
        return network


@pytest.mark.parametrize("name", BROKEN)
def test_a_network_that_is_right_passes_and_is_built_small(name: str) -> None:
    named(Timeless, name)()


def test_a_network_that_refuses_every_alphabet_has_the_reason() -> None:
    class Refuses(Part):
        """A network for nothing."""

        def build(self, states: int, outputs: int) -> nn.Module:
            raise sedd.ConfigError("only for 7 symbols")

    with pytest.raises(AssertionError) as caught:
        named(Refuses, "padding_has_no_effect")()
    assert "only for 7 symbols" in str(caught.value)
