"""The built-in network, the diffusion transformer of SEDD."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from annotated_types import Interval
from pydantic import FiniteFloat, model_validator
from torch import nn

from sedd.model.transformer import Transformer
from sedd.plugins.contracts import Fraction, Network
from sedd.plugins.hookspecs import hookimpl


class Ddit(Network):
    """The diffusion transformer (DDiT), with rotary embeddings and adaLN conditioning on sigma."""

    type: Literal["transformer"] = "transformer"
    hidden_size: Annotated[int, Interval(ge=8, le=65_536)] = 768
    """Width of the network; a multiple of twice `n_heads`."""
    cond_dim: Annotated[int, Interval(ge=1, le=65_536)] = 128
    """Width of the embedding of sigma."""
    n_blocks: Annotated[int, Interval(ge=1, le=1_000)] = 12
    """Number of transformer blocks."""
    n_heads: Annotated[int, Interval(ge=1, le=1_024)] = 12
    """Number of attention heads."""
    dropout: Annotated[FiniteFloat, Interval(ge=0.0, lt=1.0)] = 0.1
    """Probability that an activation is set to zero in training."""
    gate_init: Fraction = 0.1
    """Initial value of the attention gates. SEDD starts at 0, where attention contributes nothing until its gate has
    moved; such runs stay longer at the loss of the unigram model."""
    qk_norm: bool = False
    """Normalise queries and keys before their product, with learned gains: attention stays stable at higher learning
    rates and in long runs. The published SEDD network has no such norm."""
    attention: Literal["auto", "matmul", "sdpa"] = "auto"
    """`sdpa`: the fused attention of torch; `matmul`: matrix products, whose backward pass is faster on CPUs."""

    @model_validator(mode="after")
    def _heads_divide(self) -> Self:
        if self.hidden_size % self.n_heads or (self.hidden_size // self.n_heads) % 2:
            raise ValueError(
                f"hidden_size ({self.hidden_size}) must be n_heads ({self.n_heads}) times an even number; "
                f"try hidden_size={self.n_heads * 2 * max(1, self.hidden_size // (2 * self.n_heads))}"
            )
        return self

    def build(self, states: int, outputs: int) -> nn.Module:
        return Transformer(self, states=states, outputs=outputs)


@hookimpl
def sedd_networks() -> list[type[Network]]:
    return [Ddit]
