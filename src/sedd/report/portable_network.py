"""The network of this folder in plain PyTorch: needs torch and safetensors, and nothing else.

    model = load(".")               # config.json and model.safetensors of this folder
    output = model(tokens, sigma)   # (batch, length) ids and (batch,) noise, to (batch, length, outputs)

With `model.head: normalised` the output has the logits of the original symbol at each position. With `score` it has the
log-scores of the published SEDD network, before `scale_by_sigma`. The network is the diffusion transformer (DDiT) of
SEDD, Lou et al. (2024).
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import Tensor, nn


class LayerNorm(nn.Module):
    """Layer norm with a gain, shifted and scaled by the conditioning."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(size))

    def forward(self, x: Tensor, shift: Tensor, scale: Tensor) -> Tensor:
        """Normalise x (batch, length, size)."""
        return F.layer_norm(x, self.weight.shape) * (self.weight * (1 + scale)) + shift


class SigmaEmbedding(nn.Module):
    """Sinusoids of sigma (batch,) through a small MLP, to (batch, size)."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.mlp = nn.Sequential(nn.Linear(256, size), nn.SiLU(), nn.Linear(size, size))

    def forward(self, sigma: Tensor) -> Tensor:
        """Embed sigma."""
        angles = sigma[:, None] * torch.exp(-math.log(10_000) / 128 * torch.arange(128.0))
        embedded: Tensor = self.mlp(torch.cat([angles.cos(), angles.sin()], -1))
        return embedded


class QueryKeyNorm(nn.Module):
    """Queries and keys over their root mean square, times gains."""

    def __init__(self, head_size: int) -> None:
        super().__init__()
        self.query, self.key = nn.Parameter(torch.ones(head_size)), nn.Parameter(torch.ones(head_size))


class Block(nn.Module):
    """Attention and MLP, each after a norm, behind a gate."""

    def __init__(self, size: int, cond: int, heads: int, qk_norm: bool) -> None:
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2 = LayerNorm(size), LayerNorm(size)
        self.attn_qkv, self.attn_out = nn.Linear(size, 3 * size, bias=False), nn.Linear(size, size, bias=False)
        self.qk_norm = QueryKeyNorm(size // heads) if qk_norm else None
        self.mlp = nn.Sequential(nn.Linear(size, 4 * size), nn.GELU("tanh"), nn.Linear(4 * size, size))
        self.adaLN_modulation = nn.Linear(cond, 6 * size)

    def forward(self, x: Tensor, condition: Tensor, cos: Tensor, sin: Tensor, mask: Tensor | None) -> Tensor:
        """One block on x (batch, length, size)."""
        shift1, scale1, gate1, shift2, scale2, gate2 = self.adaLN_modulation(condition)[:, None].chunk(6, -1)
        qkv = self.attn_qkv(self.norm1(x, shift1, scale1)).unflatten(-1, (3, self.heads, -1))
        q, k, v = qkv.permute(2, 0, 3, 1, 4).unbind(0)  # (batch, heads, length, head size) each
        if self.qk_norm is not None:
            q = F.rms_norm(q, q.shape[-1:], self.qk_norm.query, 1e-6)
            k = F.rms_norm(k, k.shape[-1:], self.qk_norm.key, 1e-6)
        attended = F.scaled_dot_product_attention(rotate(q, cos, sin), rotate(k, cos, sin), v, mask)
        x = x + gate1 * self.attn_out(attended.transpose(1, 2).flatten(2))
        out: Tensor = x + gate2 * self.mlp(self.norm2(x, shift2, scale2))
        return out


class Embedding(nn.Module):
    """A table of token vectors."""

    def __init__(self, states: int, size: int) -> None:
        super().__init__()
        self.embedding = nn.Parameter(torch.empty(states, size))


class OutputLayer(nn.Module):
    """Final norm and projection."""

    def __init__(self, size: int, cond: int, outputs: int) -> None:
        super().__init__()
        self.norm_final = LayerNorm(size)
        self.linear = nn.Linear(size, outputs)
        self.adaLN_modulation = nn.Linear(cond, 2 * size)


class Network(nn.Module):
    """Tokens (batch, length), the mask's id included, and sigma (batch,), to (batch, length, outputs).

    Args:
        model: the `model` section of the configuration.
        states: token ids of the input.
        outputs: numbers per position of the output.
    """

    def __init__(self, model: dict[str, Any], states: int, outputs: int) -> None:
        super().__init__()
        size, cond, heads = model["hidden_size"], model["cond_dim"], model["n_heads"]
        self.time_conditioning = model["time_conditioning"]
        self.vocab_embed = Embedding(states, size)
        self.sigma_map = SigmaEmbedding(cond)
        self.rotary_emb = nn.Module()
        self.rotary_emb.register_buffer("inv_freq", torch.empty(size // heads // 2))
        qk_norm = model.get("qk_norm", False)
        self.blocks = nn.ModuleList(Block(size, cond, heads, qk_norm) for _ in range(model["n_blocks"]))
        self.output_layer = OutputLayer(size, cond, outputs)

    def forward(self, tokens: Tensor, sigma: Tensor, mask: Tensor | None = None) -> Tensor:
        """Run the network; `mask` (batch, length) is False at padding."""
        condition = F.silu(self.sigma_map(sigma if self.time_conditioning else torch.zeros_like(sigma)))
        angles = torch.outer(torch.arange(float(tokens.shape[1])), self.rotary_emb.get_buffer("inv_freq"))
        x = F.embedding(tokens, self.vocab_embed.embedding)
        for block in self.blocks:
            x = block(x, condition, angles.cos(), angles.sin(), None if mask is None else mask[:, None, None])
        shift, scale = self.output_layer.adaLN_modulation(condition)[:, None].chunk(2, -1)
        out: Tensor = self.output_layer.linear(self.output_layer.norm_final(x, shift, scale))
        return out


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotary embedding: rotate pairs (i, i + half) of x (..., length, head size)."""
    left, right = x.chunk(2, -1)
    return torch.cat([left * cos - right * sin, right * cos + left * sin], -1)


def load(folder: str | Path) -> Network:
    """The network of an exported folder, in eval mode. Low-rank changes are merged into the weights."""
    model = json.loads((Path(folder) / "config.json").read_text())["config"]["model"]
    tensors = load_file(Path(folder) / "model.safetensors")
    for name in [name for name in tensors if name.endswith(".lora_A")]:
        layer, lora = name.removesuffix(".lora_A"), model["lora"]
        change = tensors.pop(f"{layer}.lora_B") @ tensors.pop(name)
        tensors[f"{layer}.weight"] = tensors[f"{layer}.weight"] + lora["alpha"] / lora["rank"] * change
    states, outputs = len(tensors["vocab_embed.embedding"]), len(tensors["output_layer.linear.weight"])
    network = Network(model, states, outputs)
    network.load_state_dict(tensors)
    return network.eval().requires_grad_(False)
