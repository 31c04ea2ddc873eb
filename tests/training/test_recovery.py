"""A run that diverges goes back to an intact checkpoint."""

from __future__ import annotations

import pytest

import sedd
from sedd.diagnosis.alarms import Alarm
from sedd.runs import checkpoint
from sedd.training.recovery import recover

DIVERGES = Alarm(8, "divergence", "learning", "critical", "the loss rises", {"since": 8.0})


def test_a_rollback_to_a_damaged_checkpoint_takes_the_one_before(tiny, tmp_path):
    config = tiny("monitoring.on_divergence=rollback", "checkpoint.every=2", "training.eval_every=1000")
    trainer = sedd.Trainer(config, run=tmp_path / "run")
    trainer.fit(until=6, progress=False)
    older, newer = checkpoint.listing(trainer.run.checkpoints)
    (newer / "ema.safetensors").write_bytes(b"torn")
    with pytest.warns(sedd.SeddWarning):
        recover(trainer, DIVERGES)
    assert trainer.state.step == checkpoint.step_of(older) == 4
    assert trainer.state.rollbacks == 1
    assert (trainer.run.checkpoints / f"damaged-{newer.name}").is_dir()


def test_a_rollback_without_an_intact_checkpoint_stops_the_run(tiny, tmp_path):
    trainer = sedd.Trainer(tiny("monitoring.on_divergence=rollback", "checkpoint.keep=1"), run=tmp_path / "run")
    trainer.fit(until=4, progress=False)
    for path in checkpoint.listing(trainer.run.checkpoints):
        (path / "manifest.json").unlink()
    with pytest.warns(sedd.SeddWarning), pytest.raises(sedd.TrainingError):
        recover(trainer, DIVERGES)
