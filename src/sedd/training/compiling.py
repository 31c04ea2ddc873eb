"""Decide whether to compile the network, and compile it block by block, so that one compilation serves all blocks.

Shapes are dynamic, since lengths differ from batch to batch. Weights, names and checkpoints do not change. Evaluation
and sampling run the EMA network, which is never compiled.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from importlib.util import find_spec
from typing import TypeVar

import torch
from torch import nn

from sedd.config.config import Config
from sedd.distributed.group import World
from sedd.errors import DeviceError, SeddWarning
from sedd.model.varlen import has_varlen
from sedd.plugins.contracts import Backend

MIN_SECONDS = 1200.0
"""`training.compile: auto` compiles longer runs: compiling takes up to a minute and saves 10 to 20 % of the time."""
CPU_RATE = {"bfloat16": 6e11, "float32": 2e11}
GPU_RATE = {"bfloat16": 7e14, "float32": 5e13}
"""Nominal operations per second of matrix products. Measured: CPUs 0.36 to 0.90e12 in bfloat16, 0.18 to 0.20e12 in
float32; an H100 0.76e15 in bfloat16 (its float32 is that of the data sheet)."""
T = TypeVar("T")


def compilable_blocks(network: nn.Module) -> list[nn.Module]:
    """The blocks to compile: what the network's method `compilable_blocks()` returns; none without that method."""
    method: Callable[[], list[nn.Module]] | None = getattr(network, "compilable_blocks", None)
    return [] if method is None else list(method())


def expected_seconds(
    config: Config, network: nn.Module, *, residues: float, backend: Backend, device: torch.device
) -> float:
    """Estimated duration of training: 6 operations per parameter and residue (Kaplan et al. 2020), at a nominal rate.

    On the machines measured it is right within a factor of 2. A measured rate would differ between machines, and so
    would the decision to compile.

    Args:
        config: of the run.
        network: what is trained.
        residues: in an optimizer step of this process.
        backend: gives the precision, float32 or bfloat16.
        device: where it trains.
    """
    parameters = sum(p.numel() for p in network.parameters())
    rate = (CPU_RATE if device.type == "cpu" else GPU_RATE)[backend.precision]
    return 6.0 * parameters * residues * config.training.n_iters / rate


def missing_compiler(device: torch.device) -> str | None:
    """The name of what torch lacks to compile for a device; None if it can compile."""
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


def should_compile(
    config: Config,
    network: nn.Module,
    *,
    residues: float,
    backend: Backend,
    device: torch.device,
    began: bool | None = None,
) -> bool:
    """Resolve `training.compile` (`on`, `off` or `auto`) for a network and a device.

    `auto` is what it was when the run `began` (None for a new run), if torch can compile here; a warning says if not.

    Raises:
        DeviceError: if it is `on` and torch cannot compile for the device.
    """
    choice = config.training.compile
    if choice == "off" or not compilable_blocks(network):
        return False
    if choice == "auto":
        seconds = expected_seconds(config, network, residues=residues, backend=backend, device=device)
        if not (seconds >= MIN_SECONDS if began is None else began):
            return False
    missing = missing_compiler(device)
    if missing and choice == "on":
        raise DeviceError(f"training.compile=on: torch needs {missing}; install it, or set training.compile=off")
    if missing and began:
        warnings.warn(
            f"the run began compiled (training.compile=auto), and here torch needs {missing}: it goes on without, and "
            "its losses differ by rounding",
            SeddWarning,
            stacklevel=4,
        )
    return missing is None


def compile_blocks(network: nn.Module) -> None:
    """Compile the blocks of a network in place; torch compiles each at its first call."""
    # Torch would split the compiled graph at DDP's gradient buckets. A block is smaller than a bucket, and the
    # splitting was seen to hang (torch 2.13, two processes on CPUs).
    torch._dynamo.config.optimize_ddp = False
    # What asks the driver cannot be traced. Marked here and not where it is defined: a decorator of torch.compiler
    # imports the compiler, which takes longer than torch itself.
    torch.compiler.assume_constant_result(has_varlen)  # type: ignore[no-untyped-call]  # torch leaves it untyped
    for block in compilable_blocks(network):
        block.compile(dynamic=True)


def compile_network(
    config: Config,
    network: nn.Module,
    *,
    residues: float,
    backend: Backend,
    device: torch.device,
    world: World,
    began: bool | None,
) -> bool:
    """Compile the blocks of a network in place if `training.compile` asks for it; returns whether they are compiled."""
    wanted = should_compile(config, network, residues=residues, backend=backend, device=device, began=began)
    # A compiler may be missing on one machine: all ranks compile, or none.
    compiles = all(world.all_gather_object(wanted))
    if compiles:
        compile_blocks(network)
    return compiles


def with_eager_fallback(network: nn.Module, compiled: Callable[[], T], *, eager: Callable[[], T]) -> T:
    """Call `compiled`; if torch fails to compile, warn, undo the compilation of `network` and call `eager`."""
    from torch._dynamo.exc import TorchDynamoException

    try:
        return compiled()
    except TorchDynamoException as error:
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:300]
        warnings.warn(
            f"torch could not compile the network, so training goes on without ({reason})",
            SeddWarning,
            stacklevel=2,
        )
    for block in compilable_blocks(network):
        block._compiled_call_impl = None  # undoes `compile_blocks`; torch has no public way
    return eager()
