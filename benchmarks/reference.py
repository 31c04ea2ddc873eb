"""The yardstick: SEDD trained the plain way, in float32, in one readable file that shares no code with the library.

It does what the published code does (Lou et al. 2024): one DDiT with torch's own attention, dropout after attention and
MLP, AdamW, a loop over all parameters for the average of the weights, the score entropy of the `absorb` graph with
log-linear noise, batches of a fixed number of rows of a fixed length. `PaddedRows` pads each sequence to that length,
`ChunkedRows` cuts the concatenated sequences into pieces of it. Nothing here is slow on purpose.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

EPS = 1e-3
"""Log-linear noise: so many residues are never masked."""


@dataclass(frozen=True)
class Shape:
    """The size of a network."""

    hidden_size: int
    n_blocks: int
    n_heads: int
    length: int
    cond_dim: int = 128
    dropout: float = 0.0
    n: int = 20


class TimestepEmbedder(nn.Module):
    """Sinusoids of sigma through a small MLP."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.mlp = nn.Sequential(nn.Linear(256, size), nn.SiLU(), nn.Linear(size, size))

    def forward(self, sigma: Tensor) -> Tensor:
        frequencies = torch.exp(-math.log(10_000) * torch.arange(128, device=sigma.device) / 128)
        angles = sigma[:, None] * frequencies
        found: Tensor = self.mlp(torch.cat([angles.cos(), angles.sin()], -1))
        return found


class Block(nn.Module):
    """Attention and MLP, modulated by the embedding of sigma."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        size = shape.hidden_size
        self.heads, self.dropout = shape.n_heads, shape.dropout
        self.norm1, self.norm2 = nn.LayerNorm(size, bias=False), nn.LayerNorm(size, bias=False)
        self.qkv, self.out = nn.Linear(size, 3 * size, bias=False), nn.Linear(size, size, bias=False)
        self.mlp = nn.Sequential(nn.Linear(size, 4 * size), nn.GELU(approximate="tanh"), nn.Linear(4 * size, size))
        self.modulation = nn.Linear(shape.cond_dim, 6 * size)
        nn.init.zeros_(self.modulation.weight)
        nn.init.zeros_(self.modulation.bias)

    def forward(self, x: Tensor, c: Tensor, rotary: tuple[Tensor, Tensor], seen: Tensor | None) -> Tensor:
        shift1, scale1, gate1, shift2, scale2, gate2 = self.modulation(c)[:, None].chunk(6, -1)
        batch, length, size = x.shape
        qkv = self.qkv(self.norm1(x) * (1 + scale1) + shift1)
        q, k, v = qkv.view(batch, length, 3, self.heads, size // self.heads).permute(2, 0, 3, 1, 4)
        mixed = F.scaled_dot_product_attention(rotated(q, *rotary), rotated(k, *rotary), v, seen)
        x = x + gate1 * F.dropout(self.out(mixed.transpose(1, 2).reshape(x.shape)), self.dropout, self.training)
        mlp = self.mlp(self.norm2(x) * (1 + scale2) + shift2)
        out: Tensor = x + gate2 * F.dropout(mlp, self.dropout, self.training)
        return out


def rotated(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotary embedding."""
    left, right = x.chunk(2, -1)
    return x * cos + torch.cat([-right, left], -1) * sin


class Network(nn.Module):
    """DDiT: (B, L) tokens and (B,) sigma to (B, L, n + 1) log-scores."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        size, head = shape.hidden_size, shape.hidden_size // shape.n_heads
        self.n = shape.n
        self.embedding = nn.Embedding(shape.n + 1, size)
        self.sigma_map = TimestepEmbedder(shape.cond_dim)
        self.blocks = nn.ModuleList(Block(shape) for _ in range(shape.n_blocks))
        self.norm = nn.LayerNorm(size, bias=False)
        self.modulation = nn.Linear(shape.cond_dim, 2 * size)
        self.linear = nn.Linear(size, shape.n + 1)
        for layer in (self.modulation, self.linear):
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)
        angles = torch.outer(torch.arange(shape.length), 10_000.0 ** (-torch.arange(0, head, 2) / head)).repeat(1, 2)
        self.register_buffer("cos", angles.cos())
        self.register_buffer("sin", angles.sin())

    def forward(self, tokens: Tensor, sigma: Tensor, seen: Tensor | None) -> Tensor:
        length = tokens.shape[1]
        c = F.silu(self.sigma_map(sigma))
        x = self.embedding(tokens)
        mask = None if seen is None else seen[:, None, None]
        for block in self.blocks:
            x = block(x, c, (self.cos[:length], self.sin[:length]), mask)  # type: ignore[index]  # buffers
        shift, scale = self.modulation(c)[:, None].chunk(2, -1)
        x = self.linear(self.norm(x) * (1 + scale) + shift)
        x = x - torch.log(torch.expm1(sigma))[:, None, None] - math.log(self.n)
        scores: Tensor = x.scatter(-1, tokens[..., None], 0.0)
        return scores


def score_entropy(log_score: Tensor, sigma: Tensor, x_t: Tensor, x0: Tensor) -> Tensor:
    """Lou et al. 2024, equation 9, for `absorb`: (B, L), not yet times d sigma / dt."""
    masked = x_t == log_score.shape[-1] - 1
    ratio = 1 / torch.expm1(sigma)[:, None].expand_as(x0)[masked]
    scores = log_score[masked]
    other = scores.gather(-1, x0[masked][:, None])[:, 0]
    positive = scores[:, :-1].exp().sum(-1)
    entropy = torch.zeros_like(x0, dtype=torch.float32)
    entropy[masked] = positive - ratio * other + ratio * (ratio.log() - 1)
    return entropy


class PaddedRows:
    """Sequences in random order, each padded to `length`, longer ones cut."""

    def __init__(self, source: Sequence[Any], length: int, *, seed: int = 0) -> None:
        self.source, self.length, self.random = source, length, np.random.default_rng(seed)

    def batches(self, size: int) -> Iterator[tuple[Tensor, Tensor]]:
        """(B, L) tokens and where there are residues, for ever."""
        while True:
            for rows in np.array_split(order := self.random.permutation(len(self.source)), -(-len(order) // size)):
                tokens, seen = np.zeros((len(rows), self.length), np.int64), np.zeros((len(rows), self.length), bool)
                for place, row in enumerate(rows):
                    sequence = self.source[int(row)]
                    start = self.random.integers(max(1, len(sequence) - self.length + 1))
                    piece = sequence[start : start + self.length]
                    tokens[place, : len(piece)], seen[place, : len(piece)] = piece, True
                yield torch.from_numpy(tokens), torch.from_numpy(seen)


class ChunkedRows:
    """All sequences one after the other, cut into rows of `length`: no pads, but neighbours that are strangers."""

    def __init__(self, source: Sequence[Any], length: int, *, seed: int = 0) -> None:
        self.random = np.random.default_rng(seed)
        order = self.random.permutation(len(source))
        joined = np.concatenate([source[int(i)] for i in order]).astype(np.int64)
        self.rows = torch.from_numpy(joined[: len(joined) // length * length].reshape(-1, length))

    def batches(self, size: int) -> Iterator[tuple[Tensor, None]]:
        """(B, L) tokens; there are no pads."""
        while True:
            order = self.random.permutation(len(self.rows))
            for first in range(0, len(order), size):
                yield self.rows[order[first : first + size]], None


class Reference:
    """The training loop.

    Args:
        shape: of the network.
        device: where it runs.
        lr: constant after `warmup` steps.
        ema: decay of the averaged weights.
    """

    def __init__(
        self, shape: Shape, *, device: str = "cpu", lr: float = 3e-4, warmup: int = 0, ema: float = 0.999, seed: int = 0
    ) -> None:
        torch.manual_seed(seed)
        self.device, self.lr, self.warmup, self.decay = device, lr, warmup, ema
        self.network = Network(shape).to(device)
        self.optimizer = torch.optim.AdamW(self.network.parameters(), lr=lr, weight_decay=0.01)
        self.shadow = [parameter.detach().clone() for parameter in self.network.parameters()]
        self.steps = 0

    def loss(self, tokens: Tensor, seen: Tensor | None) -> Tensor:
        """Nats per residue."""
        t = (1 - EPS) * torch.rand(len(tokens), device=self.device) + EPS
        sigma, dsigma = -torch.log1p(-(1 - EPS) * t), (1 - EPS) / (1 - (1 - EPS) * t)
        moved = torch.rand(tokens.shape, device=self.device) < 1 - torch.exp(-sigma)[:, None]
        x_t = torch.where(moved, self.network.n, tokens)
        entropy = dsigma[:, None] * score_entropy(self.network(x_t, sigma, seen), sigma, x_t, tokens)
        return entropy.mean() if seen is None else (entropy * seen).sum() / seen.sum()

    def step(
        self, tokens: Tensor, seen: Tensor | None, tick: Callable[[str], None] = lambda part: None
    ) -> tuple[float, int]:
        """One optimizer step; returns the loss and the residues. `tick` is called after each part of it."""
        tokens, seen = tokens.to(self.device), None if seen is None else seen.to(self.device)
        for group in self.optimizer.param_groups:
            group["lr"] = self.lr * min(1.0, (self.steps + 1) / max(1, self.warmup))
        loss = self.loss(tokens, seen)
        tick("forward")
        self.optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
        tick("backward")
        torch.nn.utils.clip_grad_norm_(self.network.parameters(), 1.0)
        self.optimizer.step()
        tick("optimizer")
        decay = min(self.decay, (1 + self.steps) / (10 + self.steps))
        with torch.no_grad():
            for shadow, parameter in zip(self.shadow, self.network.parameters(), strict=True):
                shadow.sub_((1 - decay) * (shadow - parameter))
        tick("average")
        self.steps += 1
        return float(loss.detach()), tokens.numel() if seen is None else int(seen.sum())

    def averaged(self) -> Network:
        """A copy of the network with the averaged weights, in eval mode."""
        twin = copy.deepcopy(self.network).eval()
        with torch.no_grad():
            for parameter, shadow in zip(twin.parameters(), self.shadow, strict=True):
                parameter.copy_(shadow)
        return twin
