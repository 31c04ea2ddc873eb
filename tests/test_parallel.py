"""Several processes train what one would: the same curve, checkpoints for any number, decisions made together."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch

from sedd.training import checkpoint
from tests.processes import train

PLAIN = ("model.dropout=0", "model.n_blocks=2", "optim.grad_clip=100")


def weights(run: Path) -> dict[str, torch.Tensor]:
    """Everything that was trained, by file and name."""
    found = checkpoint.latest(run / "checkpoints")
    assert found is not None
    return {f"{group}/{name}": t for group, tensors in found[1].tensors.items() for name, t in tensors.items()}


class Seen(NamedTuple):
    """A run, and what each of its processes saw."""

    run: Path
    by_rank: list[dict[str, Any]]


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Seen:
    """One process with as many micro-batches as two have together."""
    run = tmp_path_factory.mktemp("alone") / "run"
    return Seen(run, train(run, 1, *PLAIN, "training.batch_size=4", "training.accum=2"))


@pytest.fixture(scope="module", params=["ddp", "fsdp2"])
def pair(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Seen:
    """Two processes."""
    run = tmp_path_factory.mktemp(request.param) / "run"
    return Seen(run, train(run, 2, *PLAIN, f"distributed.strategy={request.param}"))


def test_two_processes_train_what_one_does(alone, pair, request):
    first, second = pair.by_rank
    one = alone.by_rank[0]
    assert first == second
    here, there = weights(alone.run), weights(pair.run)
    assert here.keys() == there.keys()
    if "ddp" in request.node.name:
        assert first == one
        assert all(torch.equal(here[name], there[name]) for name in here)
    else:  # kernels work on shares: the last bits are rounded in other places
        for name in ("losses", "norms", "nats", "stderr"):
            assert first.pop(name) == pytest.approx(one[name], rel=1e-6)
        assert first.items() <= one.items()
        assert all(torch.allclose(here[name], there[name], rtol=1e-5, atol=1e-7) for name in here)
