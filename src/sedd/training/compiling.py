"""Whether to compile the network, and doing it: block by block, so that one compilation serves all of them.

Shapes are dynamic, since lengths differ from batch to batch. Weights, names and checkpoints stay as they are, and so do
evaluation and sampling, which run the averaged weights uncompiled.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from importlib.util import find_spec
from typing import TypeVar

import torch
from torch import nn

from sedd.config.config import Config
from sedd.errors import DeviceError, SeddWarning
from sedd.model.transformer import Transformer
from sedd.plugins.contracts import Backend

WORTH_SECONDS = 1200.0
"""A run that is expected to take longer is compiled: it takes up to a minute and saves a tenth to a fifth."""
CPU_RATE = {"bfloat16": 6e11, "float32": 2e11}
GPU_RATE = {"bfloat16": 7e14, "float32": 5e13}
"""Nominal operations per second of matrix products. Measured: CPUs 0.36 to 0.90e12 in bfloat16, 0.18 to 0.20e12 in
float32; an H100 0.76e15 in bfloat16 (float32 is that of its data sheet)."""
T = TypeVar("T")


def expected_seconds(config: Config, network: nn.Module, residues: float, backend: Backend) -> float:
    """How long training takes at least: 6 operations per parameter and residue (Kaplan et al. 2020), at a nominal rate.

    On the machines measured it is right within a factor of 2. A measured rate would differ between machines, and so
    would the decision to compile.

    Args:
        config: of the run.
        network: what is trained.
        residues: in an optimizer step of this process.
        backend: the device and its precision, float32 or bfloat16.
    """
    parameters = sum(p.numel() for p in network.parameters())
    rate = (CPU_RATE if backend.device().type == "cpu" else GPU_RATE)[backend.precision]
    return 6.0 * parameters * residues * config.training.n_iters / rate


def missing_compiler(device: torch.device) -> str | None:
    """What torch lacks to compile for a device, in words; None where it lacks nothing."""
    if device.type == "cpu":
        from torch._inductor.cpp_builder import get_cpp_compiler
        from torch._inductor.exc import InvalidCxxCompiler

        try:
            get_cpp_compiler()
        except InvalidCxxCompiler:
            return "a C++ compiler (such as g++ or clang++; CXX names it)"
        return None
    if device.type in ("cuda", "xpu"):
        return None if find_spec("triton") else "Triton (pip install triton)"
    return f"support for compiling on {device.type}"


def should_compile(config: Config, network: nn.Module, residues: float, backend: Backend) -> bool:
    """What `training.compile` comes to on this machine.

    Raises:
        DeviceError: if it is `on` and torch cannot.
    """
    wanted = config.training.compile
    if wanted == "off" or not isinstance(network, Transformer):
        return False
    if wanted == "auto" and expected_seconds(config, network, residues, backend) < WORTH_SECONDS:
        return False
    missing = missing_compiler(backend.device())
    if missing and wanted == "on":
        raise DeviceError(f"training.compile=on: torch needs {missing}; install it, or set training.compile=off")
    return missing is None


def compile_blocks(network: nn.Module) -> None:
    """Compile the blocks of a transformer in place; it happens at their first call."""
    assert isinstance(network, Transformer)  # noqa: S101  # tells the type checker
    # Torch would cut what it compiles into the buckets of DDP. A block is smaller than those, and the cutting was seen
    # to hang (torch 2.13, two processes on CPUs).
    torch._dynamo.config.optimize_ddp = False
    for block in network.blocks:
        block.compile(dynamic=True)


def uncompiled(network: nn.Module) -> None:
    """Undo `compile_blocks`."""
    assert isinstance(network, Transformer)  # noqa: S101  # tells the type checker
    for block in network.blocks:
        block._compiled_call_impl = None  # torch has no public way back


def falling_back(network: nn.Module, call: Callable[[], T], *, again: Callable[[], T]) -> T:
    """`call` with a compiled network; where torch cannot compile it, `again` without compilation, after a warning."""
    from torch._dynamo.exc import TorchDynamoException

    try:
        return call()
    except TorchDynamoException as error:
        why = " ".join(f"{type(error).__name__}: {error}".split())[:300]
        warnings.warn(
            f"torch could not compile the network, so training goes on without ({why})",
            SeddWarning,
            stacklevel=2,
        )
    uncompiled(network)
    return again()
