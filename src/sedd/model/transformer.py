"""The diffusion transformer (DDiT) of SEDD: rotary embeddings, adaLN conditioning on sigma, no biases in attention.

With `head: score` it is, parameter for parameter and name for name, the network that Lou et al. (2024) published,
so that their checkpoints fit. Ideas: DiT (Peebles and Xie 2023), rotary embeddings (Su et al. 2021).
"""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sedd.config.sections import Model
from sedd.model.attention import PaddingMask, Rotary, attend, padding_mask
from sedd.model.dropout import Dropout, streams


class LayerNorm(nn.Module):
    """Layer norm with a gain, scaled and shifted by the conditioning, in float32."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(size))

    def forward(self, x: Tensor, shift: Tensor, scale: Tensor) -> Tensor:
        """Of x (batch, length, size), by `shift` and `scale` (batch, 1, size)."""
        return F.layer_norm(x.float(), self.weight.shape) * (self.weight * (1 + scale)) + shift


class Linear(nn.Linear):
    """A product and a bias; compiled for CPUs, the bias is added by the kernel that comes after the product.

    Its gradient is then summed sequence by sequence: down all rows of a batch at once it is slow there.
    """

    def forward(self, x: Tensor) -> Tensor:
        if not torch.compiler.is_compiling() or x.device.type != "cpu":
            return super().forward(x)
        product = F.linear(x, self.weight)
        return product + self.bias.expand(*x.shape[:-2], 1, -1).to(product.dtype)


class Modulation(nn.Linear):
    """From the conditioning (batch, cond_dim) to shifts, scales and gates (batch, 1, size), in float32.

    It is computed once per sequence, so that bfloat16 would save nothing; and a run whose conditioning was rounded was
    seen to leave its first plateau at another step than in float32.
    """

    def forward(self, condition: Tensor) -> Tensor:
        with torch.autocast(condition.device.type, enabled=False):
            return super().forward(condition)[:, None]


class SigmaEmbedding(nn.Module):
    """Sinusoids of sigma through a small MLP, (batch,) to (batch, cond_dim), in float32 as in `Modulation`."""

    frequencies = 256

    def __init__(self, size: int) -> None:
        super().__init__()
        self.mlp = nn.Sequential(nn.Linear(self.frequencies, size), nn.SiLU(), nn.Linear(size, size))

    def forward(self, sigma: Tensor) -> Tensor:
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
        return F.embedding(tokens, self.embedding)


class Gelu(nn.Module):
    """GELU with the tanh approximation, as in SEDD."""

    def forward(self, x: Tensor) -> Tensor:
        if not torch.compiler.is_compiling():
            return F.gelu(x, approximate="tanh")
        # The same function, 1 + tanh(z) = 2 sigmoid(2 z): compiled for CPUs, exp is much faster than tanh.
        wide = x.float()
        inner = 2.0 * math.sqrt(2.0 / math.pi) * wide * (1.0 + 0.044715 * wide * wide)
        return (wide * torch.sigmoid(inner)).to(x.dtype)


class Block(nn.Module):
    """One transformer block whose norms are shifted, scaled and gated by the conditioning."""

    def __init__(self, config: Model) -> None:
        super().__init__()
        size = config.hidden_size
        self.n_heads, self.attention = config.n_heads, config.attention
        self.dropout = Dropout(config.dropout)
        self.norm1 = LayerNorm(size)
        self.attn_qkv = nn.Linear(size, 3 * size, bias=False)
        self.attn_out = nn.Linear(size, size, bias=False)
        self.norm2 = LayerNorm(size)
        self.mlp = nn.Sequential(Linear(size, 4 * size), Gelu(), Linear(4 * size, size))
        self.adaLN_modulation = _zero(Modulation(config.cond_dim, 6 * size))
        # A block that is shut learns only once its gate has moved, and the gate moves only once the block is of use.
        # An untrained MLP adds noise, but attention what is common to the other residues: only its gate begins open.
        self.adaLN_modulation.bias.detach().chunk(6)[2].fill_(config.gate_init)

    def forward(
        self,
        x: Tensor,
        condition: Tensor,
        angles: tuple[Tensor, Tensor],
        seen: PaddingMask | None,
        stream: Tensor | None,
        places: Tensor | None = None,
    ) -> Tensor:
        modulation = self.adaLN_modulation(condition)
        shift1, scale1, gate1 = modulation[..., : 3 * x.shape[-1]].chunk(3, -1)
        attended = self._attention(self.norm1(x, shift1, scale1), angles, seen)
        x = x + gate1 * self.dropout(attended, stream)
        shift2, scale2, gate2 = modulation[..., 3 * x.shape[-1] :].chunk(3, -1)
        normed = self.norm2(x, shift2, scale2)
        # From here on every residue is on its own, and where the loss does not look the result is not needed.
        mixed = self.mlp(gather_rows(normed, places))
        if places is not None:
            mixed = scatter_rows(mixed, places, normed.shape)
        # The same numbers with their bits turned: another draw.
        out: Tensor = x + gate2 * self.dropout(mixed, None if stream is None else ~stream)
        return out

    def _attention(self, x: Tensor, angles: tuple[Tensor, Tensor], seen: PaddingMask | None) -> Tensor:
        batch, length, size = x.shape
        qkv = self.attn_qkv(x).view(batch, length, 3, self.n_heads, size // self.n_heads)
        # torch's fused attention wins on GPUs; on CPUs its backward is slower than plain matrix products.
        fused = self.attention == "sdpa" or (self.attention == "auto" and x.device.type != "cpu")
        out: Tensor = self.attn_out(attend(qkv, angles, seen, fused=fused).reshape(x.shape))
        return out


class GatherRows(torch.autograd.Function):
    """The residues of x (batch, length, size) at flat `places` (N,), as (N, size).

    No place is given twice, so the backward pass puts numbers where they belong instead of adding them up there, which
    is slow when compiled, and adds in any order.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, places: Tensor) -> Tensor:
        """Read."""
        ctx.shape = x.shape
        ctx.save_for_backward(places)
        return x.flatten(0, 1)[places]

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        """Put back."""
        (places,) = ctx.saved_tensors
        return scatter_rows(grad, places, ctx.shape), None


def gather_rows(x: Tensor, places: Tensor | None) -> Tensor:
    """Those at `places`; all where that is None."""
    if places is None:
        return x
    picked: Tensor = GatherRows.apply(x, places)  # type: ignore[no-untyped-call]  # torch leaves it untyped
    return picked


def scatter_rows(x: Tensor, places: Tensor, shape: torch.Size) -> Tensor:
    """(N, size) at flat `places` of zeros of `shape`."""
    return x.new_zeros(shape).flatten(0, 1).index_copy(0, places, x).view(shape)


class OutputLayer(nn.Module):
    """Final norm and projection; zero at the start, so that an untrained network knows nothing."""

    def __init__(self, config: Model, outputs: int) -> None:
        super().__init__()
        self.norm_final = LayerNorm(config.hidden_size)
        self.linear = _zero(nn.Linear(config.hidden_size, outputs))
        self.adaLN_modulation = _zero(Modulation(config.cond_dim, 2 * config.hidden_size))

    def forward(self, x: Tensor, condition: Tensor, places: Tensor | None) -> Tensor:
        shift, scale = self.adaLN_modulation(condition).chunk(2, -1)
        normed = self.norm_final(x, shift, scale)
        projected: Tensor = self.linear(gather_rows(normed, places))
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
        places: Tensor | None = None,
        keys: Tensor | None = None,
    ) -> Tensor:
        """Run the network.

        Args:
            tokens: (batch, length) noisy tokens.
            sigma: (batch,) cumulative noise.
            mask: (batch, length), False at pads, which are at the end; None where there are no pads.
            places: (N,) where an answer is wanted, as places in the flattened `tokens`, none of them twice; None means
                everywhere. What only the others need is not computed.
            keys: (batch,) int64 below 2^31, what the dropout of each sequence is drawn by; None draws them.

        Returns:
            (batch, length, outputs), or (N, outputs) at `places`.
        """
        condition = F.silu(self.sigma_map(sigma if self.time_conditioning else torch.zeros_like(sigma)))
        angles = self.rotary_emb(tokens.shape[1])
        seen = padding_mask(mask)
        drops = streams(tokens, keys, len(self.blocks)) if self.training and self.dropout else [None] * len(self.blocks)
        x = self.vocab_embed(tokens)
        last = len(self.blocks) - 1
        for number, (block, stream) in enumerate(zip(self.blocks, drops, strict=True)):
            x = block(x, condition, angles, seen, stream, places if number == last else None)
        out: Tensor = self.output_layer(x, condition, places)
        return out


def _zero(layer: nn.Linear) -> nn.Linear:
    nn.init.zeros_(layer.weight)
    nn.init.zeros_(layer.bias)
    return layer
