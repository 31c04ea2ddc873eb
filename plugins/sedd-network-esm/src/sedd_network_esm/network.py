"""The network of ESM-2, with the names of parameters of its Hugging Face layout.

One layer, with x (batch, length, size):

    x = x + attention(norm(x))        softmax(q k / sqrt(head_dim)) v, rotary embeddings on q and k
    x = x + mlp(norm(x))              linear, GELU, linear

The logits are E gelu_norm(norm(x)) + b, with the token embeddings E. Ideas: ESM-2 (Lin et al. 2023), pre-norm
transformers (Xiong et al. 2020), rotary embeddings (Su et al. 2021).
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor, nn

CLS, EOS = 0, 2
"""Ids of the alphabet `esm`."""
TRAINED_MASK_SHARE = 0.15 * 0.8
"""Share of masked tokens with which ESM-2 was trained; token dropout scales to it."""
INITIAL_STD = 0.02


def angles(length: int, head_dim: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Cosines and sines of the rotary embedding, (length, head_dim / 2) each, float32."""
    frequencies = 10_000.0 ** (-torch.arange(0, head_dim, 2, device=device).float() / head_dim)
    phases = torch.outer(torch.arange(length, device=device).float(), frequencies)
    return phases.cos(), phases.sin()


def rotate(x: Tensor, turn: tuple[Tensor, Tensor]) -> Tensor:
    """Rotate pairs (i, i + head_dim / 2) of x (batch, heads, length, head_dim) by the angles of their positions."""
    cos, sin = (part.to(x.dtype) for part in turn)
    left, right = x.chunk(2, -1)
    return torch.cat([left * cos - right * sin, right * cos + left * sin], -1)


class Attention(nn.Module):
    """Self-attention over the tokens of a sequence, with its norm."""

    def __init__(self, size: int, heads: int, eps: float) -> None:
        super().__init__()
        self.heads = heads
        self.LayerNorm = nn.LayerNorm(size, eps=eps)
        self.self = nn.ModuleDict({name: nn.Linear(size, size) for name in ("query", "key", "value")})
        self.output = nn.ModuleDict({"dense": nn.Linear(size, size)})

    def forward(self, x: Tensor, turn: tuple[Tensor, Tensor], keys: Tensor | None) -> Tensor:
        """Map x (batch, length, size) to the same shape; `keys` (batch, 1, 1, length) is False at padding."""
        normed = self.LayerNorm(x)
        q, k, v = (self.self[name](normed).unflatten(-1, (self.heads, -1)).transpose(1, 2) for name in self.self)
        mixed = F.scaled_dot_product_attention(rotate(q, turn), rotate(k, turn), v, keys)
        out: Tensor = self.output["dense"](mixed.transpose(1, 2).flatten(-2))
        return out


class Layer(nn.Module):
    """Attention and MLP, each with a norm before it and a residual connection around it."""

    def __init__(self, size: int, heads: int, inner: int, dropout: float, eps: float) -> None:
        super().__init__()
        self.dropout = nn.Dropout(dropout)
        self.attention = Attention(size, heads, eps)
        self.LayerNorm = nn.LayerNorm(size, eps=eps)
        self.intermediate = nn.ModuleDict({"dense": nn.Linear(size, inner)})
        self.output = nn.ModuleDict({"dense": nn.Linear(inner, size)})

    def forward(self, x: Tensor, turn: tuple[Tensor, Tensor], keys: Tensor | None) -> Tensor:
        """Map x (batch, length, size) to the same shape; `keys` (batch, 1, 1, length) is False at padding."""
        x = x + self.dropout(self.attention(x, turn, keys))
        inner = F.gelu(self.intermediate["dense"](self.LayerNorm(x)))
        out: Tensor = x + self.dropout(self.output["dense"](inner))
        return out


class Encoder(nn.Module):
    """The layers, and the norm after the last one."""

    def __init__(self, size: int, heads: int, inner: int, blocks: int, dropout: float, eps: float) -> None:
        super().__init__()
        self.layer = nn.ModuleList(Layer(size, heads, inner, dropout, eps) for _ in range(blocks))
        self.emb_layer_norm_after = nn.LayerNorm(size, eps=eps)


class LmHead(nn.Module):
    """From hidden states to logits over all token ids."""

    def __init__(self, size: int, states: int, eps: float, *, tied: bool) -> None:
        super().__init__()
        self.dense = nn.Linear(size, size)
        self.layer_norm = nn.LayerNorm(size, eps=eps)
        self.bias = nn.Parameter(torch.zeros(states))
        self.decoder = None if tied else nn.Linear(size, states, bias=False)

    def forward(self, x: Tensor, embeddings: Tensor) -> Tensor:
        """Map x (..., size) to logits (..., states); `embeddings` (states, size) are the weights of a tied head."""
        weight = embeddings if self.decoder is None else self.decoder.weight
        return F.linear(self.layer_norm(F.gelu(self.dense(x))), weight, self.bias)


class EsmNetwork(nn.Module):
    """Tokens in, logits of the clean token out; sigma is not used.

    Args:
        states: token ids of the input; the last one is MASK if there is one more than `outputs`.
        outputs: symbols with a logit.
        size: width.
        blocks: number of layers.
        heads: number of attention heads.
        inner: width of the MLP.
        dropout: probability that an activation is set to zero in training, after each attention and each MLP.
        special_tokens: whether to put `<cls>` and `<eos>` around each sequence.
        token_dropout: whether MASK is embedded as zero, and the other embeddings are scaled for it.
        tied: whether the last layer is the token embeddings.
        eps: of the norms.
    """

    def __init__(
        self,
        states: int,
        outputs: int,
        *,
        size: int,
        blocks: int,
        heads: int,
        inner: int,
        dropout: float,
        special_tokens: bool,
        token_dropout: bool,
        tied: bool,
        eps: float,
    ) -> None:
        super().__init__()
        self.outputs, self.head_dim, self.special_tokens = outputs, size // heads, special_tokens
        self.mask_id = outputs if token_dropout and states > outputs else None
        embeddings = nn.ModuleDict({"word_embeddings": nn.Embedding(states, size)})
        self.esm = nn.ModuleDict(
            {"embeddings": embeddings, "encoder": Encoder(size, heads, inner, blocks, dropout, eps)}
        )
        self.lm_head = LmHead(size, states, eps, tied=tied)
        self.apply(_initialise)

    def compilable_blocks(self) -> list[nn.Module]:
        """The modules that `training.compile` compiles."""
        return list(self._encoder.layer)

    def forward(self, tokens: Tensor, sigma: Tensor, mask: Tensor | None = None) -> Tensor:
        """Logits (batch, length, outputs) of tokens (batch, length); `mask` is False at padding, which ends a row."""
        for state in self.hidden_states(tokens, sigma, mask):
            last = state
        logits: Tensor = self.lm_head(last, self._embedding.weight)
        return logits[..., : self.outputs]

    def hidden_states(self, tokens: Tensor, sigma: Tensor, mask: Tensor | None = None) -> Iterator[Tensor]:
        """Yield (batch, length, size) after the embedding and after each layer; the last one is normed, as the head
        reads it. `<cls>` and `<eos>` are left out."""
        length, first = tokens.shape[1], int(self.special_tokens)
        if self.special_tokens:
            tokens, mask = _with_ends(tokens, mask)
        turn = angles(tokens.shape[1], self.head_dim, tokens.device)
        keys = None if mask is None else mask[:, None, None, :]
        x = self._embed(tokens, mask)
        for layer in self._encoder.layer:
            yield x[:, first : first + length]
            x = layer(x, turn, keys)
        yield self._encoder.emb_layer_norm_after(x)[:, first : first + length]

    def _embed(self, tokens: Tensor, mask: Tensor | None) -> Tensor:
        """Embeddings (batch, length, size), scaled as token dropout needs it."""
        x: Tensor = self._embedding(tokens)
        if self.mask_id is None:
            return x
        masked = tokens == self.mask_id
        share = masked.float().mean(1) if mask is None else (masked & mask).sum(1) / mask.sum(1)
        # Where all tokens are masked, all embeddings are 0, whatever the scale.
        scale = (1.0 - TRAINED_MASK_SHARE) / (1.0 - share).clamp(min=1e-6)
        return x.masked_fill(masked[..., None], 0.0) * scale[:, None, None]

    @property
    def _embedding(self) -> nn.Embedding:
        found = self.esm["embeddings"]["word_embeddings"]  # type: ignore[index]  # a ModuleDict in a ModuleDict
        assert isinstance(found, nn.Embedding)  # noqa: S101  # tells the type checker
        return found

    @property
    def _encoder(self) -> Encoder:
        found = self.esm["encoder"]
        assert isinstance(found, Encoder)  # noqa: S101  # tells the type checker
        return found


def _with_ends(tokens: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor | None]:
    """`<cls>` before and `<eos>` after each sequence, (batch, length + 2), and their padding mask."""
    batch, length = tokens.shape
    ends = tokens.new_full((batch, 1), CLS), tokens.new_full((batch, 1), EOS)
    longer = torch.cat([ends[0], tokens, ends[1]], 1)
    if mask is None:
        return longer, None
    lengths = mask.sum(1, keepdim=True)
    positions = torch.arange(length + 2, device=tokens.device)
    return torch.where(positions == lengths + 1, EOS, longer), positions <= lengths + 1


def _initialise(module: nn.Module) -> None:
    if isinstance(module, nn.Linear | nn.Embedding):
        nn.init.normal_(module.weight, std=INITIAL_STD)
    if isinstance(module, nn.Linear) and module.bias is not None:
        nn.init.zeros_(module.bias)
