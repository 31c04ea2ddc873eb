"""Steps whose passes are recorded and repeated are those of a run without recordings, bit for bit.

On CPUs a recorder of the tests takes the place of CUDA graphs. Like them, it repeats what was recorded, with the
tensors and the numbers of the host of that time.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

import sedd
from sedd.errors import DeviceError, SeddWarning
from sedd.plugins.backends import Cpu
from sedd.plugins.recorders import Recorder, Work
from sedd.runs import checkpoint
from tests.training.test_trainer import Brittle

PACKED = ("device.layout=packed", "model.n_blocks=2", "model.dropout=0.1", "training.n_iters=20",
          "training.batch_size=16")  # fmt: skip
GPU = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")


class Tape(Recorder):
    """Repeats the work itself, and counts."""

    def __init__(self, change: Work | None = None) -> None:
        self.change = change
        self.rehearsed = self.recorded = self.repeated = 0

    def rehearse(self, work: Work) -> None:
        self.rehearsed += 1
        work()

    def record(self, work: Work) -> Work:
        self.recorded += 1

        def repeat() -> None:
            self.repeated += 1
            work()
            if self.change is not None:
                self.change()

        return repeat


class Broken(Tape):
    """Fails, as CUDA does where something cannot be captured."""

    def record(self, work: Work) -> Work:
        raise RuntimeError("operation not permitted when stream is capturing")


class Full(Tape):
    """Has no memory for a pass that is not recorded while there is a recording, and notices it within the pass."""

    def rehearse(self, work: Work) -> None:
        super().rehearse(work)
        if self.recorded:
            raise torch.OutOfMemoryError("CUDA out of memory")


@pytest.fixture
def using(monkeypatch: pytest.MonkeyPatch) -> Callable[[Recorder], Recorder]:
    """Makes a recorder that of the CPU."""

    def use(recorder: Recorder) -> Recorder:
        monkeypatch.setattr(Cpu, "recorder", lambda backend, device: recorder)
        return recorder

    return use


def assert_equal_runs(first: sedd.Trainer, second: sedd.Trainer) -> None:
    """Losses, norms, weights, moments and averages of two runs are equal bit for bit."""
    curves = [[(r.loss, r.grad_norm, r.skipped) for r in trainer.steps()] for trainer in (first, second)]
    assert curves[0] == curves[1]
    assert_equal_states(first, second)


def assert_equal_states(first: sedd.Trainer, second: sedd.Trainer) -> None:
    for one, other in ((first.network, second.network), (first.ema.network, second.ema.network)):
        assert all(torch.equal(value, other.state_dict()[name]) for name, value in one.state_dict().items())
    moments = [trainer.parallel.optimizer_state(trainer.train_step.optimizer) for trainer in (first, second)]
    assert moments[0].keys() == moments[1].keys()
    assert all(torch.equal(value, moments[1][name]) for name, value in moments[0].items())


@pytest.mark.parametrize(
    "options",
    [
        ("training.accum=2",),
        ("graph.type=uniform", "model.head=score"),
        ("optim.optimizer=Muon", "training.batch_residues=300", "model.qk_norm=true"),
        ("optim.groups=[{pattern: 'blocks.0.*', freeze: true}]",),
    ],
)
def test_recorded_steps_are_those_of_a_run_without_recordings(tiny, using, options):
    plain = sedd.Trainer(tiny(*PACKED, *options, "device.graphs=off"))
    tape = using(Tape())
    recorded = sedd.Trainer(tiny(*PACKED, *options))
    assert plain.train_step.recorded is None
    assert_equal_runs(plain, recorded)
    assert 0 < tape.recorded <= 9
    assert tape.repeated > 10


def test_a_step_that_is_skipped_leaves_nothing_behind(tiny, using):
    using(Tape())
    trainers = [sedd.Trainer(tiny(*PACKED, f"device.graphs={graphs}")) for graphs in ("off", "on")]
    for trainer in trainers:
        for report in trainer.steps(until=12):
            weight = trainer.network.vocab_embed.embedding.data
            if report.step == 8:
                kept = weight[0, 0].item()
                weight[0, 0] = torch.nan
            elif report.skipped:
                weight[0, 0] = kept
        assert trainer.state.skipped > 0
        assert all(torch.isfinite(value).all() for value in trainer.network.state_dict().values())
    assert_equal_states(*trainers)


def test_a_recorded_run_resumes_bit_for_bit(tiny, using, tmp_path):
    tape = using(Tape())
    config = tiny(*PACKED)
    sedd.Trainer(config, run=tmp_path / "straight").fit(progress=False)
    sedd.Trainer(config, run=tmp_path / "run").fit(until=9, progress=False)
    sedd.Trainer(config.replace(device=Cpu(layout="packed", precision="float32", graphs="off")), run=tmp_path / "run",
                 resume=True).fit(until=13, progress=False)  # fmt: skip
    sedd.Trainer(config, run=tmp_path / "run", resume=True).fit(progress=False)
    assert tape.repeated > 10
    expected, found = (checkpoint.latest(tmp_path / run / "checkpoints") for run in ("straight", "run"))
    assert expected is not None
    assert found is not None
    for group, tensors in expected[1].tensors.items():
        assert all(torch.equal(value, found[1].tensors[group][name]) for name, value in tensors.items())


@pytest.mark.parametrize("what", ["fails", "loss", "gradient"])
def test_a_recording_that_fails_or_differs_is_not_used(tiny, using, what):
    plain = sedd.Trainer(tiny(*PACKED, "training.accum=2", "device.graphs=off"))
    recorded: list[sedd.Trainer] = []

    def spoil() -> None:
        passes = recorded[0].train_step.recorded
        assert passes is not None
        if what == "gradient":
            torch._foreach_mul_(passes._gradients, 1.1)
        else:
            for recording in passes._recordings.values():
                recording.parts.mul_(1.1)

    using(Broken() if what == "fails" else Tape(spoil))
    recorded.append(sedd.Trainer(tiny(*PACKED, "training.accum=2")))
    with pytest.warns(SeddWarning, match="recorded") as warned:
        assert_equal_runs(plain, recorded[0])
    assert len(warned) == 1


def test_more_shapes_than_are_recorded_are_computed_as_they_are(tiny, using, monkeypatch):
    monkeypatch.setattr("sedd.training.recorded_passes.MOST_SHAPES", 2)
    plain = sedd.Trainer(tiny(*PACKED, "training.accum=3", "device.graphs=off"))
    tape = using(Tape())
    assert_equal_runs(plain, sedd.Trainer(tiny(*PACKED, "training.accum=3")))
    assert tape.recorded in (1, 2)


def test_recordings_whose_memory_another_shape_needs_are_dropped(tiny, using):
    plain = sedd.Trainer(tiny(*PACKED, "training.accum=2", "device.graphs=off"))
    tape = using(Full())
    recorded = sedd.Trainer(tiny(*PACKED, "training.accum=2"))
    with pytest.warns(SeddWarning, match="out of memory") as warned:
        assert_equal_runs(plain, recorded)
    assert len(warned) == 1
    assert tape.recorded == 1
    assert recorded.train_step.recorded is not None
    assert not recorded.train_step.recorded._recordings


def test_memory_that_does_not_suffice_without_recordings_is_an_error(tiny, using):
    tape = using(Full())
    tape.recorded = 1
    with pytest.raises(torch.OutOfMemoryError):
        list(sedd.Trainer(tiny(*PACKED)).steps())


@pytest.mark.parametrize(
    ("options", "model"),
    [
        (("device.layout=rows",), False),
        (("device.layout=packed", "training.activation_checkpointing=true"), False),
        (("device.layout=packed",), True),
    ],
)
def test_where_steps_differ_in_shape_or_cannot_be_recorded_there_is_no_recording(tiny, using, options, model):
    using(Tape())
    network = Brittle(set()) if model else None
    assert sedd.Trainer(tiny(*options), model=network).train_step.recorded is None
    with pytest.raises(DeviceError, match="graphs=on"):
        sedd.Trainer(tiny(*options, "device.graphs=on"), model=network)


def test_a_cpu_has_no_recorder(tiny):
    assert sedd.Trainer(tiny("device.layout=packed")).train_step.recorded is None
    with pytest.raises(DeviceError, match="cpu"):
        sedd.Trainer(tiny("device.layout=packed", "device.graphs=on"))


@GPU
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_on_cuda_recorded_steps_have_the_losses_of_others(tiny, precision):
    options = (*PACKED, "device.type=cuda", f"device.precision={precision}", "training.accum=2")
    curves = [
        [report.loss for report in sedd.Trainer(tiny(*options, f"device.graphs={graphs}")).steps()]
        for graphs in ("off", "on")
    ]
    assert curves[0] == pytest.approx(curves[1], abs=1e-5 if precision == "float32" else 2e-2)


@GPU
def test_on_cuda_compiled_blocks_are_recorded_without_a_warning(tiny):
    options = (*PACKED, "device.type=cuda", "device.precision=bfloat16", "device.graphs=on", "training.compile=on")
    trainer = sedd.Trainer(tiny(*options))
    list(trainer.steps())
    passes = trainer.train_step.recorded
    assert passes is not None
    assert any(recording.repeat is not None for recording in passes._recordings.values())
