"""The diffusion transformer (DDiT) of SEDD: rotary embeddings, adaLN conditioning on sigma, no biases in attention.

With `head: score` it is, parameter for parameter and name for name, the network that Lou et al. (2024) published, so
that its checkpoints fit. Ideas: DiT (Peebles and Xie 2023), rotary embeddings (Su et al. 2021).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sedd.model.attention import Layout, Rotary, attend, padding_mask
from sedd.model.dropout import Dropout, dropout_bits
from sedd.model.kernels import Gelu, Linear, gather_rows, scatter_rows
from sedd.model.qk_norm import QueryKeyNorm
from sedd.model.segments import Segments

if TYPE_CHECKING:
    from sedd.plugins.networks import Ddit


class LayerNorm(nn.Module):
    """Layer norm with a gain, scaled and shifted by the conditioning, in float32."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(size))

    def forward(self, x: Tensor, shift: Tensor, scale: Tensor) -> Tensor:
        """Normalise x (batch, length, size); `shift` and `scale` are (batch, 1, size), or (1, length, size) where
        sequences are packed."""
        return F.layer_norm(x.float(), self.weight.shape) * (self.weight * (1 + scale)) + shift


class Modulation(nn.Linear):
    """From the conditioning (batch, cond_dim) to shifts, scales and gates (batch, 1, size), in float32.

    It is computed once per sequence, so that bfloat16 would save nothing. Rounded conditioning was seen to move the
    step at which a run leaves its first plateau.
    """

    conditions: ClassVar[bool] = True
    """It is no target of low-rank adaptation by default."""

    def forward(self, condition: Tensor) -> Tensor:
        """Map (batch, cond_dim) to (batch, 1, size)."""
        with torch.autocast(condition.device.type, enabled=False):
            return super().forward(condition)[:, None]


class SigmaEmbedding(nn.Module):
    """Sinusoids of sigma through a small MLP, (batch,) to (batch, cond_dim), in float32 as in `Modulation`."""

    frequencies = 256

    def __init__(self, size: int) -> None:
        super().__init__()
        self.mlp = nn.Sequential(nn.Linear(self.frequencies, size), nn.SiLU(), nn.Linear(size, size))

    def forward(self, sigma: Tensor) -> Tensor:
        """Embed sigma (batch,) as (batch, cond_dim)."""
        half = self.frequencies // 2
        steps = torch.arange(half, dtype=torch.float32, device=sigma.device)
        angles = sigma.float()[:, None] * torch.exp(-math.log(10_000) / half * steps)
        with torch.autocast(sigma.device.type, enabled=False):
            embedded: Tensor = self.mlp(torch.cat([angles.cos(), angles.sin()], -1))
        return embedded


class Embedding(nn.Module):
    """A table of token vectors, named and initialised as in SEDD."""

    no_weight_decay = True

    def __init__(self, states: int, size: int) -> None:
        super().__init__()
        self.embedding = nn.Parameter(torch.empty(states, size))
        nn.init.kaiming_uniform_(self.embedding, a=math.sqrt(5))

    def forward(self, tokens: Tensor) -> Tensor:
        """Look up tokens (batch, length) as (batch, length, size)."""
        return F.embedding(tokens, self.embedding)


class Block(nn.Module):
    """One transformer block whose norms are shifted, scaled and gated by the conditioning."""

    def __init__(self, config: Ddit) -> None:
        super().__init__()
        size = config.hidden_size
        self.n_heads, self.attention = config.n_heads, config.attention
        self.dropout = Dropout(config.dropout)
        self.norm1 = LayerNorm(size)
        self.attn_qkv = nn.Linear(size, 3 * size, bias=False)
        self.attn_out = nn.Linear(size, size, bias=False)
        self.qk_norm = QueryKeyNorm(size // config.n_heads) if config.qk_norm else None
        self.norm2 = LayerNorm(size)
        self.mlp = nn.Sequential(Linear(size, 4 * size), Gelu(), Linear(4 * size, size))
        self.adaLN_modulation = _zero(Modulation(config.cond_dim, 6 * size))
        # A block with gate 0 gets no gradient until the gate moves, and the gate moves only once the block is useful.
        # An untrained MLP adds noise, but untrained attention adds an average of the residues: only its gate opens.
        self.adaLN_modulation.bias.detach().chunk(6)[2].fill_(config.gate_init)

    def forward(
        self,
        x: Tensor,
        condition: Tensor,
        angles: tuple[Tensor, Tensor],
        layout: Layout,
        bits: Tensor | None,
        positions: Tensor | None = None,
    ) -> Tensor:
        """One block.

        Args:
            x: (batch, length, size).
            condition: (sequences, cond_dim).
            angles: cosines and sines of `Rotary`.
            layout: which positions belong to which sequence.
            bits: (batch, length, 1) int32 random bits of the dropout; None switches it off.
            positions: (N,) flat positions whose output is needed; at the others the MLP is left out.
        """
        modulation = per_token(self.adaLN_modulation(condition), layout)
        shift1, scale1, gate1 = modulation[..., : 3 * x.shape[-1]].chunk(3, -1)
        attended = self._attention(self.norm1(x, shift1, scale1), angles, layout)
        x = x + gate1 * self.dropout(attended, bits)
        shift2, scale2, gate2 = modulation[..., 3 * x.shape[-1] :].chunk(3, -1)
        normed = self.norm2(x, shift2, scale2)
        # The MLP treats every position by itself, so only the positions that are needed are computed.
        mixed = self.mlp(gather_rows(normed, positions))
        if positions is not None:
            mixed = scatter_rows(mixed, positions, normed.shape)
        # The inverted bits are an independent draw.
        out: Tensor = x + gate2 * self.dropout(mixed, None if bits is None else ~bits)
        return out

    def _attention(self, x: Tensor, angles: tuple[Tensor, Tensor], layout: Layout) -> Tensor:
        batch, length, size = x.shape
        qkv = self.attn_qkv(x).view(batch, length, 3, self.n_heads, size // self.n_heads)
        if self.qk_norm is not None:
            qkv = self.qk_norm(qkv)
        # torch's fused attention wins on GPUs; on CPUs its backward is slower than plain matrix products.
        fused = self.attention == "sdpa" or (self.attention == "auto" and x.device.type != "cpu")
        out: Tensor = self.attn_out(attend(qkv, angles, layout, fused=fused).reshape(x.shape))
        return out


class OutputLayer(nn.Module):
    """Final norm and projection; zero at the start, so that an untrained network predicts uniformly."""

    def __init__(self, config: Ddit, outputs: int) -> None:
        super().__init__()
        self.norm_final = LayerNorm(config.hidden_size)
        self.linear = _zero(nn.Linear(config.hidden_size, outputs))
        self.adaLN_modulation = _zero(Modulation(config.cond_dim, 2 * config.hidden_size))

    def forward(self, x: Tensor, condition: Tensor, layout: Layout, positions: Tensor | None) -> Tensor:
        """Map x (batch, length, size) to (batch, length, outputs), or to (N, outputs) at flat `positions` (N,)."""
        projected: Tensor = self.linear(gather_rows(self.normed(x, condition, layout), positions))
        return projected

    def normed(self, x: Tensor, condition: Tensor, layout: Layout) -> Tensor:
        """What the projection reads, (batch, length, size)."""
        shift, scale = per_token(self.adaLN_modulation(condition), layout).chunk(2, -1)
        out: Tensor = self.norm_final(x, shift, scale)
        return out


class Transformer(nn.Module):
    """DDiT: noisy tokens and sigma in, `outputs` numbers per position out.

    Args:
        config: the `model` section.
        states: number of token ids in the input.
        outputs: numbers per position in the output.
    """

    selective: ClassVar[bool] = True
    """`forward` accepts `positions` and `keys`; see `sedd.diffusion.loss.is_selective`."""
    packs: ClassVar[bool] = True
    """`forward` accepts `segments`; see `sedd.diffusion.packing.packs`."""

    def __init__(self, config: Ddit, *, states: int, outputs: int) -> None:
        super().__init__()
        self.time_conditioning, self.dropout = config.time_conditioning, config.dropout
        self.vocab_embed = Embedding(states, config.hidden_size)
        self.sigma_map = SigmaEmbedding(config.cond_dim)
        self.rotary_emb = Rotary(config.hidden_size // config.n_heads)
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.n_blocks))
        self.output_layer = OutputLayer(config, outputs)

    def compilable_blocks(self) -> list[nn.Module]:
        """The modules that `training.compile` compiles, one by one and with dynamic shapes."""
        return list(self.blocks)

    def forward(
        self,
        tokens: Tensor,
        sigma: Tensor,
        mask: Tensor | None = None,
        *,
        positions: Tensor | None = None,
        keys: Tensor | None = None,
        segments: Segments | None = None,
    ) -> Tensor:
        """Run the network.

        Args:
            tokens: (batch, length) noisy tokens; (1, length) with `segments`.
            sigma: (sequences,) cumulative noise.
            mask: (batch, length), False at padding, which ends each row; None where there is no padding.
            positions: (N,) indices into the flattened `tokens`, all different, whose output is needed; None means all.
                What only other positions need is not computed.
            keys: (sequences,) int64 below 2^31, the key of each sequence's dropout; None draws them.
            segments: where the sequences of a packed row are; None where each row is a sequence.

        Returns:
            (batch, length, outputs), or (N, outputs) at `positions`.
        """
        condition = self._condition(sigma)
        angles = self.rotary_emb(tokens.shape[1] if segments is None else segments.longest)
        layout: Layout = padding_mask(mask) if segments is None else segments
        count = len(self.blocks)
        bits = dropout_bits(tokens, keys, count, segments) if self.training and self.dropout else [None] * count
        x = self.vocab_embed(tokens)
        for index, block in enumerate(self.blocks):
            x = block(x, condition, angles, layout, bits[index], positions if index == count - 1 else None)
        out: Tensor = self.output_layer(x, condition, layout, positions)
        return out

    def hidden_states(self, tokens: Tensor, sigma: Tensor, mask: Tensor | None = None) -> Iterator[Tensor]:
        """Yield (batch, length, size) after the embedding and after each block, without dropout; the last one is
        normed, shifted and scaled, as the last linear layer reads it. Arguments are those of `forward`."""
        condition, angles, padding = self._condition(sigma), self.rotary_emb(tokens.shape[1]), padding_mask(mask)
        x = self.vocab_embed(tokens)
        for block in self.blocks:
            yield x
            x = block(x, condition, angles, padding, None)
        yield self.output_layer.normed(x, condition, padding)

    def _condition(self, sigma: Tensor) -> Tensor:
        """The conditioning (batch, cond_dim) from sigma (batch,)."""
        return F.silu(self.sigma_map(sigma if self.time_conditioning else torch.zeros_like(sigma)))


def per_token(modulation: Tensor, layout: Layout) -> Tensor:
    """The modulation (sequences, 1, size) as it is added to rows: (1, N, size) where the sequences are packed."""
    return layout.per_token(modulation) if isinstance(layout, Segments) else modulation


def _zero(layer: nn.Linear) -> nn.Linear:
    nn.init.zeros_(layer.weight)
    nn.init.zeros_(layer.bias)
    return layer
