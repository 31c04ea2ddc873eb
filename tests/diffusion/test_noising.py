from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from sedd.diffusion.noising import Mode, NoiseState, corruption_uniforms, dropout_keys, noise_state, path_positions
from sedd.plugins.contracts import Noise
from sedd.plugins.noises import Cosine, Geometric, Linear, LogLinear
from tests.toys import chi_square, gauss

NOISES = [LogLinear(), Geometric(), Cosine(sigma_max=0.5), Cosine(), Linear(sigma_max=5.0)]
MODES: tuple[Mode, ...] = ("scale", "truncate", "bias")
DIFFICULTIES = (0.1, 0.35, 1.0)
every_path = [
    pytest.param(noise, mode, d, id=f"{noise.part_name()}{noise.sigma_max:.2g}-{mode}-{d}")
    for noise in NOISES
    for mode in MODES
    for d in DIFFICULTIES
]


@pytest.mark.parametrize(("noise", "mode", "difficulty"), every_path)
def test_dsigma_is_the_derivative_of_sigma_along_the_path(noise: Noise, mode: Mode, difficulty: float) -> None:
    u = torch.linspace(1e-3, 1.0 - 1e-3, 301, dtype=torch.float64, requires_grad=True)
    state = noise_state(noise, u, difficulty=difficulty, mode=mode)
    (slope,) = torch.autograd.grad(state.sigma.sum(), u)
    torch.testing.assert_close(state.dsigma.double().detach(), slope, rtol=1e-5, atol=1e-12)


def ends(noise: Noise, mode: Mode, d: float) -> tuple[float, float]:
    """Where the table of the module says that the path starts and ends."""
    total = noise.total(torch.tensor([0.0, d, 1.0], dtype=torch.float64)).tolist()
    return {"scale": (d * total[0], d * total[2]), "truncate": (total[0], total[1]), "bias": (total[0], total[2])}[mode]


@pytest.mark.parametrize(("noise", "mode", "difficulty"), every_path)
def test_a_path_never_falls_and_stays_between_its_ends(noise: Noise, mode: Mode, difficulty: float) -> None:
    state = noise_state(noise, torch.linspace(0.0, 1.0, 1001), difficulty=difficulty, mode=mode)
    low, high = ends(noise, mode, difficulty)
    assert state.sigma.dtype == state.dsigma.dtype == torch.float32
    assert torch.isfinite(state.dsigma).all()
    assert (state.dsigma >= 0).all()
    assert (state.sigma.diff() >= 0).all()
    assert float(state.sigma[0]) == pytest.approx(low, rel=1e-6, abs=1e-12)
    assert float(state.sigma[-1]) == pytest.approx(high, rel=1e-6)


@pytest.mark.parametrize(("noise", "mode", "difficulty"), every_path)
def test_the_expected_loss_of_a_constant_cross_entropy_is_its_range_of_mask_rates(
    noise: Noise, mode: Mode, difficulty: float
) -> None:
    v, weight = gauss(0.0, 1.0, 200)
    u, weight = 1.0 - (1.0 - v) ** 4, weight * 4.0 * (1.0 - v) ** 3  # crowded at 1, where steep schedules end
    state = noise_state(noise, u, difficulty=difficulty, mode=mode)
    sigma, dsigma = state.sigma.double(), state.dsigma.double()
    loss = float((weight * dsigma / torch.expm1(sigma) * -torch.expm1(-sigma)).sum()) * math.log(20)
    low, high = ends(noise, mode, difficulty)
    assert loss == pytest.approx((math.exp(-low) - math.exp(-high)) * math.log(20), rel=1e-5)


@pytest.mark.parametrize("noise", NOISES, ids=lambda noise: f"{noise.part_name()}{noise.sigma_max:.2g}")
def test_full_difficulty_is_the_plain_schedule_in_every_mode(noise: Noise) -> None:
    u = torch.linspace(0.0, 1.0, 101, dtype=torch.float64)
    for mode in MODES:
        state = noise_state(noise, u, mode=mode)
        torch.testing.assert_close(state.sigma, noise.total(u).float(), rtol=1e-6, atol=1e-12)
        torch.testing.assert_close(state.dsigma, noise.rate(u).float(), rtol=1e-6, atol=1e-12)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("noise", NOISES, ids=lambda noise: f"{noise.part_name()}{noise.sigma_max:.2g}")
def test_difficulty_zero_is_no_noise_and_no_error(noise: Noise, mode: Mode) -> None:
    state = noise_state(noise, torch.linspace(0.0, 0.999, 101), difficulty=0.0, mode=mode)
    assert torch.isfinite(state.dsigma).all()
    assert (state.sigma <= noise.sigma_min + 1e-9).all()


def test_the_mask_rate_is_one_minus_what_is_kept() -> None:
    state = NoiseState(torch.tensor([0.0, 1e-6, math.log(2.0), 20.0]), torch.ones(4))
    torch.testing.assert_close(state.mask_rate, torch.tensor([0.0, 1e-6, 0.5, 1.0]), rtol=1e-5, atol=0.0)
    assert state.copied(lambda tensor: tensor).dsigma is state.dsigma


def test_path_positions_fill_every_stratum_once() -> None:
    u = path_positions(0, np.arange(640, 704))
    assert sorted(np.floor(u * 64).astype(int)) == list(range(64))
    assert (u >= 0).all()
    assert (u < 1).all()


def test_path_positions_are_uniform_for_each_place_in_the_batch() -> None:
    first = np.array([path_positions(0, np.arange(8 * step, 8 * step + 8))[0] for step in range(2000)])
    found = torch.bincount(torch.from_numpy(np.floor(first * 16).astype(np.int64)), minlength=16)
    assert chi_square(found, torch.full((16,), 125.0)) > 1e-3


def test_path_positions_depend_on_seed_and_step_only() -> None:
    samples = np.arange(64, 96)
    assert np.array_equal(path_positions(3, samples), path_positions(3, samples))
    assert not np.array_equal(path_positions(3, samples), path_positions(4, samples))
    assert not np.array_equal(path_positions(3, samples), path_positions(3, samples + 32))


def test_corruption_of_a_sequence_does_not_depend_on_its_batch() -> None:
    whole = corruption_uniforms(1, np.array([5, 9]), np.array([4, 2]), 6)
    alone = corruption_uniforms(1, np.array([9]), np.array([2]), 2)
    assert torch.equal(whole[1, :2], alone[0])
    assert (whole[1, 2:] == 0).all()
    assert not torch.equal(whole[0, :2], whole[1, :2])
    assert whole.shape == (2, 6, 2)
    assert whole.dtype == torch.float32


def test_corruption_draws_are_uniform() -> None:
    drawn = corruption_uniforms(0, np.arange(500), np.full(500, 20), 20)
    for part in range(2):
        found = torch.bincount((drawn[..., part].flatten() * 20).long(), minlength=20)
        assert chi_square(found, torch.full((20,), 500.0)) > 1e-3


def test_dropout_keys_depend_on_the_seed_and_the_sequence_alone() -> None:
    keys = dropout_keys(0, np.array([3, 8, 5]))
    assert len(set(keys.tolist())) == 3
    assert bool(((keys >= 0) & (keys < 2**31)).all())
    assert torch.equal(dropout_keys(0, np.array([5])), keys[2:])
    assert not torch.equal(dropout_keys(1, np.array([5])), keys[2:])
