"""A network of the shape of ESM-2 for sedd, which the published weights of DPLM and ESM-2 fit."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Annotated, Any, Literal, Self

from annotated_types import Interval
from pydantic import FiniteFloat, model_validator
from torch import Tensor, nn

import sedd
from sedd_network_esm.network import EsmNetwork

ESM_SYMBOLS = 32
"""Symbols of the alphabet `esm`, without MASK."""


class Esm(sedd.Network):
    """The transformer of ESM-2 (Lin et al. 2023): rotary embeddings, norms before each layer, no input for sigma."""

    type: Literal["esm"] = "esm"
    head: Literal["normalised"] = "normalised"
    time_conditioning: Literal[False] = False
    hidden_size: Annotated[int, Interval(ge=4, le=65_536)] = 320
    """Width of the network; a multiple of twice `n_heads`."""
    n_blocks: Annotated[int, Interval(ge=1, le=1_000)] = 6
    """Number of layers."""
    n_heads: Annotated[int, Interval(ge=1, le=1_024)] = 20
    """Number of attention heads."""
    intermediate_size: Annotated[int, Interval(ge=1, le=262_144)] | None = None
    """Width of the MLP; by default four times `hidden_size`."""
    dropout: Annotated[FiniteFloat, Interval(ge=0.0, lt=1.0)] = 0.0
    """Probability that an activation is set to zero in training, after each attention and each MLP."""
    special_tokens: bool = True
    """Put `<cls>` before and `<eos>` after each sequence inside the network; needs `data.alphabet: esm`."""
    token_dropout: bool = True
    """Set the embedding of MASK to zero, and scale the others by (1 - 0.12) / (1 - share of masked tokens)."""
    tie_embeddings: bool = True
    """Use the token embeddings as the last layer too."""
    layer_norm_eps: Annotated[FiniteFloat, Interval(ge=1e-12, le=1e-2)] = 1e-5
    """Number added to the variance in the norms."""

    @model_validator(mode="after")
    def _heads_divide(self) -> Self:
        if self.hidden_size % (2 * self.n_heads):
            raise ValueError(f"hidden_size ({self.hidden_size}) must be n_heads ({self.n_heads}) times an even number")
        return self

    def build(self, states: int, outputs: int) -> nn.Module:
        if self.special_tokens and outputs != ESM_SYMBOLS:
            raise sedd.ConfigError(
                f"model.special_tokens=true with an alphabet of {outputs} symbols, which has no <cls> and <eos>; set "
                "data.alphabet=esm, or model.special_tokens=false",
                keys=["model.special_tokens"],
            )
        return EsmNetwork(
            states,
            outputs,
            size=self.hidden_size,
            blocks=self.n_blocks,
            heads=self.n_heads,
            inner=self.intermediate_size or 4 * self.hidden_size,
            dropout=self.dropout,
            special_tokens=self.special_tokens,
            token_dropout=self.token_dropout,
            tied=self.tie_embeddings,
            eps=self.layer_norm_eps,
        )

    @classmethod
    def published(
        cls, config: Mapping[str, Any], read: Callable[[], Mapping[str, Tensor]]
    ) -> sedd.PublishedWeights | None:
        from sedd_network_esm import weights

        return weights.published(config, read) if weights.recognises(config) else None


@sedd.hookimpl
def sedd_networks() -> list[type[sedd.Network]]:
    return [Esm]
