"""A group that loses a member starts again from its last checkpoint, and ends as if nothing had happened."""

from __future__ import annotations

import os
import random
import signal
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

import sedd
from sedd.distributed.supervise import Supervisor
from sedd.errors import TrainingError
from sedd.runs import checkpoint
from tests.conftest import TINY
from tests.processes import environment, sedd_command


def newest(run: Path) -> str | None:
    return next((path.name for path in reversed(checkpoint.listing(run / "checkpoints"))), None)


@pytest.fixture
def supervisor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Supervisor]:
    """Of two processes that train the tiny model in `tmp_path / "run"`, or run a program of their own."""
    for name, value in environment().items():
        monkeypatch.setenv(name, value)

    def make(*overrides: str, program: str | None = None, size: int = 2) -> Supervisor:
        run = tmp_path / "run"
        first = sedd_command("train", "quickstart", *TINY, *overrides, "--run", str(run), "--samples", "0")
        again = [*first, "--resume"]
        if program is not None:
            first = again = [sys.executable, "-c", program]
        said: list[str] = []
        made = Supervisor(first, again, size=size, progress=lambda: newest(run), say=said.append)
        made.said = said  # type: ignore[attr-defined]
        return made

    return make


def while_it_runs(supervisor: Supervisor, act: Callable[[], None]) -> int:
    """Run a supervisor, and something beside it."""
    beside = threading.Thread(target=act)
    beside.start()
    try:
        return supervisor.run()
    finally:
        beside.join()


def after_next(run: Path, seen: str | None) -> str | None:
    """Wait for another checkpoint than `seen`."""
    while newest(run) in (None, seen):
        time.sleep(0.01)
    return newest(run)


def test_a_group_whose_members_are_killed_ends_with_the_weights_of_an_undisturbed_run(supervisor, tmp_path):
    steps = ("training.n_iters=120", "checkpoint.every=3", "training.eval_every=50", "model.dropout=0.1")
    watched = supervisor(*steps, "optim.grad_clip=100")

    def kill() -> None:
        seen, chance = None, random.Random(0)
        for _ in range(2):
            seen = after_next(tmp_path / "run", seen)
            time.sleep(chance.random() * 0.1)
            chance.choice(watched.group).kill()
            time.sleep(1.0)  # until it is another group

    assert while_it_runs(watched, kill) == 0
    assert len(watched.said) == 2
    assert all("was killed (SIGKILL); starting all 2 again from step-" in text for text in watched.said)
    alone = ("training.batch_size=4", "training.accum=2")
    straight = sedd.Trainer(sedd.load_config("quickstart", *TINY, *steps, "optim.grad_clip=100", *alone))
    list(straight.steps())
    saved = checkpoint.read(checkpoint.listing(tmp_path / "run" / "checkpoints")[-1])
    assert saved.state["train"]["step"] == 120
    for name, weights in (("model", straight.network), ("ema", straight.ema.network)):
        assert all(torch.equal(saved.tensors[name][key], value) for key, value in weights.state_dict().items())


def test_a_signal_to_one_process_saves_and_stops_all(supervisor, tmp_path):
    watched = supervisor("training.n_iters=100000", "checkpoint.every=5", "training.eval_every=100000")

    def stop_one() -> None:
        after_next(tmp_path / "run", None)
        watched.group[1].send_signal(signal.SIGTERM)

    assert while_it_runs(watched, stop_one) == 128 + signal.SIGTERM
    assert [process.returncode for process in watched.group] == [143, 143]
    assert watched.said == []
    lines = (tmp_path / "run" / "metrics.jsonl").read_text()
    assert newest(tmp_path / "run") is not None
    assert lines.endswith("\n")


def test_a_signal_to_the_supervisor_is_passed_on(supervisor):
    watched = supervisor(
        program="import signal, sys, time\nsignal.signal(15, lambda *_: sys.exit(143))\ntime.sleep(600)"
    )

    def stop() -> None:
        while len(watched.group) < 2:
            time.sleep(0.01)
        time.sleep(1.0)
        os.kill(os.getpid(), signal.SIGTERM)

    assert while_it_runs(watched, stop) == 143


def test_three_failures_without_a_new_checkpoint_are_enough(supervisor):
    watched = supervisor(program="import os, sys; sys.exit(7 if os.environ['RANK'] == '1' else 0)")
    with pytest.raises(TrainingError, match=r"process 1 of 2 ended with exit code 7: the third failure in a row"):
        watched.run()
    assert len(watched.said) == 2


def test_failures_with_a_new_checkpoint_each_are_not(supervisor, tmp_path):
    program = (
        "import os, pathlib, sys\n"
        f"folder = pathlib.Path({str(tmp_path / 'run' / 'checkpoints')!r})\n"
        "step = len(list(folder.glob('*'))) + 1\n"
        "if os.environ['RANK'] == '0':\n"
        "    (folder / f'step-{step:08d}').mkdir(parents=True)\n"
        "    sys.exit(0 if step == 6 else 7)\n"
    )
    watched = supervisor(program=program, size=1)
    assert watched.run() == 0
    assert len(watched.said) == 5


def test_an_error_that_would_come_back_is_not_tried_again(supervisor):
    watched = supervisor(program="import sys; sys.exit(2)")
    assert watched.run() == 2
    assert watched.said == []


def test_a_process_that_hangs_when_another_died_is_ended(supervisor):
    watched = supervisor(program="import os, time\nif os.environ['RANK'] == '0': os.abort()\ntime.sleep(600)")
    with pytest.raises(TrainingError, match=r"process 0 of 2 was killed \(SIGABRT\)"):
        watched.run()
    assert all(process.returncode is not None for process in watched.group)
