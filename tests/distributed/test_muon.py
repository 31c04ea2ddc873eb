"""Muon on several processes: the losses and the weights of one process, with copies and with shards."""

from __future__ import annotations

import shutil

import pytest
import torch

from tests.distributed.test_parallel import PLAIN, weights
from tests.processes import train, train_in_process

MUON = (*PLAIN, "optim.optimizer=Muon", "optim.weight_decay=0.1")


@pytest.mark.parametrize("strategy", ["ddp", "fsdp2"])
def test_two_processes_train_with_muon_as_one_does(strategy, tmp_path):
    (one,) = train_in_process(tmp_path / "one", *MUON, "training.batch_size=4", "training.accum=2")
    first, second = train(tmp_path / "two", *MUON, f"distributed.strategy={strategy}", count=2)
    assert first == second
    expected, trained = weights(tmp_path / "one"), weights(tmp_path / "two")
    assert expected.keys() == trained.keys()
    if strategy == "ddp":
        assert first["losses"] == one["losses"]
        assert all(torch.equal(expected[name], trained[name]) for name in expected)
        return
    # Other rounding, which Newton-Schulz in bfloat16 enlarges.
    assert first["losses"] == pytest.approx(one["losses"], rel=1e-4)
    for name in expected:
        difference = (expected[name].double() - trained[name].double()).norm()
        assert difference <= 2e-2 * expected[name].double().norm() + 1e-6, name


def test_shards_of_muon_resume_on_one_process(tmp_path):
    options = (*MUON, "distributed.strategy=fsdp2")
    straight, _ = train(tmp_path / "straight", *options, count=2)
    train(tmp_path / "run", *options, stop=4, count=2)
    shutil.copytree(tmp_path / "run", tmp_path / "alone")
    resumed, _ = train(tmp_path / "run", *options, resume=True, count=2)
    assert resumed["resumed"] == 4
    assert resumed["losses"] == straight["losses"][4:]  # bit for bit
    expected, trained = weights(tmp_path / "straight"), weights(tmp_path / "run")
    assert all(torch.equal(expected[name], trained[name]) for name in expected)
    (alone,) = train_in_process(tmp_path / "alone", *options, resume=True)
    assert alone["resumed"] == 4
    assert alone["losses"] == pytest.approx(straight["losses"][4:], rel=1e-4)
