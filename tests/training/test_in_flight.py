"""Where the device decides which steps are skipped, a step is started before the one before is read.

A CPU takes the same path when it is told to; fused AdamW computes there too.
"""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

import sedd
from sedd.diffusion.schedule import Schedule
from sedd.training import in_flight
from sedd.training.ema import EmaNetwork
from sedd.training.step import skips_on_device
from tests.training.test_interruptions import Interrupter, configuration
from tests.training.test_trainer import Brittle, contents, lines

RARELY = ("training.log_every=100", "training.eval_every=100", "checkpoint.every=100")
"""Nothing is due before the last step, so that every step is read late."""
PLACES = {
    "loading": lambda trainer: (trainer.loader, "_prepare"),
    "forward": lambda trainer: (trainer.train_step, "_gradient"),
    "clipping": lambda trainer: (trainer.parallel, "clip_grad_norm_"),
    "optimizer": lambda trainer: (trainer.optimizer, "step"),
    "averaging": lambda trainer: (trainer.ema, "update"),
    "update": lambda trainer: (trainer.train_step, "update"),
    "report": lambda trainer: (trainer.train_step, "report"),
    "state": lambda trainer: (in_flight, "advanced"),
}


def late(*arguments: object, **options: object) -> sedd.Trainer:
    """A trainer that reads the results of a step when it has started the next one."""
    trainer = sedd.Trainer(*arguments, **options)
    trainer.train_step.skips_on_device = True
    return trainer


def test_late_reading_changes_no_loss_and_no_weight(tiny):
    prompt, delayed = sedd.Trainer(tiny("model.dropout=0.1")), late(tiny("model.dropout=0.1"))
    first, second = (list(trainer.steps()) for trainer in (prompt, delayed))
    for a, b in zip(first, second, strict=True):
        assert (a.step, a.loss, a.grad_norm, a.lr, a.difficulty) == (b.step, b.loss, b.grad_norm, b.lr, b.difficulty)
    assert first[-1].bound.nats == pytest.approx(second[-1].bound.nats, abs=1e-6)
    for name, value in prompt.network.state_dict().items():
        assert torch.equal(value, delayed.network.state_dict()[name])
    for name, value in prompt.ema.network.state_dict().items():
        assert torch.allclose(value, delayed.ema.network.state_dict()[name], atol=1e-7)


def test_the_next_step_is_started_before_a_step_is_read(tiny):
    trainer = late(tiny(*RARELY))
    update, started = trainer.train_step.update, []
    trainer.train_step.update = lambda gradient: (started.append(gradient), update(gradient))[1]
    assert [(report.step, len(started)) for report in trainer.steps()] == [
        *((step, step + 1) for step in range(1, 8)),
        (8, 8),
    ]


def test_no_step_is_started_past_one_after_which_something_is_due(tiny):
    trainer = late(tiny("training.log_every=3", "training.eval_every=100", "checkpoint.every=100"))
    flying = [(report.step, len(trainer.flights.steps)) for report in trainer.steps(until=7)]
    assert flying == [(1, 1), (2, 1), (3, 0), (4, 1), (5, 1), (6, 0), (7, 0)]


def test_skipped_steps_leave_weights_moments_and_average_bit_for_bit(tiny):
    """Against a run in which the host decides, and does not touch them."""
    networks = [Brittle({3, 4, 6}) for _ in range(2)]
    networks[1].load_state_dict(networks[0].state_dict())
    trainers = [make(tiny(*RARELY), model=model) for make, model in zip((sedd.Trainer, late), networks, strict=True)]
    first, second = ([(report.step, report.skipped) for report in trainer.steps()] for trainer in trainers)
    assert first == second == [(step, step in (3, 4, 6)) for step in range(1, 9)]
    prompt, delayed = trainers
    assert torch.equal(prompt.network.table.weight, delayed.network.table.weight)
    assert prompt.ema.updates == delayed.ema.updates == 8
    for key, value in prompt.optimizer.state[prompt.network.table.weight].items():
        assert torch.equal(value, delayed.optimizer.state[delayed.network.table.weight][key])


class Steep(Brittle):
    """A network whose output is finite on every call, and whose gradient is infinite on chosen ones."""

    def forward(self, tokens: Tensor, sigma: Tensor, mask: Tensor | None = None) -> Tensor:
        output: Tensor = self.table(tokens)
        if self.training and output.requires_grad:
            self.calls += 1
            if self.calls in self.bad:
                output.register_hook(lambda gradient: torch.full_like(gradient, torch.inf))
        return output


@pytest.mark.parametrize("make", [sedd.Trainer, late], ids=["host", "device"])
def test_a_step_whose_gradient_alone_is_not_finite_is_skipped(tiny, make):
    trainer = make(tiny(*RARELY), model=Steep({3, 5}))
    reports = list(trainer.steps())
    assert [report.step for report in reports if report.skipped] == [3, 5]
    assert all(math.isfinite(report.loss) for report in reports)
    assert torch.isfinite(trainer.network.table.weight).all()


class Counting(Brittle):
    """Counts its forward passes in a buffer."""

    def __init__(self, bad: set[int]) -> None:
        super().__init__(bad)
        self.register_buffer("passes", torch.zeros(()))

    def forward(self, *arguments, **options):
        if self.training:
            self.passes += 1
        return super().forward(*arguments, **options)


def test_skipped_steps_leave_buffers_as_they_are(tiny):
    trainer = late(tiny(*RARELY), model=Counting({3, 5}))
    reports = list(trainer.steps())
    assert sum(report.skipped for report in reports) == 2
    assert trainer.network.passes == trainer.ema.network.passes == 6


def test_the_masked_average_is_the_average(tiny):
    torch.manual_seed(0)
    network = nn.Linear(5, 7)
    averages = [EmaNetwork(network, tiny().ema) for _ in range(2)]
    for step in range(20):
        for parameter in network.parameters():
            parameter.data += torch.randn_like(parameter)
        before = [parameter.clone() for parameter in averages[1].network.parameters()]
        averages[1].update(network, skip=torch.tensor(2.0))
        assert all(map(torch.equal, before, averages[1].network.parameters()))
        averages[1].updates -= 1
        averages[0].update(network)
        averages[1].update(network, skip=torch.tensor(0.0))
        for a, b in zip(*(average.network.parameters() for average in averages), strict=True):
            assert torch.allclose(a, b, atol=1e-6), step


@pytest.fixture(scope="module")
def straight(tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("straight") / "run"
    late(configuration(), run=run).fit(progress=False)
    return run


@pytest.mark.parametrize("after", [pytest.param(False, marks=pytest.mark.long), True], ids=["before", "after"])
@pytest.mark.parametrize("call", [2, pytest.param(6, marks=pytest.mark.long)])
@pytest.mark.parametrize("place", PLACES)
def test_a_run_interrupted_anywhere_goes_on_as_if_it_had_not_been(straight, tmp_path, monkeypatch, place, call, after):
    for name in ("again", "resumed"):
        trainer = late(configuration(), run=tmp_path / name)
        with monkeypatch.context() as patched:
            Interrupter(KeyboardInterrupt(), call, after=after).patch(patched, *PLACES[place](trainer))
            with pytest.raises(KeyboardInterrupt):
                trainer.fit(progress=False)
        if name == "resumed":
            trainer = late(trainer.config, run=tmp_path / name, resume=True)
        trainer.fit(progress=False)
        assert contents(straight) == contents(tmp_path / name)
        assert lines(straight) == lines(tmp_path / name)


def test_a_step_that_was_started_is_in_what_is_saved_and_is_recorded_later(tiny, tmp_path):
    config = tiny(*RARELY, "training.n_iters=6")
    late(config, run=tmp_path / "straight").fit(progress=False)
    trainer = late(config, run=tmp_path / "run")
    with trainer.recording():
        for report in trainer.steps():
            if report.step == 3:
                assert trainer.save().name == "step-00000004"
                assert trainer.state.pending.step == 4
                break
    resumed = late(config, run=tmp_path / "run", resume=True)
    assert resumed.state.step == 4
    resumed.fit(progress=False)
    assert contents(tmp_path / "straight") == contents(tmp_path / "run")
    assert lines(tmp_path / "straight") == lines(tmp_path / "run")


def test_stop_ends_the_run_after_the_step_that_was_started(tiny, tmp_path):
    config = tiny(*RARELY)
    trainer = late(config, run=tmp_path / "run")
    seen = []

    def stop(report: sedd.StepReport) -> str | None:
        seen.append(report.step)
        return "stop" if report.step == 3 else None

    trainer.fit(progress=False, on_step=stop)
    assert seen == [1, 2, 3, 4]
    assert trainer.state.step == trainer.run.history().ended.step == 4


def test_endless_skipping_is_an_error_and_the_run_is_saved(tiny, tmp_path):
    trainer = late(tiny(*RARELY, "training.max_skipped=2"), model=Brittle({3, 4, 5, 6}), run=tmp_path / "run")
    with pytest.raises(sedd.TrainingError):
        trainer.fit(progress=False)
    skipped = [line for line in lines(tmp_path / "run") if line["kind"] == "skipped"]
    assert [(line["step"], line["skipped"]) for line in skipped] == [(3, 1), (4, 2)]
    trainer = sedd.Trainer(tiny(*RARELY), model=Brittle(set()), run=tmp_path / "run", resume=True)
    assert (trainer.state.step, trainer.state.pending.skipped) == (5, True)
    trainer.fit(progress=False)
    skipped = [line for line in lines(tmp_path / "run") if line["kind"] == "skipped"]
    assert [(line["step"], line["skipped"]) for line in skipped] == [(3, 1), (4, 2), (5, 3)]


class Waits(TorchDispatchMode):
    """Notes the operations whose result the host has to wait for: numbers read, and shapes that depend on data."""

    NAMES = ("_local_scalar_dense", "nonzero", "masked_select", "equal", "repeat_interleave", "unique")

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        name = func.overloadpacket.__name__
        indices = args[1] if name in ("index", "index_put_", "_index_put_impl_") else ()
        if name in self.NAMES or any(index is not None and index.dtype == torch.bool for index in indices):
            self.found.append(name)
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("layout", ["rows", "packed"])
@pytest.mark.parametrize("graph", ["absorb", "uniform"])
@pytest.mark.parametrize("head", ["normalised", "score"])
def test_the_host_waits_for_nothing_between_inputs_and_report(tiny, monkeypatch, layout, graph, head):
    options = (f"device.layout={layout}", f"graph.type={graph}", f"model.head={head}", "model.attention=sdpa")
    trainer = late(tiny(*options, "model.dropout=0.1"))
    for _ in range(2):
        inputs = trainer.loader(trainer.state.step, trainer.state.cursor)
        # What is read of tensors that are on the host everywhere: counts of the batch, and the noise schedule.
        assert all(micro_step.corrupted.batch.residues for micro_step in inputs.micro_steps)
        assert not any(micro_step.corrupted.batch.full is None for micro_step in inputs.micro_steps)
        settings = Schedule(trainer.config).at(trainer.state.step)
        monkeypatch.setattr(Schedule, "at", lambda schedule, step, settings=settings: settings)
        with Waits() as waits:
            gradient = trainer.train_step.gradient(inputs, trainer.state)
            trainer.train_step.update(gradient)
        assert waits.found == []
        monkeypatch.undo()


def test_the_host_decides_on_cpus_and_for_optimizers_that_cannot(tiny):
    trainer = sedd.Trainer(tiny())
    assert not trainer.train_step.skips_on_device
    assert skips_on_device(trainer.optimizer, torch.device("cuda"))
    other = torch.optim.SGD(trainer.network.parameters(), lr=0.1)
    assert not skips_on_device(other, torch.device("cuda"))
