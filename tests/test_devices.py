"""`auto` takes the best device and precision that this machine has; a device that it does not have is an error."""

from __future__ import annotations

import pytest
import torch

import sedd
from sedd import devices
from sedd.plugins.backends import Cpu, Cuda


def test_an_unavailable_device_is_an_error_that_lists_the_available_ones(tiny, monkeypatch):
    monkeypatch.setattr(Cuda, "available", lambda self: False)
    with pytest.raises(sedd.DeviceError) as caught:
        sedd.Trainer(tiny("device.type=cuda"))
    unavailable, _, available = str(caught.value).partition(";")
    assert "'cuda'" in unavailable
    assert "cpu" in available


def test_auto_takes_the_available_backend_of_highest_priority(monkeypatch):
    available = dict.fromkeys(("cuda", "mps", "xpu"), False)
    for cls in devices.installed():
        if cls.part_name() in available:
            monkeypatch.setattr(cls, "available", lambda self: available[self.type])
    auto = sedd.Config(device={"type": "auto", "precision": "float32"}).device
    assert devices.choose(auto) == Cpu(precision="float32")
    available["mps"] = True
    assert devices.choose(auto).part_name() == "mps"
    available["cuda"] = True
    assert devices.choose(auto).part_name() == "cuda"


PRECISIONS = [
    ("float32", True, "float32"),
    ("bfloat16", False, "bfloat16"),
    ("auto", True, "bfloat16"),
    ("auto", False, "float32"),
]


@pytest.mark.parametrize(("precision", "fast", "expected"), PRECISIONS)
def test_bfloat16_is_used_where_it_is_set_or_the_hardware_has_instructions_for_it(
    monkeypatch, precision, fast, expected
):
    monkeypatch.setattr(Cpu, "fast_bfloat16", lambda self: fast)
    assert devices.choose(Cpu(precision=precision)).precision == expected
    with Cpu(precision=precision).autocast():
        assert torch.is_autocast_enabled("cpu") == (expected == "bfloat16")


def test_seeding_makes_draws_repeatable():
    draws = []
    for _ in range(2):
        Cpu().seed(5)
        draws.append(torch.rand(3).tolist())
    assert draws[0] == draws[1]


def test_a_backend_that_does_not_seed_changes_no_run(monkeypatch):
    draws = []
    for seed in (lambda self, number: None, Cpu.seed):
        monkeypatch.setattr(Cpu, "seed", seed)
        devices.seed_generators(Cpu(), 5)
        draws.append(torch.rand(3).tolist())
    assert draws[0] == draws[1]


def test_a_backend_whose_check_fails_is_left_out_with_a_warning(monkeypatch):
    def broken(self):
        raise OSError("driver crashed")

    monkeypatch.setattr(Cuda, "available", broken)
    with pytest.warns(sedd.SeddWarning):
        assert devices.choose(sedd.Config().device).available()


@pytest.mark.parametrize("given", [{"device": "cuda:1"}, {"device": {"type": "cuda:1"}}])
def test_a_numbered_device_is_that_one(given, monkeypatch):
    config = sedd.load_config("quickstart", **given)
    assert config.device == Cuda(index=1)
    assert sedd.load_config("quickstart", "device.type=cuda:1").device == config.device
    assert config.device.device() == torch.device("cuda", 1)
    with pytest.raises(sedd.DeviceError):
        config.device.device(1)  # of several processes
    monkeypatch.setattr(Cuda, "count", lambda self: 1)
    assert Cuda(index=0).available()
    with pytest.raises(sedd.DeviceError) as caught:
        devices.choose(config.device)
    assert "'cuda:1'" in str(caught.value)


@pytest.mark.parametrize("name", ["cpu:0", "mps:1", "auto:0", "cuda:x", "cuda:", ":1", "cuda:-1"])
def test_a_number_that_a_device_cannot_have_is_refused_by_name(name):
    with pytest.raises(sedd.ConfigError) as caught:
        sedd.load_config("quickstart", device=name)
    assert name.split(":")[0] in str(caught.value)


def test_another_device_takes_over_the_options_that_it_has(tiny):
    recorded = tiny("device.type=cuda:1", "device.precision=float32")
    changed = sedd.load_config(recorded.to_dict(parts=True), "device.type=cpu")
    assert changed.device == Cpu(precision="float32")
