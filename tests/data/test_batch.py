from __future__ import annotations

import numpy as np
import pytest
import torch

from sedd.data import GlobalBatch, load

SOURCE = [np.arange(1, n + 1, dtype=np.uint8) for n in (3, 5, 40, 12)]


def plan(indices: list[int], samples: list[int] | None = None) -> GlobalBatch:
    at = np.array(indices, dtype=np.int64)
    return GlobalBatch(
        np.array(samples if samples is not None else range(100, 100 + len(at)), dtype=np.int64),
        at,
        np.array([len(SOURCE[i]) for i in indices], dtype=np.int64),
    )


def test_short_sequences_are_padded_with_zeros_that_the_mask_tells_apart() -> None:
    batch = load(SOURCE, plan([0, 1]), seed=0, max_length=64, pad_to=4)
    assert batch.tokens.tolist() == [[1, 2, 3, 0, 0, 0, 0, 0], [1, 2, 3, 4, 5, 0, 0, 0]]
    assert batch.mask.sum(1).tolist() == [3, 5]
    assert (batch.tokens.dtype, batch.mask.dtype, batch.samples.dtype) == (torch.int64, torch.bool, torch.int64)
    assert batch.samples.tolist() == [100, 101]
    assert batch.residues == 8
    assert not batch.full


@pytest.mark.parametrize(("longest", "pad_to", "width"), [(0, 8, 8), (1, 8, 8), (2, 8, 38), (3, 8, 16), (3, 1, 12)])
def test_width_is_rounded_up_but_never_beyond_the_longest_allowed(longest: int, pad_to: int, width: int) -> None:
    assert load(SOURCE, plan([longest]), seed=0, max_length=38, pad_to=pad_to).tokens.shape == (1, width)


def test_a_batch_without_pads_says_so() -> None:
    assert load(SOURCE, plan([2, 2]), seed=0, max_length=40).full


def test_long_sequences_are_cropped_where_seed_and_sample_say() -> None:
    def starts(seed: int, samples: list[int]) -> list[int]:
        batch = load(SOURCE, plan([2] * len(samples), samples), seed=seed, max_length=10)
        assert batch.full
        assert (batch.tokens.diff(dim=1) == 1).all()
        return batch.tokens[:, 0].tolist()

    many = starts(0, list(range(500)))
    assert starts(0, [7])[0] == many[7]
    assert starts(1, list(range(500))) != many
    assert (min(many), max(many)) == (1, 31)
    assert len(set(many)) == 31


def test_moving_keeps_everything() -> None:
    batch = load(SOURCE, plan([0, 1]), seed=0, max_length=64)
    moved = batch.to("cpu")
    assert torch.equal(moved.tokens, batch.tokens)
    assert (moved.residues, moved.full) == (8, False)
