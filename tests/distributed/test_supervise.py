"""A group that loses a rank restarts from the last checkpoint and ends with the weights of an undisturbed run."""

from __future__ import annotations

import os
import random
import signal
import subprocess
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
def make_supervisor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Supervisor]:
    """Makes supervisors of two processes that train the tiny model in `tmp_path / "run"`, or run `program`."""
    for name, value in environment().items():
        monkeypatch.setenv(name, value)

    def make(*overrides: str, program: str | None = None, size: int = 2) -> Supervisor:
        run = tmp_path / "run"
        command = sedd_command("train", "quickstart", *TINY, *overrides, "--run", str(run), "--samples", "0")
        resume_command = [*command, "--resume"]
        if program is not None:
            command = resume_command = [sys.executable, "-c", program]
        lines: list[str] = []
        supervisor = Supervisor(
            command, resume_command, size=size, newest_checkpoint=lambda: newest(run), log=lines.append
        )
        supervisor.lines = lines  # type: ignore[attr-defined]
        return supervisor

    return make


def while_it_runs(supervisor: Supervisor, act: Callable[[], None]) -> int:
    """Run a supervisor while another thread runs `act`; returns its exit code."""
    thread = threading.Thread(target=act)
    thread.start()
    try:
        return supervisor.run()
    finally:
        thread.join()


def wait_for_checkpoint(run: Path, after: str | None) -> str | None:
    """Wait for a checkpoint other than `after`; returns its name."""
    while newest(run) in (None, after):
        time.sleep(0.01)
    return newest(run)


@pytest.mark.long
@pytest.mark.parametrize("kills", [1, 2])
def test_a_group_whose_processes_are_killed_ends_with_the_weights_of_an_undisturbed_run(
    make_supervisor, tmp_path, kills
):
    steps = ("training.n_iters=120", "checkpoint.every=3", "training.eval_every=50", "model.dropout=0.1")
    supervisor = make_supervisor(*steps, "optim.grad_clip=100")

    def kill() -> None:
        saved, rng = None, random.Random(0)
        for _ in range(kills):
            saved = wait_for_checkpoint(tmp_path / "run", saved)
            time.sleep(rng.random() * 0.1)
            rng.choice(supervisor.processes).kill()
            time.sleep(1.0)  # until the group was restarted
            saved = newest(tmp_path / "run")  # the first process may have saved when it lost the other one

    assert while_it_runs(supervisor, kill) == 0
    assert len(supervisor.lines) == kills
    assert all("SIGKILL" in line and "step-" in line for line in supervisor.lines)
    single = ("training.batch_size=4", "training.accum=2")
    undisturbed = sedd.Trainer(sedd.load_config("quickstart", *TINY, *steps, "optim.grad_clip=100", *single))
    list(undisturbed.steps())
    saved = checkpoint.read(checkpoint.listing(tmp_path / "run" / "checkpoints")[-1])
    assert saved.state["train"]["step"] == 120
    for name, weights in (("model", undisturbed.network), ("ema", undisturbed.ema.network)):
        assert all(torch.equal(saved.tensors[name][key], value) for key, value in weights.state_dict().items())


@pytest.mark.long
def test_a_signal_to_one_process_saves_a_checkpoint_and_stops_all(make_supervisor, tmp_path):
    supervisor = make_supervisor("training.n_iters=100000", "checkpoint.every=5", "training.eval_every=100000")

    def stop_one() -> None:
        wait_for_checkpoint(tmp_path / "run", None)
        supervisor.processes[1].send_signal(signal.SIGTERM)

    assert while_it_runs(supervisor, stop_one) == 128 + signal.SIGTERM
    assert [process.returncode for process in supervisor.processes] == [143, 143]
    assert supervisor.lines == []
    lines = (tmp_path / "run" / "metrics.jsonl").read_text()
    assert newest(tmp_path / "run") is not None
    assert lines.endswith("\n")


def test_a_signal_to_the_supervisor_is_forwarded(make_supervisor):
    supervisor = make_supervisor(
        program="import signal, sys, time\nsignal.signal(15, lambda *_: sys.exit(143))\ntime.sleep(600)"
    )

    def stop() -> None:
        while len(supervisor.processes) < 2:
            time.sleep(0.01)
        time.sleep(1.0)
        os.kill(os.getpid(), signal.SIGTERM)

    assert while_it_runs(supervisor, stop) == 143


def test_three_failures_without_a_new_checkpoint_end_the_run(make_supervisor):
    supervisor = make_supervisor(program="import os, sys; sys.exit(7 if os.environ['RANK'] == '1' else 0)")
    with pytest.raises(TrainingError):
        supervisor.run()
    assert supervisor.processes[1].returncode == 7
    assert len(supervisor.lines) == 2


def test_failures_with_new_checkpoints_in_between_do_not_end_the_run(make_supervisor, tmp_path):
    program = (
        "import os, pathlib, sys\n"
        f"folder = pathlib.Path({str(tmp_path / 'run' / 'checkpoints')!r})\n"
        "step = len(list(folder.glob('*'))) + 1\n"
        "if os.environ['RANK'] == '0':\n"
        "    (folder / f'step-{step:08d}').mkdir(parents=True)\n"
        "    sys.exit(0 if step == 6 else 7)\n"
    )
    supervisor = make_supervisor(program=program, size=1)
    assert supervisor.run() == 0
    assert len(supervisor.lines) == 5


def test_a_permanent_error_ends_the_run_without_a_restart(make_supervisor):
    supervisor = make_supervisor(program="import sys; sys.exit(2)")
    assert supervisor.run() == 2
    assert supervisor.lines == []


def test_a_process_that_hangs_after_another_died_is_killed(make_supervisor):
    supervisor = make_supervisor(program="import os, time\nif os.environ['RANK'] == '0': os.abort()\ntime.sleep(600)")
    with pytest.raises(TrainingError):
        supervisor.run()
    assert supervisor.processes[0].returncode == -signal.SIGABRT
    assert all(process.returncode is not None for process in supervisor.processes)


@pytest.mark.skipif(os.name == "nt", reason="no pipes are passed on")
def test_ranks_do_not_outlive_a_supervisor_that_was_killed():
    rank = (
        "import time; from sedd.distributed.supervise import watch_supervisor; watch_supervisor()\n"
        "print('started', flush=True); time.sleep(600)"
    )
    program = (
        "import sys; from sedd.distributed.supervise import Supervisor\n"
        f"command = [sys.executable, '-c', {rank!r}]\n"
        "Supervisor(command, command, size=2, newest_checkpoint=lambda: None, log=print).run()"
    )
    process = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, env=environment())
    assert process.stdout is not None
    with process.stdout as output:
        assert [output.readline(), output.readline()] == [b"started\n"] * 2
        process.kill()
        assert output.read() == b""  # until the last rank ends, which holds the other end
    process.wait()


def test_a_second_signal_to_the_supervisor_does_not_kill_ranks_that_save(make_supervisor, tmp_path):
    rank = (
        "import pathlib, signal, sys, time\n"
        f"saved = pathlib.Path({str(tmp_path / 'saved')!r})\n"
        "signal.signal(2, lambda *_: (time.sleep(1.0), saved.touch(), sys.exit(130)))\n"
        "saved.with_name('ready').touch()\n"
        "time.sleep(600)"
    )
    supervisor = make_supervisor(program=rank, size=1)

    def stop() -> None:
        while not (tmp_path / "ready").exists():
            time.sleep(0.01)
        for _ in range(3):
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(0.1)

    assert while_it_runs(supervisor, stop) == 130
    assert (tmp_path / "saved").exists()
