"""A device that is not there says what is; `auto` takes the best there is."""

from __future__ import annotations

import pytest
import torch

import sedd
from sedd import devices
from sedd.plugins.backends import Cpu, Cuda


def test_an_absent_device_says_what_is_there_instead(tiny, monkeypatch):
    monkeypatch.setattr(Cuda, "available", lambda self: False)
    with pytest.raises(sedd.DeviceError, match=r"'cuda' is not available .* available: .*cpu.*--device auto"):
        sedd.Trainer(tiny("device.type=cuda"))


def test_auto_takes_the_available_backend_of_highest_priority(monkeypatch):
    everywhere = dict.fromkeys(("cuda", "mps", "xpu"), False)
    for cls in devices.installed():
        if cls.part_name() in everywhere:
            monkeypatch.setattr(cls, "available", lambda self: everywhere[self.type])
    asked = sedd.Config(device={"type": "auto", "precision": "float32"}).device
    assert devices.choose(asked) == Cpu(precision="float32")
    everywhere["mps"] = True
    assert devices.choose(asked).part_name() == "mps"
    everywhere["cuda"] = True
    assert devices.choose(asked).part_name() == "cuda"


@pytest.mark.parametrize(("precision", "fast", "expected"), [
    ("float32", True, False), ("bfloat16", False, True), ("auto", True, True), ("auto", False, False),
])  # fmt: skip
def test_bfloat16_is_used_where_asked_for_or_where_it_pays(monkeypatch, precision, fast, expected):
    monkeypatch.setattr(Cpu, "fast_bfloat16", lambda self: fast)
    with Cpu(precision=precision).autocast():
        assert torch.is_autocast_enabled("cpu") == expected


def test_seeding_makes_draws_repeatable():
    draws = []
    for _ in range(2):
        Cpu().seed(5)
        draws.append(torch.rand(3).tolist())
    assert draws[0] == draws[1]


def test_a_backend_that_fails_to_look_is_left_out_with_a_warning(monkeypatch):
    def broken(self):
        raise OSError("driver crashed")

    monkeypatch.setattr(Cuda, "available", broken)
    with pytest.warns(sedd.SeddWarning, match="'cuda' is left out.*driver crashed"):
        assert devices.choose(sedd.Config().device).available()
