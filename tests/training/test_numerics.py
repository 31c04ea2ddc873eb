"""`precision: auto` and `compile: auto` are resolved once; a resumed run keeps them, or says that it cannot."""

from __future__ import annotations

import warnings
from contextlib import nullcontext
from pathlib import Path

import pytest
import torch

import sedd
from sedd.plugins.backends import Cpu
from sedd.runs import checkpoint
from sedd.training import compiling
from sedd.training.numerics import Numerics


@pytest.fixture
def machine(monkeypatch):
    """Sets whether the machine has instructions for bfloat16."""
    return lambda fast: monkeypatch.setattr(Cpu, "fast_bfloat16", lambda self: fast)


@pytest.fixture
def begun(tiny, tmp_path, machine):
    """Trains a run to step 4 with `precision: auto`."""

    def begin(*, fast: bool) -> tuple[sedd.Config, Path]:
        machine(fast)
        config = tiny("device.precision=auto", "training.eval_every=1000")
        sedd.Trainer(config, run=tmp_path / "run").fit(until=4, progress=False)
        return config, tmp_path / "run"

    return begin


def test_a_run_that_began_in_float32_stays_in_it(begun, machine):
    config, run = begun(fast=False)
    machine(True)
    trainer = sedd.Trainer(config, run=run, resume=True)
    assert trainer.backend.precision == "float32"
    trainer.fit(progress=False)
    assert checkpoint.read(checkpoint.listing(run / "checkpoints")[-1]).state["numerics"]["precision"] == "float32"
    assert sedd.Trainer(config).backend.precision == "bfloat16"


def test_a_run_that_began_in_bfloat16_stays_in_it_and_says_where_that_is_slow(begun, machine):
    config, run = begun(fast=True)
    machine(False)
    with pytest.warns(sedd.SeddWarning, match="bfloat16"):
        trainer = sedd.Trainer(config, run=run, resume=True)
    assert trainer.backend.precision == "bfloat16"


@pytest.mark.parametrize("raises", [True, False], ids=["an error", "another precision in silence"])
def test_a_precision_that_the_device_cannot_compute_is_said(begun, machine, monkeypatch, raises):
    config, run = begun(fast=True)
    machine(False)

    def autocast(self: Cpu) -> object:
        if raises and self.precision == "bfloat16":
            raise RuntimeError("no bfloat16 on this device")
        return nullcontext()

    monkeypatch.setattr(Cpu, "autocast", autocast)
    with pytest.warns(sedd.SeddWarning, match="float32"):
        trainer = sedd.Trainer(config, run=run, resume=True)
    assert trainer.backend.precision == "float32"


def test_a_precision_that_is_set_is_taken(begun):
    config, run = begun(fast=True)
    changed = config.replace(device={"precision": "float32"})
    assert sedd.Trainer(changed, run=run, resume=True).backend.precision == "float32"


def test_a_trainer_of_other_numerics_says_so_when_it_takes_a_checkpoint(begun, machine):
    config, run = begun(fast=True)
    machine(False)
    trainer = sedd.Trainer(config)
    trainer.run = sedd.Trainer(config, run=run.parent / "other").run
    trainer.run.__init__(run)
    with pytest.warns(sedd.SeddWarning, match="bfloat16"):
        trainer.restore()


@pytest.mark.parametrize("began", [True, False])
def test_a_run_that_began_compiled_or_not_stays_so(tiny, monkeypatch, began):
    monkeypatch.setattr(compiling, "missing_compiler", lambda device: None)
    config = tiny()
    network = sedd.Trainer(config).network
    options = {"residues": 10.0, "backend": Cpu(precision="float32"), "device": torch.device("cpu")}
    for seconds in (0.0, 1e9):
        monkeypatch.setattr(compiling, "expected_seconds", lambda *_, seconds=seconds, **__: seconds)
        assert compiling.should_compile(config, network, **options, began=began) == began
    monkeypatch.setattr(compiling, "missing_compiler", lambda device: "a compiler")
    with pytest.warns(sedd.SeddWarning) if began else warnings.catch_warnings():
        assert not compiling.should_compile(config, network, **options, began=began)


def test_compilation_is_in_the_checkpoint(tiny, tmp_path, monkeypatch):
    compiled = []
    monkeypatch.setattr(compiling, "missing_compiler", lambda device: None)
    monkeypatch.setattr(compiling, "compile_blocks", compiled.append)
    monkeypatch.setattr(compiling, "expected_seconds", lambda *_, **__: 1e9)
    sedd.Trainer(tiny(), run=tmp_path / "run").fit(until=4, progress=False)
    monkeypatch.setattr(compiling, "expected_seconds", lambda *_, **__: 0.0)
    assert sedd.Trainer(tiny(), run=tmp_path / "run", resume=True).compiled
    assert len(compiled) == 2
    assert not sedd.Trainer(tiny("training.compile=off"), run=tmp_path / "run", resume=True).compiled


@pytest.mark.parametrize("state", [{}, {"numerics": None}, {"numerics": {"precision": "float8", "compiled": True}}])
def test_unknown_numerics_are_none(state):
    assert Numerics.of_state(state) is None
