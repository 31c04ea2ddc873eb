"""The parts of a change sum to the change, and equal what re-evaluating the networks gives."""

from __future__ import annotations

import copy
import re
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

import sedd
from sedd.data import Batch
from sedd.diagnosis.attribution import attribute, between, normalised
from sedd.diagnosis.cumulative import cumulative
from sedd.diagnosis.predictors import of_profile
from sedd.diffusion.loss import diffusion_loss
from sedd.diffusion.loss_profile import BINS, EDGES, LossProfile, bin_of, mask_range, widths
from sedd.diffusion.noising import noise_state
from sedd.runs.metrics import TrainRecord
from tests.learners import Bag, compositions

pytestmark = pytest.mark.filterwarnings("ignore::sedd.errors.SeddWarning")  # ramps longer than the run are meant


def line(step: int, bins: LossProfile) -> TrainRecord:
    loss = float(bins.loss.sum()) / bins.residues
    return TrainRecord(step, loss, bins, bins.values, 1.0, 1.0, 0.0, 0.0, 0.0, 0, 0.0, 0, None)


def made(values: np.ndarray, drawn: np.ndarray, expected: np.ndarray, residues: float = 1.0) -> LossProfile:
    """Bins of a loss `values` per unit of mask rate."""
    loss = np.where(drawn > 0, values, 0.0) * drawn * residues
    return LossProfile(residues, loss, drawn * residues, expected * residues, drawn * residues)


@st.composite
def bins(draw: st.DrawFn) -> LossProfile:
    """Any sums that a run might have; some bins were not drawn."""
    random = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    high, seen = draw(st.floats(0.01, 1.0)), draw(st.floats(0.05, 1.0))
    expected = widths(0.0, high)
    drawn = expected * random.uniform(0.2, 2.0, BINS) * (random.random(BINS) < seen)
    if not drawn.any():
        drawn[0] = 0.001
    values = random.uniform(0.0, 4.0, BINS) * draw(st.sampled_from([1e-6, 1.0, 100.0]))
    return made(values, drawn, expected, draw(st.floats(1.0, 1e8)))


@settings(max_examples=200, deadline=None)
@given(bins(), bins())
def test_the_parts_sum_to_the_change(before, after):
    found = attribute(before, after, first=0, last=1)
    exact = after.loss.sum() / after.residues - before.loss.sum() / before.residues
    scale = max(1.0, found.before, found.after)
    assert found.difficulty + found.draw + found.learning == pytest.approx(exact, abs=1e-9 * scale)
    assert found.change == pytest.approx(exact, abs=1e-12 * scale)


@settings(max_examples=50, deadline=None)
@given(bins(), bins())
def test_backwards_the_parts_change_their_sign(before, after):
    forwards, backwards = attribute(before, after, first=0, last=1), attribute(after, before, first=1, last=0)
    for part in ("difficulty", "draw", "learning"):
        assert getattr(forwards, part) == pytest.approx(-getattr(backwards, part), rel=1e-9, abs=1e-9)


def test_a_model_that_does_not_change_learns_nothing_whatever_the_difficulty():
    values = np.linspace(1.0, 3.0, BINS)
    easy, hard = (made(values, widths(0.0, high), widths(0.0, high)) for high in (0.3, 1.0))
    found = attribute(easy, hard, first=0, last=1)
    # Where the difficulty had not got to, the later time tells the shape: nothing is ascribed to learning.
    assert found.learning == pytest.approx(0.0, abs=1e-12)
    assert found.difficulty == pytest.approx(found.change)
    assert found.assumed.tolist() == ((widths(0.0, 1.0) > 0) & (widths(0.0, 0.3) == 0)).tolist()


def test_at_one_difficulty_everything_is_learning():
    full = widths(0.0, 1.0)
    found = attribute(made(np.full(BINS, 3.0), full, full), made(np.full(BINS, 2.5), full, full), first=0, last=1)
    assert found.learning == pytest.approx(-0.5)
    assert (found.difficulty, found.draw, found.assumed.any()) == (0.0, 0.0, False)


def test_monte_carlo_error_of_the_mask_rates_is_neither():
    expected = widths(0.0, 1.0)
    values = np.full(BINS, 3.0)
    found = attribute(made(values, expected, expected), made(values, 1.1 * expected, expected), first=0, last=1)
    assert (found.difficulty, found.learning) == (0.0, pytest.approx(0.0, abs=1e-12))
    assert found.draw == pytest.approx(0.3)


def test_the_bins_that_moved_are_named():
    full = widths(0.0, 1.0)
    before, after = np.full(BINS, 3.0), np.full(BINS, 3.0)
    after[20] = 1.0
    (moved,) = attribute(made(before, full, full), made(after, full, full), first=0, last=1).moved()
    assert moved == (EDGES[20], EDGES[21], 0.0, pytest.approx(-2.0 * 0.025))


def test_without_a_loss_by_mask_rate_nothing_is_attributed():
    with pytest.raises(sedd.DataError):
        attribute(LossProfile(), LossProfile(), first=0, last=1)


# Along a run ---------------------------------------------------------------------------------------------------------


def ramp(count: int = 21) -> list[TrainRecord]:
    """A model that gets better by 0.01 per line while the range of mask rates grows to 1."""
    ranges = np.linspace(0.2, 1.0, count)
    return [
        line(100 * i, made(np.full(BINS, 3.0 - 0.01 * i), widths(0.0, high), widths(0.0, high)))
        for i, high in enumerate(ranges)
    ]


def test_the_cumulative_parts_sum_to_the_loss_at_every_line():
    curve = cumulative(ramp())
    assert np.allclose(curve.difficulty + curve.learning + curve.draw, curve.loss - curve.loss[0], atol=1e-9)
    assert curve.learning[-1] == pytest.approx(-0.16 * 0.6, rel=0.05)  # 0.01 a line, at a mean range of 0.6


def test_the_ends_of_a_split_are_the_nearest_lines():
    found = between(ramp(), 149, 1190)
    assert (found.first, found.last) == (100, 1200)


def test_wider_ends_pool_more_lines():
    lines = ramp()
    assert between(lines, 500, 1500, span=400).before == pytest.approx(
        sum(float(each.bins.loss.sum()) for each in lines[3:8]) / 5
    )


@pytest.mark.parametrize(
    ("lines", "first", "last", "numbers"),
    [([], 0, 1, ["0"]), (ramp(1), 0, 1, ["1"]), (ramp(), 510, 520, ["510", "520"])],
)
def test_a_change_needs_two_lines(lines, first, last, numbers):
    with pytest.raises(sedd.DataError) as caught:
        between(lines, first, last)
    assert re.findall(r"\d+", str(caught.value))[: len(numbers)] == numbers


def test_an_empty_run_has_no_curve():
    with pytest.raises(sedd.DataError):
        cumulative([])


def test_the_normalised_loss_means_the_same_at_every_difficulty():
    unigram = of_profile(np.full(BINS, 2.9))
    lines = [
        line(step, made(np.full(BINS, 2.9 * share), widths(0.0, high), widths(0.0, high)))
        for step, high, share in ((0, 0.1, 1.0), (1, 0.5, 1.0), (2, 1.0, 0.8))
    ]
    assert normalised(lines, unigram) == pytest.approx([1.0, 1.0, 0.8])


# The counterfactual --------------------------------------------------------------------------------------------------


@dataclass
class World:
    """Two networks of one run, and the training loss of each at the difficulty of each."""

    bins: dict[tuple[int, int], LossProfile]
    lines: list[TrainRecord]
    steps: tuple[int, int]

    def loss(self, network: int, difficulty: int) -> float:
        found = self.bins[network, difficulty]
        return float(found.loss.sum()) / found.residues

    @property
    def difficulty(self) -> float:
        """Part of the curriculum: the change of the loss with the difficulty alone, mean over both networks."""
        return sum(self.loss(network, 1) - self.loss(network, 0) for network in (0, 1)) / 2

    @property
    def learning(self) -> float:
        """Part of the model: the change of the loss with the network alone, mean over both difficulties."""
        return sum(self.loss(1, difficulty) - self.loss(0, difficulty) for difficulty in (0, 1)) / 2

    @property
    def tolerance(self) -> float:
        return max(0.05 * abs(self.loss(1, 1) - self.loss(0, 0)), 0.01)


def evaluated(network: nn.Module, trainer: sedd.Trainer, difficulty: float) -> LossProfile:
    """The training loss of a network over many draws, on the sequences it is trained on."""
    config = trainer.config
    torch.manual_seed(0)
    tokens = torch.stack([torch.from_numpy(np.array(trainer.data.train[i])) for i in range(len(trainer.data.train))])
    tokens = tokens.long().repeat(60, 1)
    count = len(tokens)
    u = ((torch.arange(count) + torch.rand(count)) / count)[torch.randperm(count)]
    state = noise_state(config.noise, u, difficulty=difficulty, mode=config.curriculum.mode)
    batch = Batch(tokens, torch.ones_like(tokens, dtype=torch.bool), torch.arange(count))
    uniforms = torch.rand(*tokens.shape, 2)
    with torch.no_grad():
        loss = diffusion_loss(network, batch, state, uniforms, process=trainer.process)
    place = bin_of(state.mask_rate.double().numpy())
    parts = (np.bincount(place, part.double().numpy(), minlength=BINS) for part in loss.parts)
    total, drawn, corrupted = parts
    expected = widths(*mask_range(config.noise, difficulty, config.curriculum.mode))
    return LossProfile(tokens.numel(), total, drawn, expected * tokens.numel(), corrupted)


def world(config: sedd.Config, steps: tuple[int, int]) -> World:
    trainer = sedd.Trainer(config, data=compositions(), model=Bag(config.graph.type))
    saved, lines, window = [], [], LossProfile()
    for report in trainer.steps():
        window += report.bins
        if report.step % 5 == 0:
            lines.append(line(report.step, window))
            window = LossProfile()
        if report.step in steps:
            saved.append((copy.deepcopy(trainer.network), report.difficulty))
        if report.step == steps[1] + 20:
            break
    found = {
        (i, j): evaluated(network, trainer, difficulty)
        for i, (network, _) in enumerate(saved)
        for j, (_, difficulty) in enumerate(saved)
    }
    return World(found, lines, steps)


CASES = {
    "truncate": ["curriculum.mode=truncate", "noise.type=loglinear"],
    "scale": ["curriculum.mode=scale", "noise.type=cosine", "noise.sigma_max=1.5"],
    "bias": ["curriculum.mode=bias", "noise.type=loglinear"],
    "uniform": ["curriculum.mode=truncate", "noise.type=loglinear", "graph.type=uniform"],
    "stages": [
        "curriculum.mode=truncate", "noise.type=loglinear", "curriculum.difficulty_ramp=stages",
        "curriculum.stages=[{step: 0, difficulty: 0.3}, {step: 150, difficulty: 0.4}, {step: 300, difficulty: 0.9},"
        " {step: 600, difficulty: 1}]",
    ],
}  # fmt: skip


@pytest.mark.parametrize(
    "case", [pytest.param(name, marks=() if name in ("truncate", "stages") else pytest.mark.long) for name in CASES]
)
def test_the_parts_equal_what_evaluating_both_networks_at_both_difficulties_gives(tiny, case):
    config = tiny(
        "curriculum.preschool_time=600", "curriculum.min_difficulty=0.2", "training.n_iters=100000",
        "training.batch_size=64", "training.eval_every=1000000", "optim.lr=2e-3", "lr_schedule.type=constant",
        *CASES[case],
    )  # fmt: skip
    found = world(config, (100, 400))
    split = attribute(found.bins[0, 0], found.bins[1, 1], first=100, last=400)
    assert abs(found.learning) > 0.05  # there is something to be told apart
    assert split.difficulty == pytest.approx(found.difficulty, abs=found.tolerance)
    assert split.learning == pytest.approx(found.learning, abs=found.tolerance)
    assert abs(split.draw) < found.tolerance
    # The lines of the run agree up to their Monte Carlo error (larger for `uniform`: which residues are corrupted).
    recorded = between(found.lines, 100, 400, span=40)
    if case == "uniform":
        return
    assert recorded.difficulty == pytest.approx(found.difficulty, abs=2 * found.tolerance)
    assert recorded.learning == pytest.approx(found.learning, abs=2 * found.tolerance)
