"""The world of a process: its rank, its device, and the check that all ranks train the same run."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import torch

import sedd
from sedd.distributed.group import RankInfo, World, check_device_count
from sedd.plugins.backends import Cpu, Cuda
from sedd.training.collectives import check_ranks_agree
from tests.conftest import TINY
from tests.processes import environment


@dataclass(frozen=True)
class FakeWorld(World):
    """One rank of a group whose other ranks do not exist."""

    info: RankInfo
    gathered: list[Any] = field(default_factory=list)

    def all_gather_object(self, item: Any) -> list[Any]:
        return self.gathered or [item]


def test_the_variables_of_torchrun_give_the_rank(monkeypatch):
    assert RankInfo.from_environment() is None
    info = RankInfo(rank=5, world_size=8, local_rank=1, local_world_size=4)
    for name, value in info.to_environment().items():
        monkeypatch.setenv(name, value)
    assert RankInfo.from_environment() is None  # no rendezvous: another launcher set them
    monkeypatch.setenv("MASTER_ADDR", "localhost")
    monkeypatch.setenv("MASTER_PORT", "29500")
    assert RankInfo.from_environment() == info


@pytest.mark.parametrize(("change", "difference"), [({"seed": 7}, "seed"), (None, "data")])
def test_ranks_with_different_configurations_or_data_are_rejected(change, difference):
    trainer = sedd.Trainer(sedd.load_config("quickstart", *TINY))
    config, data = trainer.config.to_dict(), trainer.data.fingerprint
    other = (config | change, data) if change else (config, {"train": {}})
    trainer.world = FakeWorld(RankInfo(0, 2), [(config, data), other])
    with pytest.raises(sedd.errors.DistributedError):
        check_ranks_agree(trainer.world, trainer.config, data, sequences=64)


def test_a_machine_needs_a_device_for_each_of_its_processes():
    info = RankInfo(rank=2, world_size=4, local_rank=2, local_world_size=4)
    check_device_count(Cuda(), info, 4)
    with pytest.raises(sedd.DeviceError):
        check_device_count(Cuda(), info, 2)


def test_the_trainer_uses_the_device_of_its_local_rank(monkeypatch):
    world = FakeWorld(RankInfo(local_rank=3, local_world_size=4))
    monkeypatch.setattr("sedd.training.trainer.join", lambda backend: world)
    monkeypatch.setattr(Cpu, "device", lambda self, local_rank=0: torch.device("cpu", local_rank))
    assert sedd.Trainer(sedd.load_config("quickstart", *TINY)).device == torch.device("cpu", 3)
    assert Cuda().device(3) == torch.device("cuda", 3)


SINGLE_PROCESS_PROGRAM = """
import builtins, sys

real, importers = builtins.__import__, set()


def recording_import(name, globals=None, *more, **others):
    if name.startswith("torch.distributed"):
        importers.add((globals or {}).get("__name__", ""))
    return real(name, globals, *more, **others)


builtins.__import__ = recording_import
import sedd

compiler = "torch._dynamo" in sys.modules  # it takes longer than torch
from tests.conftest import TINY

trainer = sedd.Trainer(sedd.load_config("quickstart", *TINY, "distributed.strategy=fsdp2"), run="run")
trainer.fit(progress=False)
trainer.sample(2)
assert not {name for name in importers if name.startswith("sedd")}, importers
assert not compiler
"""


@pytest.mark.long
def test_a_single_process_never_imports_torch_distributed_nor_sedd_the_compiler(tmp_path: Path):
    done = subprocess.run(
        [sys.executable, "-c", SINGLE_PROCESS_PROGRAM],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        env=environment(),
        check=False,
    )
    assert done.returncode == 0, done.stderr
