"""The key numbers at the top of a report."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from sedd.evaluation.intervals import half_width, with_error
from sedd.evaluation.paired import paired_difference
from sedd.report.bound_charts import EXACT, bound_levels
from sedd.report.chart import NAMES
from sedd.report.contents import Contents
from sedd.runs.metrics import BoundRecord
from sedd.terminal.activity import duration


@dataclass(frozen=True)
class Number:
    """A key number, with a small line below it."""

    name: str
    value: str
    note: str = ""


def key_numbers(contents: Contents) -> list[Number]:
    """The numbers that readers ask for first."""
    history, config = contents.history, contents.config
    of = f"of {config.training.n_iters:,}" if config is not None else ""
    if history.ended is not None:
        of = f"{of}. {history.ended.sentence}".lstrip(". ")
    numbers = [Number("optimizer step", f"{contents.step:,}", of), *_bound_numbers(contents)]
    if history.lines:
        last = history.lines[-1]
        loss = f"{last.loss:.4f}" if last.loss < 1000 else f"{last.loss:.4g}"
        numbers.append(Number("training loss", loss, f"nats per residue, at difficulty {last.difficulty:.2f}"))
        if last.seconds > 0:
            rate = f"{last.residues / last.seconds:,.0f} residues per second"
            numbers.append(Number("time in training steps", duration(last.seconds), rate))
        numbers.append(Number("training residues", _large(last.residues)))
    if contents.parameters is not None:
        numbers.append(Number("parameters", _large(contents.parameters)))
    if history.data is not None:
        length = f"of {history.data.mean_length:.0f} residues on average"
        if history.data.cropped:
            longest = f" to {config.model.length:,} residues" if config is not None else ""
            length += f" after {history.data.cropped:.0%} of them were cropped{longest}"
        numbers.append(Number("training sequences", f"{history.data.sequences:,}", length))
    numbers += [
        Number("changed on purpose", ", ".join(change.changes), str(change).capitalize()) for change in history.changes
    ]
    trouble = [f"{len(history.skipped):,} skipped"] if history.skipped else []
    trouble += [f"{len(history.rollbacks):,} rolled back"] if history.rollbacks else []
    if trouble:
        numbers.append(Number("steps", ", ".join(trouble)))
    return numbers


def _bound_numbers(contents: Contents) -> list[Number]:
    bounds = contents.finite_bounds
    if not bounds:
        return [Number("held-out bound", "none yet")]
    last, best = bounds[-1], min(bounds, key=lambda bound: bound.nats)
    known = "± is half of a 95 % interval" if math.isfinite(last.half_width) else "of too few sequences for an error"
    text = with_error(last.nats, last.half_width) if math.isfinite(last.half_width) else f"{last.nats:.4f}"
    bits, perplexity = f"{last.nats / math.log(2):.3f} bits", f"perplexity {math.exp(min(last.nats, 700)):.4g}"
    numbers = [
        Number("held-out bound", text, f"nats per residue, {known}; {bits}, {perplexity}"),
        Number("best bound", with_error(best.nats, best.half_width), f"at step {best.step:,}"),
    ]
    return numbers if (compared := _compared(contents, last)) is None else [*numbers, compared]


def _compared(contents: Contents, last: BoundRecord) -> Number | None:
    """The bound beside the exact value where it is known, otherwise beside the unigram model; None without either."""
    levels = {level.name: level for level in bound_levels(contents)}
    level = levels.get(EXACT, levels.get(NAMES["unigram"]))
    if level is None:
        return None
    gap, error = last.nats - level.y, ""
    evaluated = contents.history.evaluated
    paired = evaluated is not None and len(evaluated.held_out.unigram) == len(last.by_sequence) > 2
    if level.name != EXACT and evaluated is not None and paired and np.isfinite(last.by_sequence).all():
        held_out = evaluated.held_out
        found = paired_difference(last.by_sequence, held_out.unigram, held_out.residues)
        gap, error = found.nats, f" ± {half_width(found.stderr, found.sequences):.4f}"
    note = f"the bound is {abs(gap):.4f}{error} {'above' if gap > 0 else 'below'} it"
    return Number(f"for comparison: {level.name}", f"{level.y:.4f}", note if error else f"{note} (error not known)")


def _large(value: int) -> str:
    for size, name in ((1e9, "billion"), (1e6, "million")):
        if value >= size:
            return f"{value / size:.3g} {name}"
    return f"{value:,}"
