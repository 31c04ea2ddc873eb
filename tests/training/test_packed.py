"""A packed run trains as one in padded rows does on the same sequences, noise and dropout keys."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import sedd
from sedd.runs import checkpoint
from tests.training.test_trainer import Brittle

PACKED = ("device.layout=packed", "model.n_blocks=2")
GRAPHS_AND_HEADS = [(graph, head) for graph in ("absorb", "uniform") for head in ("normalised", "score")]


def gradients(trainer: sedd.Trainer) -> dict[str, Tensor]:
    """The gradient of the next step, by the name of the parameter."""
    inputs = trainer.loader(trainer.state.step, trainer.state.cursor)
    trainer.train_step.gradient(inputs, trainer.state)
    return {name: p.grad.clone() for name, p in trainer.network.named_parameters() if p.grad is not None}


def both(tiny: Callable[..., sedd.Config], *overrides: str) -> tuple[sedd.Trainer, sedd.Trainer]:
    """Trainers in rows and packed that see the same sequences in the same steps."""
    rows = sedd.Trainer(tiny("model.n_blocks=2", *overrides))
    packed = sedd.Trainer(tiny(*PACKED, *overrides))
    packed.loader.batches = packed.batches = rows.batches
    return rows, packed


@pytest.mark.parametrize("accum", [1, 4])
@pytest.mark.parametrize("dropout", [0.0, 0.2])
@pytest.mark.parametrize(("graph", "head"), GRAPHS_AND_HEADS)
def test_a_packed_step_is_that_of_padded_rows(tiny, graph, head, dropout, accum):
    options = (f"graph.type={graph}", f"model.head={head}", f"model.dropout={dropout}", f"training.accum={accum}")
    rows, packed = both(tiny, *options, "training.batch_size=16")
    for _ in range(2):
        expected, found = gradients(rows), gradients(packed)
        assert expected.keys() == found.keys()
        assert all(torch.allclose(expected[name], found[name], rtol=1e-4, atol=1e-6) for name in expected)
        first, second = next(rows.steps()), next(packed.steps())
        assert second.loss == pytest.approx(first.loss, abs=1e-6)
        assert second.grad_norm == pytest.approx(first.grad_norm, rel=1e-5)
        assert (second.residues, second.token_counts) == (first.residues, first.token_counts)
        for name in ("loss", "drawn", "corrupted"):
            assert np.allclose(getattr(first.bins, name), getattr(second.bins, name), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("graph", ["absorb", "uniform"])
def test_a_packed_run_has_the_curve_of_padded_rows(tiny, graph):
    rows, packed = both(tiny, f"graph.type={graph}", "model.dropout=0.1", "training.n_iters=50",
                        "training.eval_every=100")  # fmt: skip
    curves = [[report.loss for report in trainer.steps()] for trainer in (rows, packed)]
    assert np.allclose(*curves, rtol=0.0, atol=1e-6)


def test_activation_checkpointing_changes_nothing(tiny):
    losses = [
        [report.loss for report in sedd.Trainer(tiny(*PACKED, "model.dropout=0.1", option)).steps()]
        for option in ("training.activation_checkpointing=false", "training.activation_checkpointing=true")
    ]
    assert losses[0] == losses[1]


@pytest.mark.parametrize("options", [(), ("training.batch_residues=200", "training.accum=2")])
def test_a_packed_run_resumes_bit_for_bit(tiny, tmp_path, options):
    config = tiny(*PACKED, "model.dropout=0.1", *options)
    straight = sedd.Trainer(config, run=tmp_path / "straight")
    straight.fit(progress=False)
    sedd.Trainer(config, run=tmp_path / "run").fit(until=3, progress=False)
    sedd.Trainer(config, run=tmp_path / "run", resume=True).fit(progress=False)
    expected, found = (checkpoint.latest(tmp_path / run / "checkpoints") for run in ("straight", "run"))
    assert expected is not None
    assert found is not None
    for group, tensors in expected[1].tensors.items():
        assert all(torch.equal(value, found[1].tensors[group][name]) for name, value in tensors.items())


def test_the_curve_does_not_depend_on_how_a_packed_step_is_split(tiny):
    losses = [
        [report.loss for report in sedd.Trainer(tiny(*PACKED, *split)).steps()]
        for split in (("training.batch_size=8",), ("training.batch_size=2", "training.accum=4"))
    ]
    assert np.allclose(*losses, rtol=0.0, atol=1e-6)


def test_auto_keeps_the_layout_that_the_run_began_with(tiny, tmp_path, monkeypatch):
    assert sedd.Trainer(tiny()).layout == "rows"
    monkeypatch.setattr("sedd.plugins.backends.Cpu.fast_packed", lambda backend: True)
    first = sedd.Trainer(tiny(), run=tmp_path / "run")
    assert first.layout == "packed"
    assert first.loader.row_shape is not None
    first.fit(until=2, progress=False)
    monkeypatch.undo()
    assert sedd.Trainer(tiny(), run=tmp_path / "run", resume=True).layout == "packed"


def test_a_network_that_takes_no_packed_rows_gets_padded_ones(tiny, monkeypatch):
    monkeypatch.setattr("sedd.plugins.backends.Cpu.fast_packed", lambda backend: True)
    assert sedd.Trainer(tiny(), model=Brittle(set())).layout == "rows"

    class Watched(Brittle):
        """Keeps the shapes that it is called with in training."""

        shapes: list[tuple[int, ...]]

        def forward(self, tokens: Tensor, sigma: Tensor, mask: Tensor | None = None) -> Tensor:
            if self.training:
                self.shapes.append(tuple(tokens.shape))
            return super().forward(tokens, sigma, mask)

    network: nn.Module = Watched(set())
    network.shapes = []
    trainer = sedd.Trainer(tiny("device.layout=packed"), model=network)
    assert trainer.loader.row_shape is None
    losses = [report.loss for report in trainer.steps()]
    assert np.isfinite(losses).all()
    assert all(rows == 8 for rows, _ in network.shapes)
