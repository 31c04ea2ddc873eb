"""Compilation changes speed and rounding, never names, checkpoints or which residues are dropped."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import sedd
from sedd.model.dropout import Dropout, dropout_bits
from sedd.plugins.backends import Cpu
from sedd.training import compiling
from tests.training.test_trainer import Brittle

MISSING = compiling.missing_compiler(torch.device("cpu"))
torch_warnings = pytest.mark.filterwarnings(
    "ignore:The .grad attribute of a Tensor that is not a leaf:UserWarning",
    r"ignore:.torch.jit.script.*is deprecated:DeprecationWarning",
    "ignore:.*should not be instantiated:DeprecationWarning",
)
"""Dynamo looks at `.grad` of activations and instantiates autograd functions, and some of its modules use torch.jit."""
compiler = pytest.mark.skipif(MISSING is not None, reason=f"compiling needs {MISSING}")


@compiler
@torch_warnings
@pytest.mark.parametrize(
    ("graph", "layout"),
    [("uniform", "rows"), *(pytest.param("absorb", name, marks=pytest.mark.long) for name in ("rows", "packed"))],
)
def test_a_compiled_run_has_the_losses_of_an_eager_one(tiny, graph, layout):
    losses = []
    for compiled in ("off", "on"):
        options = (f"graph.type={graph}", f"device.layout={layout}", f"training.compile={compiled}")
        config = tiny(*options, "model.dropout=0.2", "model.n_blocks=2")
        trainer = sedd.Trainer(config)
        names = list(trainer.network.state_dict())
        losses.append([report.loss for report in trainer.steps()])
        assert trainer.compiled == (compiled == "on")
        assert list(trainer.network.state_dict()) == names
        assert np.isfinite(trainer.evaluate().nats)
    assert np.allclose(*losses, rtol=1e-4)


@torch_warnings
def test_packed_rows_of_many_lengths_are_compiled_once(tiny, monkeypatch):
    graphs = []

    def count(graph, inputs):
        graphs.append(graph)
        return graph.forward

    monkeypatch.setattr(compiling, "missing_compiler", lambda device: None)
    monkeypatch.setattr(
        compiling, "compile_blocks", lambda network: [b.compile(backend=count, dynamic=True) for b in network.blocks]
    )
    options = ("device.layout=packed", "training.compile=on", "model.n_blocks=3", "model.dropout=0.2")
    # Not 24: torch compiles once more where two sizes are equal by chance, here the length and a number of positions.
    trainer = sedd.Trainer(tiny(*options, "model.length=30", "training.eval_every=100"))
    with torch._dynamo.config.patch(optimize_ddp=False):  # which training sets
        seen = [(report.residues, len(graphs)) for report in trainer.steps()]
    assert trainer.compiled
    assert len({residues for residues, _ in seen}) > 4
    # One graph for the last block, which evaluates some positions only, and one for all others.
    assert {compilations for _, compilations in seen} == {2}


@compiler
@torch_warnings
def test_compiled_dropout_draws_the_masks_of_eager_dropout():
    layer, x = Dropout(0.3), torch.ones(4, 9, 40)
    stream = dropout_bits(torch.zeros(4, 9, dtype=torch.int64), torch.arange(4), 1)[0]
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
        options = {"residues": residues, "backend": backend, "device": torch.device("cpu")}
        assert compiling.expected_seconds(config, network, **options) == pytest.approx(seconds)
        return compiling.should_compile(config, network, **options)

    assert not compiles(1100.0)
    assert compiles(1300.0)
    monkeypatch.setattr(compiling, "missing_compiler", lambda device: "a compiler")
    assert not compiles(1300.0)
    config = tiny("training.compile=off")
    assert not compiles(1300.0)


def test_on_without_a_compiler_is_an_error_that_names_it(tiny, monkeypatch):
    monkeypatch.setattr(compiling, "missing_compiler", lambda device: "a C++ compiler")
    with pytest.raises(sedd.DeviceError):
        sedd.Trainer(tiny("training.compile=on"))


class OneBlock(nn.Module):
    """A user's network that declares one of its modules compilable."""

    def __init__(self) -> None:
        super().__init__()
        self.table, self.block = nn.Embedding(21, 8), nn.Linear(8, 20)

    def compilable_blocks(self) -> list[nn.Module]:
        return [self.block]

    def forward(self, tokens: Tensor, sigma: Tensor, mask: Tensor | None = None) -> Tensor:
        output: Tensor = self.block(self.table(tokens))
        return output


def test_the_blocks_that_a_users_network_declares_are_compiled(tiny, monkeypatch):
    monkeypatch.setattr(compiling, "missing_compiler", lambda device: None)
    network = OneBlock()
    assert sedd.Trainer(tiny("training.compile=on"), model=network).compiled
    assert network.block._compiled_call_impl is not None
    assert network.table._compiled_call_impl is None


def test_a_users_network_without_compilable_blocks_is_not_compiled(tiny):
    assert not sedd.Trainer(tiny("training.compile=on"), model=Brittle(set())).compiled


@torch_warnings
def test_a_network_that_torch_cannot_compile_trains_eagerly(tiny, monkeypatch):
    monkeypatch.setattr(compiling, "missing_compiler", lambda device: None)

    def broken(graph, inputs):
        raise ValueError("this compiler is broken")

    monkeypatch.setattr(
        compiling, "compile_blocks", lambda network: [b.compile(backend=broken) for b in network.blocks]
    )
    trainer = sedd.Trainer(tiny("training.compile=on"))
    with pytest.warns(sedd.SeddWarning):
        losses = [report.loss for report in trainer.steps()]
    assert not trainer.compiled
    assert losses == [report.loss for report in sedd.Trainer(tiny("training.compile=off")).steps()]
