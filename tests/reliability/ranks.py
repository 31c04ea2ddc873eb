"""Two ranks that train together, of which one is killed again and again."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path
from random import Random

import torch

import sedd
from sedd.distributed.supervise import Supervisor
from sedd.runs import checkpoint
from tests.conftest import TINY
from tests.distributed.test_supervise import newest
from tests.processes import environment, sedd_command
from tests.reliability.result import Result, Tally, lost_unless
from tests.reliability.runs import fresh, train
from tests.training.test_trainer import lines

STEPS = (
    "training.n_iters=150", "checkpoint.every=3", "training.eval_every=50", "model.dropout=0.1", "optim.grad_clip=100",
    "sampling.at_steps=[]",
)  # fmt: skip
KILLS = 4
"""In each group."""


def killed_ranks(scale: float, seed: int, workdir: Path) -> Result:
    """One of two ranks is killed, again and again."""
    random = Random(seed)
    groups = max(1, round(3 * scale))
    kills = KILLS if scale >= 0.5 else 1
    tally = Tally(workdir, groups * (kills + 1))
    os.environ.update(environment())
    for number in range(groups):
        run = fresh(workdir)
        overrides = (*STEPS, f"seed={seed + number}")
        supervisor, log = _supervisor(run, overrides)
        killer = threading.Thread(target=_kill, args=(supervisor, run, random, kills))
        killer.start()
        code = supervisor.run()
        killer.join()
        for line in log:
            with tally.case(f"group {number}: {line}"):
                lost_unless("starting all" in line, line)
        with tally.case(f"group {number}, its end"):
            lost_unless(code == 0, f"exit code {code}: {log}")
            _check_equal(run, overrides, workdir)
    return tally.result


def _supervisor(run: Path, overrides: tuple[str, ...]) -> tuple[Supervisor, list[str]]:
    command = sedd_command("train", "quickstart", *TINY, *overrides, "--run", str(run), "--samples", "0")
    log: list[str] = []
    supervisor = Supervisor(
        command, [*command, "--resume"], size=2, newest_checkpoint=lambda: newest(run), log=log.append
    )
    return supervisor, log


def _kill(supervisor: Supervisor, run: Path, random: Random, kills: int) -> None:
    saved = None
    for _ in range(kills):
        deadline = time.monotonic() + 120.0
        while newest(run) in (None, saved) and time.monotonic() < deadline:
            time.sleep(0.01)
        time.sleep(random.random() * 0.1)
        random.choice(supervisor.processes).kill()
        time.sleep(1.0)  # until the group was restarted
        saved = newest(run)


def _check_equal(run: Path, overrides: tuple[str, ...], workdir: Path) -> None:
    """The group ends with the weights and the metrics of one process that computes as many micro-batches."""
    config = sedd.load_config("quickstart", *TINY, *overrides, "training.batch_size=4", "training.accum=2")
    single = train(config, fresh(workdir, "single"))
    saved = checkpoint.read(checkpoint.listing(run / "checkpoints")[-1])
    lost_unless(saved.state["train"]["step"] == single.state.step, f"it ended at step {saved.state['train']['step']}")
    for name, network in (("model", single.network), ("ema", single.ema.network)):
        for key, value in network.state_dict().items():
            lost_unless(torch.equal(saved.tensors[name][key], value), f"{name}/{key} differs")
    steps = [[line["step"] for line in lines(path) if line["kind"] == "train"] for path in (run, single.run.path)]
    lost_unless(steps[0] == steps[1], "lines of the metrics are missing or twice")
