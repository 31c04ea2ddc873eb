"""What the loss profile and the monitor cost: their share of the time of a training step, measured in one run.

    python benchmarks/overhead.py [--steps 200] [PRESET OVERRIDES...]

Every function that is there only for the profile or the monitor is timed inside `Trainer.fit`, and its time divided by
that of the whole. Prints the share of each, the median over blocks of steps, and the range.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

import sedd
from sedd.diagnosis.monitor import Monitor
from sedd.diffusion.graphs import Absorb, Uniform
from sedd.diffusion.loss_profile import LossProfile
from sedd.runs.metrics import TrainRecord
from sedd.runs.state import Window
from sedd.training import step

spent: dict[str, float] = defaultdict(float)


def timed(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
    """The function, with its time added to `spent`."""

    def wrapped(*args: Any, **kwargs: Any) -> Any:
        began = time.perf_counter()
        try:
            return function(*args, **kwargs)
        finally:
            spent[name] += time.perf_counter() - began

    return wrapped


def watch() -> None:
    """Time everything that is there for the profile and the monitor."""
    for graph in (Absorb, Uniform):
        graph.mask_rate_drawn = timed("profile: on the device", graph.mask_rate_drawn)  # type: ignore[method-assign]
    torch.bincount = timed("token counts", torch.bincount)
    step.by_mask_rate = timed("profile: bins", step.by_mask_rate)
    step.widths = timed("profile: bins", step.widths)  # type: ignore[attr-defined]  # where it is used
    TrainRecord.to_dict = timed("the record", TrainRecord.to_dict)  # type: ignore[method-assign]
    LossProfile.ema_update = timed("profile: weighted sums", LossProfile.ema_update)  # type: ignore[method-assign]
    Window.add = timed("profile: window", Window.add)  # type: ignore[method-assign]
    Monitor.observe = timed("monitor", Monitor.observe)  # type: ignore[method-assign]


def main() -> None:
    """Train a little, print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("config", nargs="*", default=["quickstart"])
    options = parser.parse_args()
    preset, *overrides = options.config
    config = sedd.load_config(
        preset, *overrides, f"training.n_iters={options.steps}", "training.eval_every=1000000",
        "checkpoint.every=1000000", "evaluation.sequences=2", "evaluation.masks=1",
    )  # fmt: skip
    blocks: list[dict[str, float]] = []
    with tempfile.TemporaryDirectory() as folder:
        trainer = sedd.Trainer(config, run=Path(folder) / "run")
        one_step, began = trainer._step, [time.perf_counter()]

        def counted() -> sedd.StepReport:
            if trainer.state.step and trainer.state.step % 20 == 0:
                now = time.perf_counter()
                blocks.append({name: value / (now - began[0]) for name, value in spent.items()})
                spent.clear()
                began[0] = now
            return one_step()

        trainer._step = counted  # type: ignore[method-assign]  # a stopwatch around it
        watch()
        trainer.fit(progress=False)
    rows = {name: [block.get(name, 0.0) for block in blocks[1:]] for name in blocks[-1]}
    rows["together"] = [sum(block.values()) for block in blocks[1:]]
    print(f"{preset} {' '.join(overrides)}: share of a training step, over {len(blocks) - 1} blocks of 20 steps\n")
    print(f"{'':<26}{'median':>10}{'least':>10}{'most':>10}")
    for name, shares in rows.items():
        print(f"{name:<26}{np.median(shares):>10.2%}{min(shares):>10.2%}{max(shares):>10.2%}")


if __name__ == "__main__":
    main()
