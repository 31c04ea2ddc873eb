"""What `sedd train` prints at the end: the verdict, the bound beside reference values, and what to do next."""

from __future__ import annotations

import math
import shlex
from collections.abc import Iterator
from itertools import chain
from pathlib import Path

from sedd.cli.console import out
from sedd.diagnosis.diagnosis import verdict_lines
from sedd.evaluation.bound import Bound
from sedd.evaluation.intervals import with_error
from sedd.evaluation.paired import paired_difference
from sedd.runs.data_record import EvaluatedRecord
from sedd.training.trainer import Trainer

Rows = Iterator[tuple[str, str]]


def print_summary(trainer: Trainer, bound: Bound, samples: Path | None) -> None:
    """Print the outcome of a run; `samples` is the file of those that were drawn at the end."""
    if trainer.verdict is not None:
        out.print(trainer.verdict.lead, markup=False)
        out.print("\n".join(verdict_lines(trainer.verdict)) + "\n", markup=False)
    blocks = _ended(trainer), _bound(bound), _references(trainer, bound), _files(trainer, samples), _next(trainer)
    for name, text in chain(*blocks):
        out.print(f"{name:<15}{text}", markup=False)


def _ended(trainer: Trainer) -> Rows:
    """Why the run ended before its last step, if it did."""
    if not trainer.world.is_main or trainer.state.step >= trainer.config.training.n_iters:
        return
    if (ended := trainer.run.history().ended) is not None:
        yield "ended", ended.sentence


def _bound(bound: Bound) -> Rows:
    known = "± is half of a 95 % interval" if math.isfinite(bound.half_width) else "too few held-out sequences"
    yield (
        "held-out bound",
        f"{with_error(bound.nats, bound.half_width)} nats per residue ({bound.bits:.3f} bits; {known})",
    )


def _references(trainer: Trainer, bound: Bound) -> Rows:
    """What an untrained model, the token frequencies and the source itself have on the same sequences."""
    n = trainer.data.alphabet.n
    yield "uniform", f"{math.log(n):.4f} nats per residue: an untrained model, {n} equally likely symbols"
    held_out = EvaluatedRecord.of(trainer.config, trainer.data, trainer.state.step).held_out
    if len(held_out.unigram) and len(held_out.unigram) == len(bound.by_sequence):
        unigram = float(held_out.unigram @ held_out.residues / held_out.residues.sum())
        difference = paired_difference(bound.by_sequence, held_out.unigram, held_out.residues)
        than = "better" if difference.nats < 0.0 else "worse"
        clear = "" if difference.half_width < abs(difference.nats) else ", which is not a clear difference"
        size = with_error(abs(difference.nats), difference.half_width)
        yield "unigram", f"{unigram:.4f} nats per residue: a model of the token frequencies, on these sequences"
        yield "difference", f"{size} {than} than the unigram model{clear}"
    exact = trainer.data.exact_nll
    if exact is not None and not bound.cropped and bound.sequences == len(trainer.data.valid):
        yield "exact value", f"{exact:.4f} nats per residue, of these held-out sequences"
        yield "gap to exact", f"{bound.nats - exact:.4f} nats per residue"
    elif exact is not None:
        yield "exact value", f"{exact:.4f} nats per residue, over all held-out sequences in full: not comparable"


def _files(trainer: Trainer, samples: Path | None) -> Rows:
    run = trainer.run
    yield "run", str(run.path)
    yield "metrics", str(run.metrics_file)
    yield "checkpoints", str(run.checkpoints)
    if samples:
        yield "samples", str(samples)


def _next(trainer: Trainer) -> Rows:
    """The commands that a user most likely types next."""
    run = shlex.quote(str(trainer.run.path))
    commands = [f"sedd report {run} --open", f"sedd diagnose {run}", f"sedd evaluate {run}"]
    if trainer.config.prior_kept <= trainer.config.GENERATES_BELOW:
        commands.append(f"sedd quality {run}")
    yield from zip(("next", *[""] * len(commands)), commands, strict=False)
