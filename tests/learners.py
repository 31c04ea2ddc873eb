"""Something that is learnt in a second: sequences that differ in their letters, and a network that counts letters."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

SYMBOLS = "ACDEFGHIKLMNPQRSTVWY"


def compositions(sequences: int = 400, length: int = 24, *, seed: int = 0) -> list[str]:
    """Sequences of a few letters each: who sees some residues can guess the others."""
    random = np.random.default_rng(seed)
    shares = random.dirichlet(np.full(len(SYMBOLS), 0.1), size=sequences)
    return ["".join(random.choice(list(SYMBOLS), size=length, p=share)) for share in shares]


class Bag(nn.Module):
    """Logits of a residue from how often each symbol is seen in the sequence; zeros at first."""

    def __init__(self, graph: str) -> None:
        super().__init__()
        self.states = len(SYMBOLS) + (graph == "absorb")
        self.linear = nn.Linear(self.states, len(SYMBOLS))
        nn.init.zeros_(self.linear.weight)
        nn.init.zeros_(self.linear.bias)

    def forward(self, tokens: Tensor, sigma: Tensor, mask: Tensor | None) -> Tensor:
        seen = F.one_hot(tokens, self.states).float()
        if mask is not None:
            seen = seen * mask[..., None]
        counts = seen.sum(1, keepdim=True) - seen  # without the residue itself
        return self.linear(torch.log1p(counts))
