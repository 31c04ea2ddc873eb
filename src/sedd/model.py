"""The diffusion transformer (DDiT) of SEDD: rotary embeddings, adaLN conditioning on sigma, no biases in attention.

With `head: score` it is, parameter for parameter and name for name, the network that Lou et al. (2024) published,
so that their checkpoints fit. Ideas: DiT (Peebles and Xie 2023), rotary embeddings (Su et al. 2021).
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sedd.sections import Model


class LayerNorm(nn.Module):
    """Layer norm with a gain and no bias, in float32."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(size))

    def forward(self, x: Tensor) -> Tensor:
        return F.layer_norm(x.float(), self.weight.shape, self.weight)


class SigmaEmbedding(nn.Module):
    """Sinusoids of sigma through a small MLP: (batch,) to (batch, cond_dim)."""

    frequencies = 256

    def __init__(self, size: int) -> None:
        super().__init__()
        self.mlp = nn.Sequential(nn.Linear(self.frequencies, size), nn.SiLU(), nn.Linear(size, size))

    def forward(self, sigma: Tensor) -> Tensor:
        half = self.frequencies // 2
        steps = torch.arange(half, dtype=torch.float32, device=sigma.device)
        angles = sigma.float()[:, None] * torch.exp(-math.log(10_000) / half * steps)
        embedded: Tensor = self.mlp(torch.cat([angles.cos(), angles.sin()], -1))
        return embedded


class Embedding(nn.Module):
    """A table of token vectors, named and initialised as in SEDD."""

    def __init__(self, states: int, size: int) -> None:
        super().__init__()
        self.embedding = nn.Parameter(torch.empty(states, size))
        nn.init.kaiming_uniform_(self.embedding, a=math.sqrt(5))

    def forward(self, tokens: Tensor) -> Tensor:
        return F.embedding(tokens, self.embedding)


class Rotary(nn.Module):
    """Cosines and sines of the rotary embedding, (length, head_dim), float32."""

    inv_freq: Tensor

    def __init__(self, head_dim: int) -> None:
        super().__init__()
        self.register_buffer("inv_freq", 10_000.0 ** (-torch.arange(0, head_dim, 2).float() / head_dim))

    def forward(self, length: int) -> tuple[Tensor, Tensor]:
        positions = torch.arange(length, dtype=torch.float32, device=self.inv_freq.device)
        angles = torch.outer(positions, self.inv_freq).repeat(1, 2)
        return angles.cos(), angles.sin()


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotate pairs (i, i + head_dim/2) of x (batch, heads, length, head_dim) by their positions' angles."""
    left, right = x.chunk(2, -1)
    return x * cos + torch.cat([-right, left], -1) * sin


def attend(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, *, fused: bool) -> Tensor:
    """Attention over (batch, heads, length, head_dim); keys where `mask` (batch, length) is False are not seen."""
    if fused:
        seen = None if mask is None else mask[:, None, None, :]
        fast: Tensor = F.scaled_dot_product_attention(q, k, v, seen)
        return fast
    weights = (q * q.shape[-1] ** -0.5) @ k.transpose(-1, -2)
    if mask is not None:
        weights = weights.masked_fill(~mask[:, None, None, :], -torch.inf)
    mixed: Tensor = torch.softmax(weights, -1).to(v.dtype) @ v
    return mixed


class Block(nn.Module):
    """One transformer block whose norms are shifted, scaled and gated by the conditioning."""

    def __init__(self, config: Model) -> None:
        super().__init__()
        size = config.hidden_size
        self.n_heads, self.dropout, self.attention = config.n_heads, config.dropout, config.attention
        self.norm1 = LayerNorm(size)
        self.attn_qkv = nn.Linear(size, 3 * size, bias=False)
        self.attn_out = nn.Linear(size, size, bias=False)
        self.norm2 = LayerNorm(size)
        self.mlp = nn.Sequential(nn.Linear(size, 4 * size), nn.GELU(approximate="tanh"), nn.Linear(4 * size, size))
        self.adaLN_modulation = _zero(nn.Linear(config.cond_dim, 6 * size))

    def forward(self, x: Tensor, condition: Tensor, angles: tuple[Tensor, Tensor], mask: Tensor | None) -> Tensor:
        shift1, scale1, gate1, shift2, scale2, gate2 = self.adaLN_modulation(condition)[:, None].float().chunk(6, -1)
        attended = self._attention(self.norm1(x) * (1 + scale1) + shift1, angles, mask)
        x = x + gate1 * F.dropout(attended, self.dropout, self.training)
        mixed = self.mlp(self.norm2(x) * (1 + scale2) + shift2)
        out: Tensor = x + gate2 * F.dropout(mixed, self.dropout, self.training)
        return out

    def _attention(self, x: Tensor, angles: tuple[Tensor, Tensor], mask: Tensor | None) -> Tensor:
        batch, length, size = x.shape
        qkv = self.attn_qkv(x).view(batch, length, 3, self.n_heads, size // self.n_heads)
        q, k, v = qkv.permute(2, 0, 3, 1, 4).unbind(0)
        cos, sin = (part.to(q.dtype) for part in angles)
        # torch's fused attention wins on GPUs; on CPUs its backward is slower than plain matrix products.
        fused = self.attention == "sdpa" or (self.attention == "auto" and x.device.type != "cpu")
        mixed = attend(rotate(q, cos, sin), rotate(k, cos, sin), v, mask, fused=fused)
        out: Tensor = self.attn_out(mixed.transpose(1, 2).reshape(batch, length, size))
        return out


class OutputLayer(nn.Module):
    """Final norm and projection; zero at the start, so that an untrained network knows nothing."""

    def __init__(self, config: Model, outputs: int) -> None:
        super().__init__()
        self.norm_final = LayerNorm(config.hidden_size)
        self.linear = _zero(nn.Linear(config.hidden_size, outputs))
        self.adaLN_modulation = _zero(nn.Linear(config.cond_dim, 2 * config.hidden_size))

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        shift, scale = self.adaLN_modulation(condition)[:, None].float().chunk(2, -1)
        projected: Tensor = self.linear(self.norm_final(x) * (1 + scale) + shift)
        return projected


class Transformer(nn.Module):
    """DDiT: noisy tokens and sigma in, one vector of `outputs` numbers per residue out.

    Args:
        config: the model section.
        states: number of token ids that can come in.
        outputs: numbers per residue that go out.
    """

    def __init__(self, config: Model, *, states: int, outputs: int) -> None:
        super().__init__()
        self.time_conditioning = config.time_conditioning
        self.vocab_embed = Embedding(states, config.hidden_size)
        self.sigma_map = SigmaEmbedding(config.cond_dim)
        self.rotary_emb = Rotary(config.hidden_size // config.n_heads)
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.n_blocks))
        self.output_layer = OutputLayer(config, outputs)

    def forward(self, tokens: Tensor, sigma: Tensor, mask: Tensor | None = None) -> Tensor:
        """Run the network.

        Args:
            tokens: (batch, length) noisy tokens.
            sigma: (batch,) cumulative noise.
            mask: (batch, length), False at pads; None where there are no pads.

        Returns:
            (batch, length, outputs).
        """
        condition = F.silu(self.sigma_map(sigma if self.time_conditioning else torch.zeros_like(sigma)))
        angles = self.rotary_emb(tokens.shape[1])
        x = self.vocab_embed(tokens)
        for block in self.blocks:
            x = block(x, condition, angles, mask)
        out: Tensor = self.output_layer(x, condition)
        return out


def _zero(layer: nn.Linear) -> nn.Linear:
    nn.init.zeros_(layer.weight)
    nn.init.zeros_(layer.bias)
    return layer
