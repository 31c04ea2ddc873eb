"""The checks of backends; on a machine without the device, most are skipped."""

from __future__ import annotations

import unittest
from contextlib import AbstractContextManager

import torch
from hypothesis import strategies as st

from sedd.plugins.contracts import Backend
from sedd.testing.reports import Draw, call_method, fail


def _available(part: Backend) -> bool:
    value = call_method(part, "", "True or False", "available")
    if not isinstance(value, bool):
        fail(part, "", f"available() is {value!r}, of type {type(value).__name__}", "True or False")
    return value


def _device(part: Backend) -> torch.device:
    """The first device; skips the check if there is none."""
    if not _available(part):
        raise unittest.SkipTest(f"{type(part).__name__}: no such device on this machine")
    device = call_method(part, "local_rank 0", "a torch.device", "device", 0)
    if not isinstance(device, torch.device):
        fail(part, "local_rank 0", f"device() is {device!r}, of type {type(device).__name__}", "a torch.device")
    return device


def available_answers_true_or_false(part: Backend, draw: Draw) -> None:
    """`available` is called on every machine: it returns a bool and never raises."""
    _available(part)


def process_group_is_named(part: Backend, draw: Draw) -> None:
    """`process_group` names a `torch.distributed` backend, on every machine."""
    name = call_method(part, "", "a name such as 'gloo'", "process_group")
    if not isinstance(name, str) or not name:
        fail(part, "", f"process_group() is {name!r}", "a name such as 'gloo'")


def device_can_hold_a_tensor(part: Backend, draw: Draw) -> None:
    """If the backend is available, `device(0)` is a torch.device on which tensors can be created."""
    device = _device(part)
    try:
        total = torch.ones(3, device=device).sum().item()
    except Exception as error:
        fail(part, "", f"{device} cannot hold a tensor ({type(error).__name__}: {error})", "a usable device")
    if total != 3.0:
        fail(part, "", f"three ones on {device} sum to {total!r}", "3.0")


def autocast_is_a_context(part: Backend, draw: Draw) -> None:
    """Inside `autocast()` a matrix product runs on the device, with every precision."""
    device = _device(part)
    context = call_method(part, "", "a context manager", "autocast")
    if not isinstance(context, AbstractContextManager):
        fail(part, "", f"autocast() is {context!r}", "a context manager, such as torch.autocast(...) or nullcontext()")
    try:
        with context:
            product = torch.ones(2, 2, device=device) @ torch.ones(2, 2, device=device)
    except Exception as error:
        given = f"a matrix product inside autocast() failed ({type(error).__name__}: {error})"
        fail(part, "", given, "one that works")
    if not product.is_floating_point():
        fail(part, "", f"a matrix product inside autocast() has {product.dtype}", "a floating-point type")


def memory_is_whole_numbers_by_name(part: Backend, draw: Draw) -> None:
    """`memory` maps names to integer numbers of bytes; it may be empty."""
    _device(part)
    memory = call_method(part, "", "bytes by name", "memory")
    if not isinstance(memory, dict) or not all(isinstance(name, str) for name in memory):
        fail(part, "", f"memory() is {memory!r}", "a dict of bytes by name")
    for name, value in memory.items():
        if isinstance(value, bool) or not isinstance(value, int) or value < 0:
            fail(part, "", f"memory()[{name!r}] is {value!r}", "an integer number of bytes >= 0")


def seed_makes_draws_repeat(part: Backend, draw: Draw) -> None:
    """After equal seeds the device draws equal numbers, so that runs can be repeated."""
    device, seed = _device(part), draw(st.integers(0, 2**63 - 1))
    draws = []
    with torch.random.fork_rng(devices=[]):
        for _ in range(2):
            call_method(part, "", "nothing", "seed", seed)
            draws.append(torch.rand(8, device=device).cpu())
    if not torch.equal(*draws):
        fail(part, f"seed {seed}", f"two draws on {device} after the same seed differ", "equal draws")


CHECKS = (
    available_answers_true_or_false, process_group_is_named, device_can_hold_a_tensor, autocast_is_a_context,
    memory_is_whole_numbers_by_name, seed_makes_draws_repeat,
)  # fmt: skip
