"""Small configurations that train in seconds, and real data where it is there."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import hypothesis
import pytest
import torch

import sedd

hypothesis.settings.register_profile("sedd", deadline=None)  # machines are shared: no test has a time limit
hypothesis.settings.load_profile("sedd")
torch.set_num_threads(1)  # the tests are small: more threads wait for each other longer than they work

REAL = Path(__file__).resolve().parents[2] / "shared" / "data"

TINY = (
    "data.synthetic.sequences=200",
    "data.synthetic.min_length=8",
    "data.synthetic.max_length=24",
    "model.hidden_size=16",
    "model.cond_dim=8",
    "model.n_blocks=1",
    "model.n_heads=2",
    "model.length=24",
    "optim.warmup=2",
    "curriculum.preschool_time=4",
    "training.n_iters=8",
    "training.batch_size=8",
    "training.log_every=3",
    "training.eval_every=4",
    "evaluation.sequences=256",
    "evaluation.masks=2",
    "checkpoint.every=4",
    "sampling.steps=4",
    "device.type=cpu",
    "device.precision=float32",
)


@pytest.fixture
def tiny() -> Callable[..., sedd.Config]:
    """A configuration that trains in a second; takes overrides."""
    return lambda *overrides: sedd.load_config("quickstart", *TINY, *overrides)


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Prepared data go to a place of the test's own, not to the user's cache."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))


@pytest.fixture(autouse=True)
def not_slow(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a command prints does not depend on how fast the machine is."""
    monkeypatch.setattr("sedd.terminal.activity.SILENT_SECONDS", 3600.0)


@pytest.fixture
def real_data() -> Path:
    """The directory of real sequences."""
    if not REAL.is_dir():
        pytest.skip("the real sequences are not beside this checkout (../shared/data)")
    return REAL
