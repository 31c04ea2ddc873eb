"""Muon for matrices that are sharded over processes (FSDP2)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import torch
from torch import Tensor

from sedd.distributed.dtensor import is_dtensor


class ShardedMuon(torch.optim.Muon):
    """torch's Muon, where each process has the rows of a matrix that FSDP2 gave it.

    Gradient and momentum stay sharded. Newton-Schulz needs the complete matrix: the update is gathered, every process
    orthogonalises it, and keeps its rows. That is one more gathering of the blocks per step, beside the two of FSDP2.
    """

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]  # one of torch's overloads
        """Update every matrix that has a gradient."""
        loss = None if closure is None else torch.enable_grad()(closure)()
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is None:
                    continue
                state = self.state[parameter]
                if not state:
                    state["momentum_buffer"] = torch.zeros_like(parameter.grad)
                # B <- mu B + (1 - mu) g, and with Nesterov the update is mu B + (1 - mu) g.
                momentum: Tensor = state["momentum_buffer"]
                momentum.lerp_(parameter.grad, 1.0 - group["momentum"])
                update = parameter.grad.lerp(momentum, group["momentum"])
                change = _like(_step_of_muon(_full(update), group), update)
                parameter.mul_(1.0 - group["lr"] * group["weight_decay"]).add_(change)
        return loss


def _step_of_muon(update: Tensor, group: dict[str, Any]) -> Tensor:
    """What torch's Muon adds to a matrix for this update: -lr times its factor for the shape, times NS(update)."""
    change = torch.nn.Parameter(torch.zeros_like(update))
    change.grad = update
    options = {key: group[key] for key in ("lr", "ns_coefficients", "eps", "ns_steps", "adjust_lr_fn")}
    muon: Any = torch.optim.Muon  # torch leaves it untyped
    muon([change], momentum=0.0, nesterov=False, weight_decay=0.0, **options).step()
    return change.detach()


def _full(tensor: Tensor) -> Tensor:
    return cast(Tensor, tensor.full_tensor()) if is_dtensor(tensor) else tensor  # type: ignore[attr-defined]  # a DTensor


def _like(full: Tensor, tensor: Tensor) -> Tensor:
    """The complete tensor `full`, which every process has, sharded as `tensor` is."""
    from torch.distributed.tensor import DTensor, distribute_tensor

    if not isinstance(tensor, DTensor):
        return full
    return distribute_tensor(full, tensor.device_mesh, tensor.placements, src_data_rank=None)
