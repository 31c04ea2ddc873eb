"""Memory that does not suffice, and gradients that are not finite, in any part of any step."""

from __future__ import annotations

import itertools
from pathlib import Path
from random import Random

import pytest
import torch

import sedd
from sedd.errors import OutOfMemoryError
from sedd.runs import checkpoint
from tests.reliability.result import Result, Tally, lost_unless, sampled, silent_unless
from tests.reliability.runs import STEPS, configuration, digest, error_of, fresh, newest_step, train
from tests.training.test_interruptions import LATER, PLACES, Interrupter
from tests.training.test_trainer import Brittle, contents, lines

ERRORS = {
    "MemoryError": MemoryError(),
    "a GPU's": torch.OutOfMemoryError("CUDA out of memory"),
    "the allocator's": RuntimeError("DefaultCPUAllocator: can't allocate memory"),
}
PARTS = dict(PLACES) | {name: place for name, (place, _) in LATER.items() if name != "sampling"}


def out_of_memory(scale: float, seed: int, workdir: Path) -> Result:
    """Memory does not suffice at each call of each part of a step, before or after it did its work."""
    config = configuration("model.dropout=0.1")
    straight = digest(train(config, fresh(workdir, "straight")).run.path)
    cases = list(itertools.product(PARTS, range(1, STEPS + 1), ERRORS, (False, True)))
    cases = sampled(cases, scale, Random(seed), least=len(PARTS))
    tally = Tally(workdir, len(cases))
    for number, (part, call, error, after) in enumerate(cases):
        with tally.case(f"{part}, call {call}, {error}, {'after' if after else 'before'}"):
            run = fresh(workdir)
            trainer = sedd.Trainer(config, run=run)
            interrupter = Interrupter(ERRORS[error], call, after=after)
            with pytest.MonkeyPatch.context() as patched:
                interrupter.patch(patched, *PARTS[part](trainer))
                found = error_of(lambda t=trainer: t.fit(progress=False))
            if interrupter.calls >= call:  # otherwise the part has fewer calls
                silent_unless(found is not None, "nothing was said")
                silent_unless(isinstance(found, OutOfMemoryError), f"it is said as {found!r}")
            saves_it = trainer.train_step.torn or trainer.state.step == 0 or newest_step(run) >= trainer.state.step
            lost_unless(saves_it, f"step {trainer.state.step} was not saved")
            if number % 2:
                trainer.fit(progress=False)
            else:
                train(config, run, resume=True)
            lost_unless(digest(run) == straight, "the run that went on differs")
    return tally.result


def non_finite(scale: float, seed: int, workdir: Path) -> Result:
    """Losses that are not finite at random steps, with an interruption."""
    random, count = Random(seed), max(4, round(120 * scale))
    tally = Tally(workdir, count)
    for _ in range(count):
        bad = {call for call in range(1, 13) if random.random() < 0.3}
        until = random.randrange(1, STEPS)
        with tally.case(f"calls {sorted(bad)}, interrupted after step {until}"):
            # Without evaluating training sequences, which calls a copy of the network whose count begins anew.
            config = configuration(
                "training.max_skipped=20", "training.eval_every=1000", "evaluation.train_sequences=0"
            )
            straight = _brittle(config, fresh(workdir, "straight"), bad)
            straight.fit(progress=False)
            skipped = [call for call in sorted(bad) if call <= STEPS]
            lost_unless(straight.state.skipped == len(skipped), f"{straight.state.skipped} steps were skipped")
            _check_recorded(straight)
            run = fresh(workdir)
            first = _brittle(config, run, bad)
            first.fit(until=until, progress=False)
            _brittle(config, run, bad, done=until, resume=True).fit(progress=False)
            lost_unless(contents(run) == contents(straight.run.path), "the resumed run differs")
            lost_unless(lines(run) == lines(straight.run.path), "its metrics differ")
    with tally.case("endless"):
        trainer = _brittle(configuration("training.max_skipped=4"), fresh(workdir), set(range(3, 100)))
        error = error_of(lambda: trainer.fit(progress=False))
        silent_unless(isinstance(error, sedd.TrainingError), f"it ends with {error!r}")
        lost_unless(newest_step(trainer.run.path) == 6, "the last step is not saved")
    return tally.result


def _brittle(config: sedd.Config, run: Path, bad: set[int], *, done: int = 0, resume: bool = False) -> sedd.Trainer:
    """A trainer whose network is not finite on some calls, of which `done` were made before."""
    torch.manual_seed(0)
    network = Brittle({call - done for call in bad})
    return sedd.Trainer(config, model=network, run=run, resume=resume)


def _check_recorded(trainer: sedd.Trainer) -> None:
    recorded = [line["skipped"] for line in lines(trainer.run.path) if line["kind"] == "skipped"]
    silent_unless(recorded == list(range(1, trainer.state.skipped + 1)), f"skipped steps in the metrics: {recorded}")
    found = checkpoint.latest(trainer.run.checkpoints)
    lost_unless(found is not None, "there is no checkpoint")
    if found is not None:
        finite = [bool(value.isfinite().all()) for group in found[1].tensors.values() for value in group.values()]
        silent_unless(all(finite), "a weight is not finite")
