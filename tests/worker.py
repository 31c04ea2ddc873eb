"""One process of a group: trains as it is told, and writes what it saw. `tests.processes` starts it."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

import sedd
from tests.conftest import TINY

RANK = int(os.environ.get("RANK", 0))


class Poisoned(nn.Module):
    """Knows only the letters; in one process, on one call, its output is not a number. Begins at random."""

    def __init__(self, rank: int, call: int) -> None:
        super().__init__()
        self.table = nn.Embedding(21, 20)
        nn.init.normal_(self.table.weight, generator=torch.Generator().manual_seed(RANK))
        self.bad, self.calls = (rank == RANK) * call, 0

    def forward(self, tokens: Tensor, sigma: Tensor, mask: Tensor | None = None) -> Tensor:
        output: Tensor = self.table(tokens)
        if self.training:
            self.calls += 1
            if self.calls == self.bad:
                return output * torch.nan
        return output


def work(
    run: Path, *overrides: str, stop: int | None = None, resume: bool = False, poison: tuple[int, int] | None = None
) -> dict[str, Any]:
    """Train the tiny model, and tell everything that was seen.

    Args:
        run: the run directory.
        overrides: of the tiny configuration.
        stop: end after this step, with a checkpoint.
        resume: go on from the last one.
        poison: a rank, and the call of the network at which its output is not a number.
    """
    trainer = sedd.Trainer(
        sedd.load_config("quickstart", *TINY, *overrides),
        model=Poisoned(*poison) if poison else None,
        run=run,
        resume=resume,
    )
    if RANK == 0:
        trainer.run.begin(trainer.config, resume=resume)
    found: dict[str, Any] = {"resumed": trainer.state.step, "losses": [], "norms": [], "skipped": [], "letters": []}
    for report in trainer.steps():
        found["losses"].append(report.loss)
        found["norms"].append(report.grad_norm)
        found["skipped"].append(report.skipped)
        found["letters"].append(list(report.token_counts))
        if report.step == stop:
            break
    trainer.save()
    bound = trainer.evaluate()
    found |= {"nats": bound.nats, "stderr": bound.stderr, "samples": trainer.sample(5, length=7)}
    return found | {"compiled": trainer.compiled}


if __name__ == "__main__":
    torch.set_num_threads(1)
    path, settings, options = json.loads(sys.argv[1])
    seen = work(Path(path), *settings, **options)
    Path(f"{path}.{RANK}.json").write_text(json.dumps(seen))
