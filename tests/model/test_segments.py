"""The packed layout: residues attend to the residues of their own sequence, at their own positions."""

from __future__ import annotations

import itertools

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

import sedd
from sedd.model import attention, varlen
from sedd.model.attention import Rotary, attend, rotate
from sedd.model.segments import Segments
from sedd.model.transformer import Transformer

LENGTHS = torch.tensor([5, 1, 7])
SEGMENTS = Segments.of(LENGTHS, 24, longest=8)


def segment_by_segment(q: Tensor, k: Tensor, v: Tensor, cu_seqlens: Tensor, longest: int) -> Tensor:
    """Attention of each segment by itself, (tokens, heads, head_dim)."""
    ends = cu_seqlens.tolist()
    assert max(end - start for start, end in itertools.pairwise(ends)) <= longest
    parts = []
    for start, end in itertools.pairwise(ends):
        heads = (x[start:end].transpose(0, 1) for x in (q, k, v))
        parts.append(F.scaled_dot_product_attention(*heads).transpose(0, 1))
    return torch.cat(parts)


@given(lengths=st.lists(st.integers(1, 12), min_size=1, max_size=6), spare=st.integers(0, 30))
def test_segments_cover_the_row(lengths, spare):
    total, longest = sum(lengths) + spare, max(lengths)
    segments = Segments.of(torch.tensor(lengths), total, longest=longest)
    sizes = segments.cu_seqlens.diff().tolist()
    assert sizes[: len(lengths)] == lengths
    assert sum(sizes) == total
    assert max(sizes) <= longest
    assert segments.starts.tolist() == [sum(lengths[:i]) for i in range(len(lengths))] + [total]
    numbers = torch.arange(1, total + 1, dtype=torch.float32)
    rows = segments.to_rows(numbers[None, :, None])
    assert torch.equal(segments.from_rows(rows)[0, :, 0], numbers)
    assert torch.equal(rows[..., 0] > 0, segments.row_mask())
    assert torch.equal(torch.cat([torch.arange(size) for size in sizes]), segments.position)


def test_values_per_sequence_are_spread_and_their_gradients_summed():
    x = torch.randn(3, 1, 4, requires_grad=True)
    spread = SEGMENTS.per_token(x)
    assert torch.equal(spread, x[SEGMENTS.sequence, 0][None])
    weights = torch.randn(1, 24, 4)
    weights[:, 13:] = 0.0  # padding contributes nothing
    (spread * weights).sum().backward()
    ends = [0, 5, 6, 13]
    sums = [weights[0, start:end].sum(0) for start, end in itertools.pairwise(ends)]
    assert x.grad is not None
    assert torch.allclose(x.grad[:, 0], torch.stack(sums), atol=1e-6)


@pytest.mark.parametrize("kernel", ["rows", "varlen"])
@pytest.mark.parametrize("fused", [True, False])
def test_packed_attention_is_that_of_each_sequence(monkeypatch, kernel, fused):
    if kernel == "varlen":
        monkeypatch.setattr(attention, "has_varlen", lambda device: True)
        monkeypatch.setattr(attention, "takes_varlen", lambda x: True)
        monkeypatch.setattr(attention, "varlen_attention", segment_by_segment)
    qkv = torch.randn(1, 24, 3, 2, 6, requires_grad=True)
    angles = Rotary(6)(8)
    out = attend(qkv, angles, SEGMENTS, fused=fused)
    cos, sin = (part[SEGMENTS.position, None] for part in angles)
    q, k, v = qkv[0].unbind(1)
    expected = segment_by_segment(rotate(q, cos, sin), rotate(k, cos, sin), v, SEGMENTS.cu_seqlens, 8)[None]
    assert torch.allclose(out, expected, atol=1e-6)
    weights = torch.randn_like(out)
    found, wanted = (torch.autograd.grad((x * weights).sum(), qkv)[0] for x in (out, expected))
    assert torch.allclose(found, wanted, atol=1e-6)


def test_a_kernel_that_is_missing_or_wrong_is_found_out(monkeypatch):
    device = torch.device("cpu")
    assert not varlen.has_varlen(device)
    assert not varlen.varlen_works(device)
    monkeypatch.setattr(varlen, "varlen_attention", segment_by_segment)
    assert varlen.varlen_works(device)
    monkeypatch.setattr(varlen, "varlen_attention", lambda q, k, v, cu_seqlens, longest: q * 0 + v.mean(0))
    assert not varlen.varlen_works(device)


def test_neither_padding_nor_other_sequences_change_the_output(tiny):
    torch.manual_seed(0)
    config: sedd.Config = tiny("model.n_blocks=2")
    network = Transformer(config.model, states=21, outputs=20).eval()
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    tokens, sigma = torch.randint(20, (1, 24)), torch.tensor([0.3, 1.0, 2.0])
    out = network(tokens, sigma, segments=SEGMENTS)
    others = tokens.clone()
    others[:, 5:6] = others[:, 13:] = 20
    changed = network(others, sigma, segments=SEGMENTS)
    kept = torch.cat([torch.arange(5), torch.arange(6, 13)])
    assert torch.allclose(out[:, kept], changed[:, kept], atol=1e-6)
    alone = network(tokens[:, 6:13], sigma[2:])
    assert torch.allclose(out[:, 6:13], alone, atol=1e-5)
