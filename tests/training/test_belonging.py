"""A checkpoint that does not belong to a run is refused by name, before any weight changes."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import sedd
from sedd.runs import checkpoint
from sedd.runs.checkpoint import Checkpoint
from sedd.runs.directory import RunDirectory


@pytest.fixture
def run(tiny, tmp_path) -> Path:
    sedd.Trainer(tiny(), run=tmp_path / "run").fit(until=4, progress=False)
    return tmp_path / "run"


def changed(saved: Checkpoint, group: str, change: Callable[[dict[str, Tensor]], Mapping[str, Tensor]]) -> Checkpoint:
    return replace(saved, tensors=dict(saved.tensors) | {group: change(dict(saved.tensors[group]))})


def half(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor.half() for name, tensor in tensors.items()}


def without_one(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    tensors.pop(next(name for name in tensors if name.endswith("exp_avg_sq")))
    return tensors


def state(saved: Checkpoint, **changes: Any) -> Checkpoint:
    return replace(saved, state=dict(saved.state) | changes)


def train_state(saved: Checkpoint, **changes: Any) -> Checkpoint:
    return state(saved, train=dict(saved.state["train"]) | changes)


FOREIGN: dict[str, tuple[Callable[[Checkpoint], Checkpoint], str]] = {
    "another run": (lambda saved: replace(saved, run="0" * 32), "another run"),
    "another seed": (lambda saved: replace(saved, config=dict(saved.config) | {"seed": 7}), "seed: 7"),
    "no moments": (lambda saved: changed(saved, "optimizer", lambda tensors: {}), "exp_avg"),
    "one moment missing": (lambda saved: changed(saved, "optimizer", without_one), "exp_avg_sq missing"),
    "moments of half precision": (lambda saved: changed(saved, "optimizer", half), "float16"),
    "weights of half precision": (lambda saved: changed(saved, "model", half), "float16"),
    "averages of half precision": (lambda saved: changed(saved, "ema", half), "float16"),
    "weights of another name": (lambda saved: changed(saved, "model", lambda tensors: {"w": torch.ones(1)}), "w"),
    "no average": (lambda saved: changed(saved, "ema", lambda tensors: {}), "only in one of the two"),
    "another alphabet": (
        lambda saved: state(saved, data=saved.state["data"] | {"alphabet": {"name": "hp", "symbols": ["H", "P"]}}),
        "'hp' of 2 symbols",
    ),
    "another step": (lambda saved: train_state(saved, step=3), "step 3"),
    "a step that is no number": (lambda saved: train_state(saved, step="4"), "'4'"),
    "no state": (lambda saved: state(saved, train=None), "TypeError"),
    "an unknown key": (lambda saved: train_state(saved, surprise=1), "surprise"),
    "a profile of other bins": (lambda saved: train_state(saved, profile={"residues": 1, **PROFILE}), "bins"),
    "other data": (lambda saved: state(saved, data={"train": {"sequences": 5}}), "other data"),
    "no data": (lambda saved: state(saved, data=None), "TypeError"),
    "updates that are no number": (lambda saved: state(saved, ema_updates="many"), "many"),
}
PROFILE = {name: [1.0, 2.0] for name in ("loss", "drawn", "expected", "corrupted")}


@pytest.mark.parametrize(("change", "named"), FOREIGN.values(), ids=FOREIGN)
def test_a_checkpoint_that_does_not_belong_is_refused_by_name(tiny, run, change, named):
    path, saved = checkpoint.latest(run / "checkpoints")
    checkpoint.write(run / "checkpoints", 4, change(saved))
    trainer = sedd.Trainer(tiny())
    weights = {name: tensor.clone() for name, tensor in trainer.network.state_dict().items()}
    trainer.run = RunDirectory(run)
    with pytest.raises(sedd.CheckpointError) as caught:
        trainer.restore()
    assert named in str(caught.value)
    assert caught.value.file == path
    assert all(torch.equal(tensor, weights[name]) for name, tensor in trainer.network.state_dict().items())
    assert not trainer.train_step.torn


def test_a_checkpoint_copied_from_an_equal_run_is_refused(tiny, run, tmp_path):
    sedd.Trainer(tiny(), run=tmp_path / "other").fit(until=5, progress=False)
    shutil.copytree(tmp_path / "other" / "checkpoints" / "step-00000005", run / "checkpoints" / "step-00000005")
    with pytest.raises(sedd.CheckpointError, match="another run"):
        sedd.Trainer(tiny(), run=run, resume=True)


def test_a_run_that_was_moved_or_copied_or_has_lost_its_environment_is_resumed(tiny, run, tmp_path):
    before = json.loads((run / "environment.json").read_text())["run"]
    shutil.copytree(run, tmp_path / "copy")
    (tmp_path / "copy" / "environment.json").unlink()
    trainer = sedd.Trainer(tiny(), run=tmp_path / "copy", resume=True)
    trainer.fit(progress=False)
    assert trainer.run.identity() == before
    assert sedd.Trainer(tiny(), run=tmp_path / "copy", resume=True).state.step == 8


class PartlyUsed(nn.Module):
    """A user's network with a parameter that has no gradient before step 3."""

    def __init__(self) -> None:
        super().__init__()
        self.table, self.late = nn.Embedding(21, 20), nn.Parameter(torch.zeros(20))
        self.passes = 0

    def forward(self, tokens: Tensor, sigma: Tensor, mask: Tensor | None = None) -> Tensor:
        output: Tensor = self.table(tokens)
        self.passes += self.training
        return output + self.late if self.passes > 2 else output


def test_parameters_that_had_no_gradient_have_no_moments(tiny, tmp_path):
    torch.manual_seed(0)
    config = tiny("training.eval_every=1000", "checkpoint.every=2", "monitoring.on_divergence=rollback")
    trainer = sedd.Trainer(config, run=tmp_path / "run", model=PartlyUsed())
    trainer.fit(until=2, progress=False)
    states = [checkpoint.read(path).state for path in checkpoint.listing(trainer.run.checkpoints)]
    assert [each["without_moments"] for each in states] == [["table.weight", "late"][::-1], ["late"]]
    assert sedd.Trainer(config, run=tmp_path / "run", model=PartlyUsed(), resume=True).state.step == 2


def test_weights_of_another_number_format_are_not_loaded_as_a_model(run):
    _, saved = checkpoint.latest(run / "checkpoints")
    checkpoint.write(run / "checkpoints", 4, changed(saved, "ema", half))
    with pytest.raises(sedd.CheckpointError, match="float16"):
        sedd.load(run)
