"""Tiny runs whose steps take milliseconds, and what must be equal after a fault."""

from __future__ import annotations

import hashlib
import json
import shutil
import warnings
from collections.abc import Callable
from pathlib import Path

import sedd
from sedd.errors import SeddError, SeddWarning
from sedd.runs import checkpoint
from tests.conftest import TINY
from tests.training.test_trainer import contents, lines

STEPS = 6
"""Optimizer steps of a tiny run."""
QUICK = (
    "model.n_blocks=2",
    "data.synthetic.sequences=60",
    f"training.n_iters={STEPS}",
    "training.log_every=1",
    "training.eval_every=3",
    "evaluation.sequences=8",
    "evaluation.train_sequences=4",
    "evaluation.masks=1",
    "checkpoint.every=2",
    "sampling.at_steps=[]",
)
OVERRIDES = (*TINY, *QUICK)
"""Of the preset `quickstart`."""
EXPECTED = (SeddError, OSError)
"""What the command line prints as one message."""


def configuration(*overrides: str) -> sedd.Config:
    """The configuration of a tiny run."""
    return sedd.load_config("quickstart", *OVERRIDES, *overrides)


def train(config: sedd.Config, run: Path, *, until: int | None = None, resume: bool = False) -> sedd.Trainer:
    """Train a run in this process, to its end or until a step."""
    trainer = sedd.Trainer(config, run=run, resume=resume)
    trainer.fit(until=until, progress=False)
    return trainer


def digest(run: Path) -> str:
    """A hash of all that must be the same however often a run was disturbed: tensors, state and metrics, no times."""
    found = hashlib.sha256()
    for name, data in sorted(contents(run).items()):
        found.update(name.encode() + data)
    found.update(json.dumps(lines(run)).encode())
    return found.hexdigest()


def weights_digest(run: Path) -> str:
    """`digest` without the metrics."""
    found = hashlib.sha256()
    for name, data in sorted(contents(run).items()):
        found.update(name.encode() + data)
    return found.hexdigest()


def newest_step(run: Path) -> int:
    """The step of the newest checkpoint of a run; 0 if there is none."""
    return max(map(checkpoint.step_of, checkpoint.listing(run / "checkpoints")), default=0)


def intact_step(run: Path) -> int:
    """The step of the newest intact checkpoint of a run; 0 if there is none."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SeddWarning)
        found = checkpoint.latest(run / "checkpoints")
    return 0 if found is None else checkpoint.step_of(found[0])


def error_of(action: Callable[[], object]) -> BaseException | None:
    """The expected error or interruption that an action ends with; any other is raised."""
    try:
        action()
    except (*EXPECTED, KeyboardInterrupt, SystemExit) as error:
        return error
    return None


def warnings_of(action: Callable[[], object]) -> list[str]:
    """The warnings of sedd that an action raises."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        action()
    return [str(warning.message) for warning in caught if issubclass(warning.category, SeddWarning)]


def fresh(workdir: Path, name: str = "run") -> Path:
    """The path of a run that does not exist; what was there is removed."""
    path = workdir / name
    if path.is_symlink() or path.is_file():
        path.unlink()
    shutil.rmtree(path, ignore_errors=True)
    return path
