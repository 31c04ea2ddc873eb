"""Learning rate, EMA and weight decay follow their formulas."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

import sedd
from sedd.config.averaging import decay_at, initial_share
from sedd.config.sections import Ema
from sedd.diffusion.schedule import Schedule
from sedd.training.ema import EmaNetwork
from sedd.training.optimizer import make_optimizer


def config() -> sedd.Config:
    return sedd.Config(
        optim={"lr": 1.0, "warmup": 10}, training={"n_iters": 100}, lr_schedule={"type": "cosine", "min_ratio": 0.1}
    )


def test_the_learning_rate_warms_up_linearly_then_decays_along_a_cosine():
    made = config()
    assert Schedule(made).learning_rate(0) == pytest.approx(0.1)
    assert Schedule(made).learning_rate(9) == 1.0
    assert Schedule(made).learning_rate(10) == 1.0
    assert Schedule(made).learning_rate(55) == pytest.approx(0.55)
    assert Schedule(made).learning_rate(100) == pytest.approx(0.1)
    assert Schedule(made.replace(lr_schedule={"type": "constant"})).learning_rate(99) == 1.0


def test_a_schedule_that_ends_before_the_run_keeps_its_floor_from_there():
    early = Schedule(config().replace(lr_schedule={"end_step": 50}))
    assert early.learning_rate(30) == pytest.approx(0.55)
    assert [early.learning_rate(step) for step in (50, 99)] == pytest.approx([0.1, 0.1])


def test_the_stable_learning_rate_decays_over_the_last_share_of_the_steps():
    wsd = config().replace(lr_schedule={"type": "wsd", "decay_share": 0.4, "min_ratio": 0.2})
    assert Schedule(wsd).learning_rate(0) == pytest.approx(0.1)
    assert [Schedule(wsd).learning_rate(step) for step in (9, 10, 59, 60)] == [1.0] * 4
    assert Schedule(wsd).learning_rate(70) == pytest.approx(0.2 + 0.8 * (1 - 0.5))  # a quarter of the decay
    assert [Schedule(wsd).learning_rate(step) for step in (100, 200)] == [0.2, 0.2]
    # A run that is extended while it is stable had the same learning rates as a longer one.
    longer = wsd.replace(training={"n_iters": 200})
    assert [Schedule(longer).learning_rate(step) for step in range(60)] == [
        Schedule(wsd).learning_rate(step) for step in range(60)
    ]
    none = Schedule(wsd.replace(lr_schedule={"decay_share": 0.0}))
    assert [none.learning_rate(step) for step in (99, 100)] == [1.0, 1.0]
    # The decay never begins in the warm-up.
    assert Schedule(wsd.replace(lr_schedule={"decay_share": 1.0})).learning_rate(9) == 1.0


def test_a_run_that_is_made_longer_while_it_is_stable_is_the_longer_run(tiny, tmp_path):
    wsd = tiny("lr_schedule.type=wsd", "lr_schedule.decay_share=0.25")  # of 8 steps: the decay begins at 6
    longer = wsd.replace(training={"n_iters": 16})
    sedd.Trainer(wsd, run=tmp_path / "run").fit(until=5, progress=False)
    extended = sedd.Trainer(longer, run=tmp_path / "run", resume=True, allow=["training.n_iters"])
    straight = sedd.Trainer(longer)
    expected = [(report.loss, report.lr) for report in straight.steps()]
    assert [(report.loss, report.lr) for report in extended.steps()] == expected[5:]
    for mine, other in zip(extended.network.parameters(), straight.network.parameters(), strict=True):
        assert torch.equal(mine, other)


@given(st.integers(0, 200), st.sampled_from(["cosine", "constant", "wsd"]), st.floats(0.0, 1.0))
def test_the_learning_rate_never_leaves_its_range(step, kind, share):
    made = config().replace(lr_schedule={"type": kind, "decay_share": share})
    assert 0.0 < Schedule(made).learning_rate(step) <= 1.0


@given(st.floats(0.0, 0.9999), st.booleans(), st.integers(1, 40))
def test_the_ema_follows_its_recursion(decay, warmup, updates):
    network = nn.Linear(1, 1, bias=False)
    nn.init.zeros_(network.weight)
    ema = EmaNetwork(network, Ema(decay=decay, warmup=warmup))
    expected = 0.0
    for n in range(updates):
        nn.init.constant_(network.weight, n + 1.0)
        ema.update(network)
        d = min(decay, (1 + n) / (10 + n)) if warmup else decay
        expected = d * expected + (1 - d) * (n + 1.0)
    assert ema.network.weight.item() == pytest.approx(expected, rel=1e-4)
    assert ema.updates == updates


@given(st.floats(0.0, 0.99999), st.booleans(), st.integers(0, 3000))
def test_the_share_of_the_initial_weights_is_the_product_of_the_decays(decay, warmup, updates):
    ema = Ema(decay=decay, warmup=warmup)
    product = math.prod(decay_at(ema, update) for update in range(updates))
    assert initial_share(ema, updates) == pytest.approx(product, rel=1e-7, abs=1e-300)


def test_the_share_of_the_initial_weights_is_what_the_average_holds():
    network = nn.Linear(1, 1, bias=False)
    nn.init.ones_(network.weight)
    ema = EmaNetwork(network, Ema(decay=0.99, warmup=False))
    nn.init.zeros_(network.weight)
    for _ in range(100):
        ema.update(network)
    assert ema.initial_share == pytest.approx(ema.network.weight.item(), rel=1e-4)
    assert initial_share(Ema(decay=0.9999, warmup=True), 10**6) < 1e-40  # of many updates, at once


def test_the_ema_network_shares_no_weights_and_does_not_train():
    network = nn.Linear(2, 2)
    ema = EmaNetwork(network, Ema(decay=0.9))
    assert not any(p.requires_grad for p in ema.network.parameters())
    assert ema.network.weight.data_ptr() != network.weight.data_ptr()


def test_weight_decay_applies_to_matrices_only(tiny):
    trainer = sedd.Trainer(tiny("optim.weight_decay=0.1"))
    decayed = {id(p) for group in trainer.optimizer.param_groups if group["weight_decay"] for p in group["params"]}
    for name, parameter in trainer.network.named_parameters():
        assert (id(parameter) in decayed) == (parameter.dim() > 1 and "embed" not in name), name


def test_weight_decay_leaves_out_tables_and_modules_that_say_so(tiny):
    class Own(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.table, self.linear, self.exempt = nn.Embedding(21, 4), nn.Linear(4, 20), nn.Linear(4, 4)
            self.exempt.no_weight_decay = True

    network = Own()
    optimizer = make_optimizer(network, tiny("optim.weight_decay=0.1"))
    decayed = [p for group in optimizer.param_groups if group["weight_decay"] for p in group["params"]]
    assert [id(p) for p in decayed] == [id(network.linear.weight)]
    assert sum(len(group["params"]) for group in optimizer.param_groups) == 5


def test_the_first_step_is_that_of_adamw():
    made = sedd.Config(optim={"lr": 0.1, "weight_decay": 0.5, "beta1": 0.9, "beta2": 0.99})
    network = nn.Linear(1, 1, bias=False)
    nn.init.constant_(network.weight, 2.0)
    optimizer = make_optimizer(network, made)
    network.weight.grad = torch.tensor([[3.0]])
    optimizer.step()
    assert network.weight.item() == pytest.approx(2.0 * (1 - 0.1 * 0.5) - 0.1 * 3.0 / (math.sqrt(9.0) + 1e-8))


def test_two_steps_are_those_of_adamw_with_its_betas():
    made = sedd.Config(optim={"lr": 0.1, "weight_decay": 0.0, "beta1": 0.5, "beta2": 0.9, "eps": 1e-8})
    network = nn.Linear(1, 1, bias=False)
    nn.init.zeros_(network.weight)
    optimizer = make_optimizer(network, made)
    for gradient in (1.0, 3.0):
        network.weight.grad = torch.tensor([[gradient]])
        optimizer.step()
    # m = (0.5 0.5 + 0.5 3) / (1 - 0.5^2), v = (0.9 0.1 + 0.1 9) / (1 - 0.9^2)
    second = (1.75 / 0.75) / math.sqrt(0.99 / 0.19)
    assert network.weight.item() == pytest.approx(-0.1 * (1.0 + second), rel=1e-5)


@pytest.mark.parametrize("clip", [0.0, 0.02, 1e6], ids=["off", "shorter", "longer"])
def test_the_gradient_of_an_update_is_at_most_as_long_as_grad_clip(tiny, clip):
    trainer = sedd.Trainer(tiny(f"optim.grad_clip={clip}", "training.eval_every=1000"))
    update, lengths = trainer.train_step.update, []

    def measured(gradient):
        squares = [p.grad.double().square().sum() for p in trainer.network.parameters() if p.grad is not None]
        lengths.append(math.sqrt(sum(squares)))
        update(gradient)

    trainer.train_step.update = measured
    norms = [report.grad_norm for report in trainer.steps()]  # before clipping
    assert min(norms) > 0.02
    assert lengths == pytest.approx([min(norm, clip) if clip else norm for norm in norms], rel=1e-4)
