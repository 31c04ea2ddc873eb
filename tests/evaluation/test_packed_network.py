"""The bound from packed rows, recorded or not, is that from padded rows."""

from __future__ import annotations

import dataclasses

import pytest
import torch

import sedd
from sedd.diffusion.packing import RowShape
from sedd.diffusion.recorded_network import RecordedFunction, RecordedNetwork, few_sizes
from sedd.errors import SeddWarning
from sedd.evaluation.packed_network import PackedNetwork
from sedd.plugins.backends import Cpu
from tests.training.test_recorded_passes import GPU, Broken, Tape


def trained(tiny, *overrides: str) -> sedd.Trainer:
    """A trainer whose network has weights that matter everywhere."""
    trainer = sedd.Trainer(tiny("model.n_blocks=2", *overrides))
    for parameter in trainer.ema.network.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return trainer


@pytest.mark.parametrize("recorded", [False, True])
@pytest.mark.parametrize("graph", ["absorb", "uniform"])
def test_a_bound_from_packed_rows_is_that_from_padded_rows(tiny, monkeypatch, graph, recorded):
    trainer = trained(tiny, f"graph.type={graph}", "evaluation.batch_size=16", "evaluation.masks=4")
    expected = trainer.evaluate()
    monkeypatch.setattr(Cpu, "fast_packed", lambda backend: True)
    tape = Tape()
    monkeypatch.setattr(Cpu, "recorder", lambda backend, device: tape if recorded else None)
    found = trainer.evaluate()
    for name, value in dataclasses.asdict(expected).items():
        if isinstance(value, float | tuple) and None not in (value if isinstance(value, tuple) else ()):
            assert getattr(found, name) == pytest.approx(value, abs=1e-5 if "profile" in name else 1e-6), name
    assert tape.recorded == recorded
    assert (tape.repeated > 2) == recorded


def test_the_probe_and_the_bound_of_a_run_may_be_packed(tiny, monkeypatch):
    options = ("device.layout=packed", "evaluation.train_sequences=20")
    bounds = []
    for fast in (False, True):
        monkeypatch.setattr(Cpu, "fast_packed", lambda backend, fast=fast: fast)
        reports = list(sedd.Trainer(tiny(*options)).steps())
        bounds.append([bound.nats for r in reports for bound in (r.bound, r.probe, r.probe_raw) if bound is not None])
    assert len(bounds[0]) == 6
    assert bounds[0] == pytest.approx(bounds[1], abs=1e-6)


def test_a_packed_network_has_the_output_of_the_network(tiny):
    network = trained(tiny).ema.network
    tokens, sigma = torch.randint(20, (3, 16)), torch.rand(3) + 0.2
    mask = torch.arange(16) < torch.tensor([[16], [3], [9]])
    packed = PackedNetwork(network, RowShape(64, 5, 24), None)
    expected = network(tokens, sigma, mask)
    assert torch.allclose(packed(tokens, sigma, mask)[mask], expected[mask], atol=1e-5)
    assert torch.allclose(packed(tokens, sigma), network(tokens, sigma), atol=1e-5)


@pytest.mark.parametrize("predictor", ["ancestral", "first_hitting", "euler"])
def test_samples_of_recorded_networks_are_those_of_others(tiny, monkeypatch, predictor):
    model = trained(tiny, f"sampling.predictor={predictor}", "sampling.steps=20", "sampling.batch_size=8").model
    expected = model.sample(20, seed=3)
    tape = Tape()
    monkeypatch.setattr(Cpu, "recorder", lambda backend, device: tape)
    assert model.sample(20, seed=3) == expected
    assert 0 < tape.recorded < tape.repeated
    monkeypatch.setattr(Cpu, "recorder", lambda backend, device: Broken())
    with pytest.warns(SeddWarning, match="recorded"):
        assert model.sample(20, seed=3) == expected


def test_rows_and_columns_of_padding_are_left_out(tiny):
    network = trained(tiny, "model.length=64").ema.network
    recorded = RecordedNetwork(network, Tape())
    sizes = ((9, 40, None), (9, 40, 17), (11, 50, 5), (12, 64, None), (9, 33, 30), (10, 64, 64))
    for batch, length, residues in sizes * 2:
        tokens, sigma = torch.randint(20, (batch, length)), torch.rand(batch) + 0.2
        mask = None if residues is None else (torch.arange(length) < residues).expand(batch, -1)
        expected = network(tokens, sigma, mask)
        kept = slice(0, residues)
        assert torch.allclose(recorded(tokens, sigma, mask)[:, kept], expected[:, kept], atol=1e-4)
        positions = (torch.arange(batch)[:, None] * length + torch.tensor([0, 4])).flatten()
        chosen = recorded(tokens, sigma, mask, positions=positions)
        assert torch.allclose(chosen, expected[:, [0, 4]].flatten(0, 1), atol=1e-4)


def test_few_sizes_are_a_quarter_apart():
    assert [few_sizes(count) for count in (1, 2, 3, 5, 8, 9, 10, 33, 64)] == [1, 2, 3, 5, 8, 10, 10, 40, 64]
    assert len({few_sizes(count) for count in range(65, 129)}) == 4


def test_a_recording_with_another_output_is_not_used():
    tape = Tape()
    function = RecordedFunction(lambda x: x * 2, tape)
    assert [float(function(torch.tensor(value))) for value in (1.0, 2.0, 3.0)] == [2.0, 4.0, 6.0]
    assert tape.repeated == 2
    numbers = iter((2.0, 2.0, 5.0))  # what the host decided when it was recorded
    changing = RecordedFunction(lambda x: x * next(numbers, 7.0), Tape())
    assert float(changing(torch.tensor(1.0))) == 2.0
    with pytest.warns(SeddWarning, match="another output"):
        assert float(changing(torch.tensor(1.0))) == 2.0
    assert changing.recorder is None


@GPU
@pytest.mark.parametrize("predictor", ["ancestral", "first_hitting"])
def test_on_cuda_networks_are_recorded_without_a_warning(tiny, predictor):
    options = ("device.type=cuda", f"sampling.predictor={predictor}", "device.precision=bfloat16")
    trainer = trained(tiny, *options)
    assert len(trainer.model.sample(20, seed=3)) == 20
    rows = trained(tiny, *options, "device.graphs=off", "device.layout=rows")
    rows.ema.network.load_state_dict(trainer.ema.network.state_dict())
    assert trainer.evaluate().nats == pytest.approx(rows.evaluate().nats, abs=0.05)
