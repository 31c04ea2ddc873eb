"""Whether a network lets the sequences of a batch see each other, which no network of a diffusion model may."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from sedd.diffusion.process import Process

ROWS, LENGTH = 4, 32
"""Sequences of the test batch, and residues in each, at most."""


@torch.no_grad()
def batch_mixing(network: nn.Module, process: Process, device: torch.device, *, max_length: int) -> float:
    """How much the output for a sequence in training mode changes when the other sequences of its batch do.

    The network is left in training mode, and its buffers may change: give a copy. The random draws of the caller do not
    change.

    Returns:
        The root mean square of the change over the standard deviation of the output: 0 for a network that is right,
        apart from rounding. NaN where the network answers the same batch differently each time, or not with numbers.
    """
    network.train()
    length, tokens = min(LENGTH, max_length), process.graph.n
    source = torch.Generator().manual_seed(0)
    batch = torch.randint(tokens, (ROWS, length), generator=source)
    others = torch.cat([batch[:1], torch.randint(tokens, (ROWS - 1, length), generator=source)])
    sigma = torch.full((ROWS,), sum(process.sigma_range) / 2.0, device=device)

    def first(rows: Tensor) -> Tensor:
        torch.manual_seed(0)  # the same dropout
        output: Tensor = network(rows.to(device), sigma, None)[0]
        return output.float()

    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        one, again, beside = first(batch), first(batch), first(others)
    spread = float((one - one.mean(-1, keepdim=True)).square().mean().sqrt())
    if not torch.equal(one, again) or not spread < float("inf"):
        return float("nan")
    change = float((beside - one).square().mean().sqrt())
    return change / spread if spread > 0 else 0.0
