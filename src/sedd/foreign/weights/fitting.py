"""Every tensor is accounted for: a missing, surplus or misshapen one is an error that names it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import torch
from torch import Tensor

from sedd.config.config import Config
from sedd.diffusion.process import Process
from sedd.errors import CheckpointError
from sedd.foreign.weights.published import Published

MOST = 10
"""Problems that a message lists."""


def fitted(found: Published, config: Config) -> tuple[dict[str, Tensor], tuple[str, ...]]:
    """The tensors of the network of `config`, contiguous, in float32, and remarks on what was converted.

    Raises:
        CheckpointError: if they are not exactly those of the network, or have values that are not finite.
    """
    expected = expected_tensors(config, found.n)
    problems = [*_unaccounted(expected, found.tensors)]
    if problems:
        more = f"\n  and {len(problems) - MOST:,} more" if len(problems) > MOST else ""
        raise CheckpointError(
            f"the tensors are not those of the network in its configuration ({found.n:,} symbols):\n  "
            + "\n  ".join(problems[:MOST])
            + more,
            file=found.file,
        )
    types = {str(tensor.dtype).removeprefix("torch.") for tensor in found.tensors.values()} - {"float32"}
    remarks = (f"{', '.join(sorted(types))} converted to float32",) if types else ()
    return {name: found.tensors[name].detach().float().contiguous() for name in expected}, remarks


def expected_tensors(config: Config, n: int) -> dict[str, Tensor]:
    """The state dict of the network of a configuration over `n` symbols, without memory for it."""
    process = Process.of(config, n)
    with torch.device("meta"):
        return process.network(config.model).state_dict()


def _unaccounted(expected: Mapping[str, Tensor], given: Mapping[str, Tensor]) -> Iterator[str]:
    for name, tensor in expected.items():
        if name not in given:
            yield f"{name}: missing, expected {_shape(tensor)}"
        elif given[name].shape != tensor.shape:
            yield f"{name}: {_shape(given[name])}, expected {_shape(tensor)}"
        elif not given[name].is_floating_point() or given[name].layout is not torch.strided:
            yield f"{name}: {given[name].dtype}, {given[name].layout}; expected floating-point numbers, all of them"
        elif not torch.isfinite(given[name].float()).all():
            yield f"{name}: has values that are not finite"
    for name, tensor in given.items():
        if name not in expected:
            yield f"{name[:100]}: surplus, {_shape(tensor)}"


def _shape(tensor: Tensor) -> str:
    return str(tuple(tensor.shape))
