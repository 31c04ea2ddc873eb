"""Muon (Jordan et al. 2024) for the matrices of the blocks, AdamW for all other parameters, as one optimizer.

Muon orthogonalises the momentum of a matrix: its singular values become about 1, so that no direction of the update
dominates. torch's `torch.optim.Muon` is used, with the factor of Liu et al. (2025), 0.2 sqrt(max(rows, columns)): an
update is then about as large as one of AdamW, and learning rate and weight decay are those of AdamW.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

MOMENTS: dict[type[torch.optim.Optimizer], tuple[str, ...]] = {
    torch.optim.AdamW: ("step", "exp_avg", "exp_avg_sq"),
    torch.optim.Muon: ("momentum_buffer",),
}
"""What each optimizer keeps for a parameter that has had a gradient."""


class MuonWithAdamW(torch.optim.Optimizer):
    """Two optimizers of different parameters as one: their parameter groups and their state are its own.

    Args:
        parts: the optimizers; groups and state stay shared with them.
    """

    def __init__(self, *parts: torch.optim.Optimizer) -> None:
        fused = all(part.defaults.get("fused") for part in parts if isinstance(part, torch.optim.AdamW))
        super().__init__([group for part in parts for group in part.param_groups], {"fused": fused})
        self.parts = parts
        for part in parts:
            part.state = self.state

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]  # one of torch's overloads
        """Update all parameters that have a gradient.

        Where the attribute `found_inf` is 1.0 (a scalar on the device, as torch's gradient scaler sets it for fused
        optimizers), nothing changes. That needs a fused AdamW, and a copy of what Muon changes.
        """
        loss = None if closure is None else torch.enable_grad()(closure)()
        found_inf: Tensor | None = getattr(self, "found_inf", None)
        for part in self.parts:
            if isinstance(part, torch.optim.AdamW):
                vars(part).update(grad_scale=None, found_inf=found_inf)
                part.step()
            elif found_inf is None:
                part.step()
            else:
                _step_unless(found_inf, part)
        return loss


def _step_unless(found_inf: Tensor, muon: torch.optim.Optimizer) -> None:
    """A step of Muon that leaves weights and momentum as they are where `found_inf` is 1.0; the host does not wait."""
    weights = [p for group in muon.param_groups for p in group["params"] if p.grad is not None]
    kept = [p.clone() for p in weights]
    momentum = [muon.state[p].get("momentum_buffer", torch.zeros_like(p)).clone() for p in weights]
    muon.step()
    changed = [*weights, *(muon.state[p]["momentum_buffer"] for p in weights)]
    for tensor, before in zip(changed, [*kept, *momentum], strict=True):
        tensor.copy_(torch.where(found_inf > 0.0, before, tensor))


def block_matrices(network: nn.Module, tables: set[int]) -> dict[str, nn.Parameter]:
    """The trained parameters that Muon is made for, by name: the matrices of the repeated blocks.

    Low-rank changes are such matrices too. The matrices of modules with a true attribute `conditions` are not: what
    they read lies on one curve, that of sigma, so that their gradients have a few directions; the others, which Muon
    would make as large, are noise.

    Args:
        network: its blocks are the members of its `nn.ModuleList`s.
        tables: parameters that are tables of vectors, by `id`; they are left out.
    """
    modules = dict(network.named_modules())
    blocks = tuple(f"{name}." for name, module in modules.items() if isinstance(module, nn.ModuleList))
    conditioning = {
        id(parameter)
        for module in modules.values()
        if getattr(module, "conditions", False)
        for parameter in module.parameters()
    }
    return {
        name: parameter
        for name, parameter in network.named_parameters()
        if parameter.requires_grad and parameter.dim() == 2 and name.startswith(blocks)
        if id(parameter) not in tables | conditioning
    }


def expected_moments(optimizer: torch.optim.Optimizer) -> dict[Tensor, tuple[str, ...]]:
    """What an optimizer of sedd keeps for each of its parameters, by name."""
    parts = optimizer.parts if isinstance(optimizer, MuonWithAdamW) else (optimizer,)
    return {
        parameter: names
        for part in parts
        for kind, names in MOMENTS.items()
        if isinstance(part, kind)
        for group in part.param_groups
        for parameter in group["params"]
    }
