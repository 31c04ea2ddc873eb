"""Compilation changes speed and rounding, never names, checkpoints or which residues are dropped."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import sedd
from sedd.model.dropout import Dropout, streams
from sedd.plugins.backends import Cpu
from sedd.training import compiling

MISSING = compiling.missing_compiler(torch.device("cpu"))
inside_torch = pytest.mark.filterwarnings(
    "ignore:The .grad attribute of a Tensor that is not a leaf:UserWarning",
    r"ignore:.torch.jit.script.*is deprecated:DeprecationWarning",
    "ignore:.*should not be instantiated:DeprecationWarning",
)
"""Dynamo looks at `.grad` of activations and instantiates autograd functions, and some of its modules use torch.jit."""
compiler = pytest.mark.skipif(MISSING is not None, reason=f"compiling needs {MISSING}")


@compiler
@inside_torch
@pytest.mark.parametrize("graph", ["absorb", "uniform"])
def test_a_compiled_run_has_the_curve_of_an_eager_one(tiny, graph):
    curves = []
    for compiled in ("off", "on"):
        config = tiny(f"graph.type={graph}", "model.dropout=0.2", f"training.compile={compiled}", "model.n_blocks=2")
        trainer = sedd.Trainer(config)
        names = list(trainer.network.state_dict())
        curves.append([report.loss for report in trainer.steps()])
        assert trainer.compiled == (compiled == "on")
        assert list(trainer.network.state_dict()) == names
        assert np.isfinite(trainer.evaluate().nats)
    assert np.allclose(*curves, rtol=1e-4)


@compiler
@inside_torch
def test_compiled_masks_are_those_of_eager_dropout():
    layer, x = Dropout(0.3), torch.ones(4, 9, 40)
    stream = streams(torch.zeros(4, 9, dtype=torch.int64), torch.arange(4), 1)[0]
    assert torch.equal(torch.compile(layer, dynamic=True)(x, stream), layer(x, stream))


@pytest.mark.parametrize(("precision", "rate"), [("float32", 2e11), ("bfloat16", 6e11)])
def test_auto_compiles_long_runs_only(tiny, monkeypatch, precision, rate):
    config = tiny()
    network = sedd.Trainer(config).network
    backend = Cpu(precision=precision)
    monkeypatch.setattr(compiling, "missing_compiler", lambda device: None)
    parameters = sum(p.numel() for p in network.parameters())

    def compiles(seconds: float) -> bool:
        residues = seconds * rate / (6 * parameters * config.training.n_iters)
        assert compiling.expected_seconds(config, network, residues, backend) == pytest.approx(seconds)
        return compiling.should_compile(config, network, residues, backend)

    assert not compiles(1100.0)
    assert compiles(1300.0)
    monkeypatch.setattr(compiling, "missing_compiler", lambda device: "a compiler")
    assert not compiles(1300.0)
    config = tiny("training.compile=off")
    assert not compiles(1300.0)


def test_on_without_a_compiler_says_what_is_missing(tiny, monkeypatch):
    monkeypatch.setattr(compiling, "missing_compiler", lambda device: "a C++ compiler")
    with pytest.raises(sedd.DeviceError, match=r"training.compile=on: torch needs a C\+\+ compiler; install it, or"):
        sedd.Trainer(tiny("training.compile=on"))


def test_a_network_of_the_users_own_is_left_as_it_is(tiny):
    own = torch.nn.Module()
    assert not compiling.should_compile(tiny("training.compile=on"), own, 100.0, Cpu(precision="float32"))


@inside_torch
def test_a_network_that_cannot_be_compiled_trains_without(tiny, monkeypatch):
    monkeypatch.setattr(compiling, "missing_compiler", lambda device: None)

    def refuse(graph, inputs):
        raise ValueError("this compiler is broken")

    monkeypatch.setattr(
        compiling, "compile_blocks", lambda network: [b.compile(backend=refuse) for b in network.blocks]
    )
    monkeypatch.setattr("sedd.training.trainer.compile_blocks", compiling.compile_blocks)
    trainer = sedd.Trainer(tiny("training.compile=on"))
    with pytest.warns(sedd.SeddWarning, match="could not compile the network, so training goes on without.*broken"):
        found = [report.loss for report in trainer.steps()]
    assert not trainer.compiled
    assert found == [report.loss for report in sedd.Trainer(tiny("training.compile=off")).steps()]
