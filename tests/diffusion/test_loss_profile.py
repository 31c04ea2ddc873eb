"""The loss profile: its bins are the loss, and what training does not depend on does not change them."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import sedd
from sedd.diffusion.graphs import make_graph
from sedd.diffusion.loss_profile import BINS, EDGES, HORIZON, LossProfile, bin_of, mask_range, rounded, widths
from sedd.diffusion.noising import noise_state

ODD = pytest.mark.filterwarnings("ignore::sedd.errors.SeddWarning")  # noise that stops early, ramps that never end
KINDS = [("absorb", "normalised"), ("absorb", "score"), ("uniform", "normalised"), ("uniform", "score")]


def test_the_edges_cover_all_mask_rates_and_increase():
    assert EDGES[0] == 0.0
    assert EDGES[-1] == 1.0
    assert (np.diff(EDGES) > 0).all()
    assert bin_of(np.array([0.0, 1.0])).tolist() == [0, BINS - 1]


@pytest.mark.parametrize(("low", "high"), [(0.0, 1.0), (0.0003, 0.61), (0.2, 0.21), (0.5, 0.5)])
def test_the_widths_between_two_mask_rates_add_up_to_their_distance(low, high):
    found = widths(low, high)
    assert found.sum() == pytest.approx(high - low, abs=1e-12)
    inside = (EDGES[1:] > low) & (EDGES[:-1] < high)
    assert (found[~inside] == 0.0).all()


@pytest.mark.parametrize("mode", ["scale", "truncate", "bias"])
@pytest.mark.parametrize("difficulty", [0.1, 0.6, 1.0])
def test_no_draw_leaves_the_range_of_mask_rates(mode, difficulty):
    noise = sedd.load_config({}, "noise.type=cosine").noise
    low, high = mask_range(noise, difficulty, mode)
    drawn = noise_state(noise, torch.rand(1000), difficulty=difficulty, mode=mode).mask_rate
    assert low <= float(drawn.min())
    assert float(drawn.max()) <= high


@pytest.mark.parametrize(("graph", "head"), KINDS)
def test_the_bins_of_a_report_sum_to_its_loss(tiny, graph, head):
    trainer = sedd.Trainer(tiny(f"graph.type={graph}", f"model.head={head}"))
    for report in trainer.steps():
        assert float(report.bins.loss.sum()) / report.residues == pytest.approx(report.loss, rel=1e-12)
        assert float(report.bins.corrupted.sum()) / report.residues == pytest.approx(report.mask_rate, rel=1e-12)
        assert report.bins.residues == report.residues


@pytest.mark.parametrize("mode", ["scale", "truncate", "bias"])
def test_what_a_step_expects_is_what_its_difficulty_allows(tiny, mode):
    trainer = sedd.Trainer(tiny(f"curriculum.mode={mode}"))
    for report in trainer.steps():
        low, high = mask_range(trainer.config.noise, report.difficulty, mode)
        assert np.allclose(report.bins.expected / report.residues, widths(low, high), atol=1e-12)
        assert report.mask_rate_max == high


@pytest.mark.parametrize("graph", ["absorb", "uniform"])
@pytest.mark.parametrize("mode", ["scale", "truncate", "bias"])
def test_what_is_drawn_is_on_average_what_is_expected(graph, mode):
    noise = sedd.load_config({}, "noise.type=linear", "noise.sigma_max=5").noise
    torch.manual_seed(0)
    u = (torch.arange(40_000) + torch.rand(40_000)) / 40_000
    state = noise_state(noise, u, difficulty=0.7, mode=mode)
    x0 = torch.zeros(40_000, 64, dtype=torch.long)
    x_t = make_graph(graph, 20).corrupt(x0, state.sigma, torch.rand(40_000, 64, 2))
    drawn = make_graph(graph, 20).mask_rate_drawn((x_t != x0).sum(1), torch.full((40_000,), 64), state.sigma)
    place = bin_of(state.mask_rate.double().numpy())
    found = np.bincount(place, (drawn * state.dsigma).numpy(), minlength=BINS) / x0.numel()
    expected = widths(*mask_range(noise, 0.7, mode))
    coarse = slice(4, None)  # the fine bins near 0 are hardly ever drawn
    assert np.allclose(found[coarse].reshape(8, 5).sum(1), expected[coarse].reshape(8, 5).sum(1), rtol=0.04, atol=1e-3)


def test_accumulation_does_not_change_the_profile(tiny):
    profiles = []
    for size, accum in ((8, 1), (2, 4)):
        trainer = sedd.Trainer(tiny(f"training.batch_size={size}", f"training.accum={accum}"))
        list(trainer.steps())
        profiles.append(trainer.state.profile)
    for name in ("drawn", "expected", "corrupted"):
        assert np.allclose(getattr(profiles[0], name), getattr(profiles[1], name), rtol=1e-6)
    assert np.allclose(profiles[0].loss, profiles[1].loss, rtol=1e-4)


def test_a_checkpoint_brings_the_profile_back_bit_for_bit(tiny, tmp_path):
    config = tiny()
    whole = sedd.Trainer(config, run=tmp_path / "run")
    whole.fit(progress=False)
    again = sedd.Trainer(config, run=tmp_path / "run", resume=True)
    assert again.state.step == 8
    assert again.state.profile == whole.state.profile
    assert again.state.profile.residues > 0


def test_a_run_that_was_interrupted_has_the_profile_of_one_that_was_not(tiny, tmp_path):
    config = tiny()
    whole = sedd.Trainer(config)
    list(whole.steps())
    first = sedd.Trainer(config, run=tmp_path / "run")
    for report in first.steps():
        if report.step == 5:
            break
    first.run.begin(config, resume=False)
    first.save()
    second = sedd.Trainer(config, run=tmp_path / "run", resume=True)
    list(second.steps())
    assert second.state.profile == whole.state.profile


def test_fading_forgets_after_the_horizon_and_begins_as_a_plain_mean():
    ones, twos = (LossProfile(1.0, *(np.full(BINS, value) for _ in range(4))) for value in (1.0, 2.0))
    state = LossProfile()
    for step in range(1, 2000):
        state = state.ema_update(ones if step < 1000 else twos, step)
    assert state.residues == pytest.approx(HORIZON, rel=1e-6)
    assert float(state.loss[0]) / state.residues == pytest.approx(2.0, rel=1e-4)
    assert LossProfile().ema_update(twos, 1) == twos


def test_bins_survive_json_and_differ_where_a_number_does():
    some = LossProfile(3.0, *(np.random.default_rng(seed).random(BINS) for seed in range(4)))
    assert LossProfile.from_dict(some.to_dict()) == some
    assert some != some.scaled(0.5)
    assert some != "bins"


def test_rounding_for_files_ends_at_the_last_bin_that_is_not_zero():
    assert rounded([1.23456789, float("nan"), 0.5, 0.0, None], 3) == [1.23, None, 0.5]


@ODD
@pytest.mark.parametrize(("graph", "head"), KINDS)
def test_the_parts_of_the_bound_end_at_the_bound_and_hold_its_trained_part(tiny, graph, head):
    config = tiny(f"graph.type={graph}", f"model.head={head}", "noise.sigma_max=0.7", "noise.sigma_min=0")
    bound = sedd.Trainer(config).evaluate()
    # For `uniform` how much of each bin was drawn is luck, which `up_to` takes out and the bound itself does not.
    assert bound.up_to[-1] == pytest.approx(bound.nats, rel=1e-9 if graph == "absorb" else 0.03)
    trained_up_to = np.interp(-np.expm1(-0.7), EDGES, [0.0, *bound.up_to])
    assert trained_up_to == pytest.approx(bound.trained, rel=0.03)
    assert np.diff(bound.up_to).min() > -1e-9


def test_the_lower_edge_belongs_to_a_bin_and_the_upper_one_to_the_next():
    assert bin_of(EDGES[:-1]).tolist() == list(range(BINS))
    assert bin_of(EDGES[-1:]).tolist() == [BINS - 1]
