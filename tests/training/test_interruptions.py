"""A step is begun, done or undone: wherever a run is interrupted, it is saved, and goes on as if it had not been."""

from __future__ import annotations

import errno
import gc
import json
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import sedd
from sedd.errors import DiskError, OutOfMemoryError
from sedd.runs import checkpoint
from sedd.runs.directory import RunDirectory
from sedd.runs.step_report import StepReport
from sedd.training import in_flight, pending
from sedd.training.deferral import signals_deferred
from sedd.training.samples import SamplesAtSteps
from tests.conftest import TINY
from tests.training.test_trainer import Brittle, contents, lines

QUICK = ("sampling.at_steps=[5]", "sampling.count=2", "evaluation.sequences=8", "evaluation.train_sequences=4")


class Interrupter:
    """Raises an error before, in the middle of, or after one call of a function.

    Args:
        error: what is raised.
        call: the number of the call, 1 for the first.
        after: whether the call is completed first.
    """

    def __init__(self, error: BaseException, call: int, *, after: bool) -> None:
        self.error, self.call, self.after, self.calls = error, call, after, 0

    def patch(self, monkeypatch: pytest.MonkeyPatch, owner: Any, name: str) -> None:
        """Interrupt `owner.name`."""
        function = getattr(owner, name)

        def interrupted(*arguments: Any, **options: Any) -> Any:
            self.calls += 1
            if self.calls != self.call:
                return function(*arguments, **options)
            if self.after:
                function(*arguments, **options)
            raise self.error

        monkeypatch.setattr(owner, name, interrupted)


PLACES: dict[str, Callable[[sedd.Trainer], tuple[Any, str]]] = {
    "loading": lambda trainer: (trainer.loader, "_prepare"),
    "forward": lambda trainer: (trainer.train_step, "_gradient"),
    "backward": lambda trainer: (torch.Tensor, "backward"),
    "clipping": lambda trainer: (trainer.parallel, "clip_grad_norm_"),
    "optimizer": lambda trainer: (trainer.optimizer, "step"),
    "averaging": lambda trainer: (trainer.ema, "update"),
    "update": lambda trainer: (trainer.train_step, "update"),
    "state": lambda trainer: (in_flight, "advanced"),
}
LATER: dict[str, tuple[Callable[[sedd.Trainer], tuple[Any, str]], int]] = {
    "evaluating": (lambda trainer: (type(trainer.evaluator), "evaluated"), 1),
    "recording": (lambda trainer: (RunDirectory, "append"), 4),
    "recording the evaluation": (lambda trainer: (RunDirectory, "append"), 5),
    "sampling": (lambda trainer: (SamplesAtSteps, "__call__"), 5),
    "saving": (lambda trainer: (checkpoint, "_publish"), 1),
}
WHERE = (
    {name: (place, 3) for name, place in PLACES.items()}
    | {f"{name}, after a checkpoint": (place, 6) for name, place in PLACES.items()}
    | LATER
)


@pytest.fixture(scope="module")
def straight(tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("straight") / "run"
    sedd.Trainer(configuration(), run=run).fit(progress=False)
    return run


def configuration() -> sedd.Config:
    return sedd.load_config("quickstart", *TINY, "model.dropout=0.1", *QUICK)


@pytest.mark.parametrize("after", [pytest.param(False, marks=pytest.mark.long), True], ids=["before", "after"])
@pytest.mark.parametrize(
    ("place", "call"),
    [
        pytest.param(*where, marks=pytest.mark.long if "after a checkpoint" in name else ())
        for name, where in WHERE.items()
    ],
    ids=WHERE,
)
def test_a_run_interrupted_anywhere_goes_on_as_if_it_had_not_been(straight, tmp_path, monkeypatch, place, call, after):
    """Both in the same trainer, and in a new one that resumes."""
    for name in ("again", "resumed"):
        trainer = sedd.Trainer(configuration(), run=tmp_path / name)
        interrupter = Interrupter(KeyboardInterrupt(), call, after=after)
        with monkeypatch.context() as patched:
            interrupter.patch(patched, *place(trainer))
            with pytest.raises(KeyboardInterrupt):
                trainer.fit(progress=False)
        if name == "resumed":
            trainer = sedd.Trainer(trainer.config, run=tmp_path / name, resume=True)
        trainer.fit(progress=False)
        assert contents(straight) == contents(tmp_path / name)
        assert lines(straight) == lines(tmp_path / name)


@pytest.mark.parametrize("graph", ["absorb", "uniform"])
def test_half_an_update_is_undone_by_every_verb(tiny, monkeypatch, graph):
    """Without a checkpoint the run goes back to its beginning."""
    config = tiny(f"graph.type={graph}")
    expected = [report.loss for report in sedd.Trainer(config).steps()]
    for verb in ("steps", "evaluate", "model", "sample"):
        trainer = sedd.Trainer(config)
        interrupter = Interrupter(RuntimeError(), 3, after=False)
        with monkeypatch.context() as patched:
            interrupter.patch(patched, trainer.ema, "update")
            with pytest.raises(RuntimeError):
                list(trainer.steps())
        assert trainer.train_step.torn
        used = getattr(trainer, verb)
        if callable(used) and verb != "model":
            used(1) if verb == "sample" else used()
        if verb != "steps":
            assert not trainer.train_step.torn
        assert [report.loss for report in trainer.steps()] == expected


class Counting(nn.Module):
    """A user's network with a buffer that every forward pass changes."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(21, 20)
        self.register_buffer("passes", torch.zeros(()))

    def forward(self, tokens: Tensor, sigma: Tensor, mask: Tensor | None = None) -> Tensor:
        if self.training:
            self.passes += 1
        output: Tensor = self.table(tokens)
        return output


@pytest.mark.parametrize("place", ["clip_grad_norm_", "step"])
def test_the_weights_and_buffers_of_a_users_network_are_restored(tiny, monkeypatch, place):
    torch.manual_seed(0)
    trainer = sedd.Trainer(tiny("training.eval_every=1000"), model=Counting())
    interrupter = Interrupter(RuntimeError(), 3, after=True)
    owner = trainer.optimizer if place == "step" else trainer.parallel
    with monkeypatch.context() as patched:
        interrupter.patch(patched, owner, place)
        with pytest.raises(RuntimeError):
            list(trainer.steps())
    reports = list(trainer.steps())
    torch.manual_seed(0)
    other = sedd.Trainer(trainer.config, model=Counting())
    assert [report.loss for report in other.steps()][-len(reports) :] == [report.loss for report in reports]
    for mine, theirs in zip(trainer.network.state_dict().values(), other.network.state_dict().values(), strict=True):
        assert torch.equal(mine, theirs)


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_a_skipped_step_whose_record_was_interrupted_is_recorded_once(tiny, tmp_path, monkeypatch, after):
    config = tiny("training.log_every=1", "training.eval_every=1000")
    runs = []
    for name, call in (("straight", 0), ("interrupted", 5)):  # the call writes the record of the skipped step
        torch.manual_seed(0)
        trainer = sedd.Trainer(config, model=Brittle({3}), run=tmp_path / name)
        if call:
            with monkeypatch.context() as patched:
                Interrupter(KeyboardInterrupt(), call, after=after).patch(patched, RunDirectory, "append")
                with pytest.raises(KeyboardInterrupt):
                    trainer.fit(progress=False)
            assert trainer.state.pending is not None
            assert trainer.state.pending.skipped
        trainer.fit(progress=False)
        runs.append(tmp_path / name)
    assert lines(runs[0]) == lines(runs[1])
    assert contents(runs[0]) == contents(runs[1])


def test_ctrl_c_during_an_update_waits_for_its_end(tiny, monkeypatch):
    trainer = sedd.Trainer(tiny())
    update = trainer.ema.update

    def interrupted(network: nn.Module, **options: Any) -> None:
        signal.raise_signal(signal.SIGINT)
        update(network, **options)

    # A shell starts what runs in the background with SIGINT ignored.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with monkeypatch.context() as patched:
            patched.setattr(trainer.ema, "update", interrupted)
            with pytest.raises(KeyboardInterrupt):
                next(trainer.steps())
    finally:
        signal.signal(signal.SIGINT, before)
    assert trainer.state.step == 1
    assert not trainer.train_step.torn
    assert trainer.ema.updates == 1


def test_deferred_signals_reach_their_handlers_once_and_in_order():
    received = []
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        for number in before:
            signal.signal(number, lambda number, frame: received.append(number))
        handlers = [signal.getsignal(number) for number in before]
        with signals_deferred():
            signal.raise_signal(signal.SIGTERM)
            signal.raise_signal(signal.SIGINT)
            assert not received
        assert received == [signal.SIGTERM, signal.SIGINT]
        assert [signal.getsignal(number) for number in before] == handlers
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


ERRORS = {
    "a plugin's": (ZeroDivisionError("oh"), ZeroDivisionError),
    "memory": (MemoryError(), OutOfMemoryError),
    "memory of a GPU": (torch.OutOfMemoryError("CUDA out of memory"), OutOfMemoryError),
    "memory of torch on a CPU": (RuntimeError("DefaultCPUAllocator: can't allocate memory"), OutOfMemoryError),
    "a full disk": (OSError(errno.ENOSPC, "No space left on device", "some/file"), DiskError),
    "a system exit": (SystemExit(3), SystemExit),
    "a typed one": (sedd.DataError("a broken sequence"), sedd.DataError),
}


@pytest.mark.parametrize("place", ["_gradient", "_evaluated"])
@pytest.mark.parametrize(("error", "expected"), ERRORS.values(), ids=ERRORS)
def test_whatever_ends_a_run_saves_it_first_and_says_where(tiny, tmp_path, monkeypatch, capfd, error, expected, place):
    trainer = sedd.Trainer(tiny("training.eval_every=1000", "checkpoint.every=1000"), run=tmp_path / "run")
    owner = pending if place == "_evaluated" else trainer.train_step
    Interrupter(error, 6, after=False).patch(monkeypatch, owner, place)
    with pytest.raises(expected) as caught:
        trainer.fit()
    (path,) = checkpoint.listing(trainer.run.checkpoints)
    assert checkpoint.step_of(path) == (6 if place == "_evaluated" else 5)
    assert str(path) in capfd.readouterr().err
    if isinstance(caught.value, sedd.SeddError) and not isinstance(error, sedd.SeddError):
        assert str(path) in str(caught.value)
        assert isinstance(caught.value, OSError if isinstance(error, OSError) else MemoryError)
    if isinstance(error, OSError):
        assert caught.value.errno == errno.ENOSPC
        assert caught.value.file == Path("some/file")


@pytest.mark.parametrize("error", [MemoryError(), OSError(errno.ENOSPC, "No space left on device", "some/file")])
def test_what_fails_before_the_first_step_is_explained_and_another_fit_goes_on(tiny, tmp_path, monkeypatch, error):
    trainer = sedd.Trainer(tiny(), run=tmp_path / "run")
    with monkeypatch.context() as patched:
        Interrupter(error, 1, after=True).patch(patched, RunDirectory, "append")
        with pytest.raises((OutOfMemoryError, DiskError)):
            trainer.fit(progress=False)
    trainer.fit(until=2, progress=False)
    kinds = [record["kind"] for record in trainer.run.read_metrics()]
    assert kinds.count("data") == 1


def test_what_a_step_without_memory_held_is_released_before_saving(tiny, tmp_path, monkeypatch):
    trainer = sedd.Trainer(tiny(), run=tmp_path / "run")
    alive: list[int] = []

    class Activation:
        def __init__(self) -> None:
            alive.append(1)

        def __del__(self) -> None:
            alive.pop()

    def fails_in_its_frame(inputs: object) -> Tensor:
        held = Activation()  # noqa: F841  # held by the frame of the traceback
        raise MemoryError

    write = checkpoint.write
    seen = []
    monkeypatch.setattr(
        checkpoint, "write", lambda *a, **k: (gc.collect(), seen.append(list(alive)), write(*a, **k))[2]
    )
    trainer.fit(until=2, progress=False)
    monkeypatch.setattr(trainer.train_step, "_gradient", fails_in_its_frame)
    with pytest.raises(OutOfMemoryError):
        trainer.fit(progress=False)
    assert seen[-1] == []


def test_a_disk_that_is_full_while_saving_is_said_with_the_file_and_the_checkpoint_that_remains(
    tiny, tmp_path, monkeypatch
):
    trainer = sedd.Trainer(tiny(), run=tmp_path / "run")
    trainer.fit(until=4, progress=False)
    fsync = os.fsync

    def full(handle: int) -> None:
        if "step-" in os.readlink(f"/proc/self/fd/{handle}"):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        fsync(handle)

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(DiskError) as caught:
        trainer.fit(progress=False)
    assert caught.value.errno == errno.ENOSPC
    assert ".step-00000008.tmp" in str(caught.value.file)
    assert "step 9" in str(caught.value) or "step 8" in str(caught.value)
    assert "step-00000004" in str(caught.value)
    assert [path.name for path in trainer.run.checkpoints.iterdir()] == ["step-00000004"]
    monkeypatch.undo()
    trainer.fit(progress=False)
    assert trainer.state.step == 8


def test_what_a_killed_run_was_writing_is_removed_when_it_goes_on(tiny, tmp_path):
    trainer = sedd.Trainer(tiny(), run=tmp_path / "run")
    trainer.fit(until=4, progress=False)
    left = [trainer.run.path / "config.yaml.new", trainer.run.checkpoints / ".step-00000005.tmp"]
    left[0].write_text("half")
    left[1].mkdir()
    trainer.fit(until=5, progress=False)
    assert not any(os.path.lexists(path) for path in left)


def test_an_error_of_the_loader_is_not_raised_again_once_its_cause_is_gone(tiny, monkeypatch):
    trainer = sedd.Trainer(tiny())
    with monkeypatch.context() as patched:
        Interrupter(sedd.DataError("gone"), 2, after=False).patch(patched, trainer.loader, "_prepare")
        with pytest.raises(sedd.DataError):
            list(trainer.steps())
    assert [report.step for report in trainer.steps()][-1] == 8


def test_a_pending_report_is_read_back_exactly(tiny):
    trainer = sedd.Trainer(tiny())
    report = next(trainer.steps())
    assert StepReport.from_dict(json.loads(json.dumps(report.to_dict()))) == report
