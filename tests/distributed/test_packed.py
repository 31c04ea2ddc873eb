"""Two processes that train on packed rows have the results of one that trains on padded rows of the same sequences."""

from __future__ import annotations

import pytest
import torch

import sedd
from sedd.runs import checkpoint
from tests.conftest import TINY
from tests.processes import train

OPTIONS = ("device.layout=packed", "model.dropout=0.1", "model.n_blocks=2", "optim.grad_clip=100")


@pytest.mark.parametrize("strategy", ["ddp", "fsdp2"])
def test_two_packed_processes_have_the_losses_of_one(strategy, tmp_path):
    recompute = f"training.activation_checkpointing={'true' if strategy == 'fsdp2' else 'false'}"
    options = (*OPTIONS, f"distributed.strategy={strategy}", recompute)
    first, second = train(tmp_path / "run", *options, count=2)
    trainer = sedd.Trainer(sedd.load_config("quickstart", *TINY, *OPTIONS))
    trainer.loader.row_shape = None  # padded rows of the same batches
    losses = [report.loss for report in trainer.steps()]
    assert first["losses"] == second["losses"] == pytest.approx(losses, abs=1e-6)
    newest = checkpoint.latest(tmp_path / "run" / "checkpoints")
    assert newest is not None
    for name, value in trainer.ema.network.state_dict().items():
        assert torch.allclose(newest[1].tensors["ema"][name], value, atol=1e-6)


@pytest.mark.parametrize("strategy", ["ddp", "fsdp2"])
def test_two_processes_that_read_late_have_the_losses_of_one_and_skip_together(strategy, tmp_path):
    options = ("model.dropout=0.1", f"distributed.strategy={strategy}", "training.log_every=100")
    first, second = train(tmp_path / "run", *options, late=True, count=2)
    losses = [report.loss for report in sedd.Trainer(sedd.load_config("quickstart", *TINY, *options)).steps()]
    assert first["losses"] == second["losses"] == pytest.approx(losses, rel=1e-6)
    first, second = train(tmp_path / "nan", *options, late=True, nan_at=(1, 3), count=2)
    assert first["skipped"] == second["skipped"] == [False, False, True, *[False] * 5]
    assert first["losses"][3:] == second["losses"][3:]
