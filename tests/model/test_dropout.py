"""Dropout masks are a function of their keys, of nothing else, and as random as masks have to be."""

from __future__ import annotations

import math

import pytest
import torch

from sedd.model.dropout import Dropout, dropout_bits

TOKENS = torch.zeros(64, 50, dtype=torch.int64)


def kept(p: float, *, site: int = 0, keys: torch.Tensor | None = None, size: int = 96) -> torch.Tensor:
    keys = torch.arange(64) * 7919 if keys is None else keys
    bits = dropout_bits(TOKENS[: len(keys)], keys, 3)[site]
    return Dropout(p)(torch.ones(len(keys), 50, size), bits) != 0


@pytest.mark.parametrize("p", [0.01, 0.1, 0.5, 0.9])
def test_the_share_of_zeros_is_p_overall_and_in_every_row_column_and_sequence(p: float) -> None:
    dropped = ~kept(p)
    count = dropped.numel()
    assert abs(float(dropped.double().mean()) - p) < 5 * math.sqrt(p * (1 - p) / count)
    for dims in ((0, 1), (0, 2), (1, 2)):
        shares = dropped.double().mean(dims)
        each = count // len(shares)
        # Variance of the shares as that of independent draws; chi-square over the shares, five sigmas wide.
        chi2 = float(((shares - p) ** 2).sum() * each / (p * (1 - p)))
        assert abs(chi2 - len(shares)) < 5 * math.sqrt(2 * len(shares))


def test_neighbours_and_sites_are_independent() -> None:
    mask = kept(0.5).double() - 0.5
    other = kept(0.5, site=1).double() - 0.5
    n = mask.numel()
    pairs = {
        "next column": mask[..., 1:] * mask[..., :-1],
        "next residue": mask[:, 1:] * mask[:, :-1],
        "next sequence": mask[1:] * mask[:-1],
        "another block": mask * other,
        "half the width away": mask[..., 48:] * mask[..., :48],
    }
    for name, product in pairs.items():
        assert abs(float(product.sum())) < 5 * 0.25 * math.sqrt(n), name
    triple = mask[:, 1:, 1:] * mask[:, :-1, 1:] * mask[:, 1:, :-1] * mask[:, :-1, :-1]
    assert abs(float(triple.sum())) < 5 * 0.0625 * math.sqrt(n), "squares of neighbours"


def test_a_sequence_has_its_mask_wherever_it_stands_in_whatever_batch() -> None:
    keys = torch.arange(64) * 7919
    whole = kept(0.3, keys=keys)
    order = torch.tensor([5, 63, 0])
    assert torch.equal(kept(0.3, keys=keys[order]), whole[order])
    short = Dropout(0.3)(torch.ones(64, 20, 96), dropout_bits(TOKENS[:, :20], keys, 3)[0]) != 0
    assert torch.equal(short, whole[:, :20])


def test_without_keys_torchs_generator_decides() -> None:
    draws = []
    for seed in (0, 0, 1):
        torch.manual_seed(seed)
        draws.append(dropout_bits(TOKENS, None, 1)[0])
    assert torch.equal(draws[0], draws[1])
    assert not torch.equal(draws[0], draws[2])


def test_what_is_kept_is_scaled_and_the_gradient_passes_there_only() -> None:
    x = torch.randn(64, 50, 96, requires_grad=True)
    out = Dropout(0.25)(x, dropout_bits(TOKENS, torch.arange(64), 1)[0])
    out.sum().backward()
    there = out != 0
    torch.testing.assert_close(out[there], x[there] / 0.75)
    assert x.grad is not None
    torch.testing.assert_close(x.grad, there / 0.75)
