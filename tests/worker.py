"""The program of one rank: trains the tiny model and writes the results to a file. `tests.processes` starts it."""

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


def rank_of_process() -> int:
    """The rank of this process, 0 without a group."""
    return int(os.environ.get("RANK", 0))


class NanAtCall(nn.Module):
    """An embedding with random weights whose output is NaN at call number `call` on rank `rank`."""

    def __init__(self, rank: int, call: int) -> None:
        super().__init__()
        self.table = nn.Embedding(21, 20)
        nn.init.normal_(self.table.weight, generator=torch.Generator().manual_seed(rank_of_process()))
        self.nan_call, self.calls = (rank == rank_of_process()) * call, 0

    def forward(self, tokens: Tensor, sigma: Tensor, mask: Tensor | None = None) -> Tensor:
        output: Tensor = self.table(tokens)
        if self.training:
            self.calls += 1
            if self.calls == self.nan_call:
                return output * torch.nan
        return output


def train_tiny(
    run: Path,
    *overrides: str,
    stop: int | None = None,
    resume: bool = False,
    nan_at: tuple[int, int] | None = None,
    late: bool = False,
) -> dict[str, Any]:
    """Train the tiny model; returns losses, gradient norms, the bound and samples.

    Args:
        run: the run directory.
        overrides: of the tiny configuration.
        stop: save a checkpoint and end after this step.
        resume: resume from the last checkpoint.
        nan_at: arguments of `NanAtCall`, which replaces the transformer.
        late: let the device decide which steps are skipped, as accelerators do.
    """
    trainer = sedd.Trainer(
        sedd.load_config("quickstart", *TINY, *overrides),
        model=NanAtCall(*nan_at) if nan_at else None,
        run=run,
        resume=resume,
    )
    trainer.train_step.skips_on_device |= late
    if rank_of_process() == 0:
        trainer.run.begin(trainer.config, resume=resume)
    result: dict[str, Any] = {"resumed": trainer.state.step}
    result |= {name: [] for name in ("losses", "norms", "skipped", "counts", "probes")}
    for report in trainer.steps():
        result["losses"].append(report.loss)
        result["norms"].append(report.grad_norm)
        result["skipped"].append(report.skipped)
        result["counts"].append(list(report.token_counts))
        if report.probe is not None and report.probe_raw is not None:
            result["probes"] += [*report.probe.by_sequence, *report.probe_raw.by_sequence]
        if report.step == stop:
            break
    trainer.save()
    bound = trainer.evaluate()
    result |= {"nats": bound.nats, "stderr": bound.stderr, "samples": trainer.sample(5, length=7)}
    return result | {"compiled": trainer.compiled}


def main(arguments: str) -> None:
    """Train as `arguments` says, a JSON list of the run, overrides and options; the result goes to a file beside it."""
    torch.set_num_threads(1)
    path, settings, options = json.loads(arguments)
    Path(f"{path}.{rank_of_process()}.json").write_text(json.dumps(train_tiny(Path(path), *settings, **options)))


if __name__ == "__main__":
    main(sys.argv[1])
