"""The precision is decided by what was measured, once, and an unusable cache costs a measurement and nothing else."""

from __future__ import annotations

import json

import pytest

from sedd import devices
from sedd.devices import Speed
from sedd.plugins.backends import Cpu


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path / "sedd"


def test_a_measurement_is_kept_for_later_processes(cache, monkeypatch):
    first = devices.speed(Cpu())
    assert first.float32 > 0
    (file,) = cache.glob("speed-cpu-*.json")
    monkeypatch.setattr(devices, "measured", lambda backend, device: pytest.fail("it was measured again"))
    assert devices.speed(Cpu()) == first
    file.write_text("{}")
    monkeypatch.setattr(devices, "measured", lambda backend, device: Speed(1.0, 2.0))
    assert devices.speed(Cpu()) == Speed(1.0, 2.0)
    assert json.loads(file.read_text()) == {"float32": 1.0, "bfloat16": 2.0}


def test_a_cache_that_cannot_be_written_is_done_without(cache, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", "/dev/null")
    assert devices.speed(Cpu()).float32 > 0


@pytest.mark.parametrize(("claims", "measured", "expected"), [
    (True, Speed(100.0, 240.0), "bfloat16"),
    (True, Speed(100.0, 110.0), "float32"),
    (False, Speed(100.0, 0.0), "float32"),
])  # fmt: skip
def test_bfloat16_is_taken_where_it_was_measured_to_pay(monkeypatch, claims, measured, expected):
    monkeypatch.setattr(Cpu, "fast_bfloat16", lambda self: claims)
    monkeypatch.setattr(devices, "speed", lambda backend: measured)
    assert devices.choose(Cpu()).precision == expected
    assert devices.choose(Cpu(precision="float32")).precision == "float32"
    assert devices.choose(Cpu(precision="bfloat16")).precision == "bfloat16"


def test_without_the_instructions_bfloat16_is_not_even_timed(cache, monkeypatch):
    monkeypatch.setattr(Cpu, "fast_bfloat16", lambda self: False)
    assert devices.measured(Cpu(), Cpu().device()).bfloat16 == 0.0
