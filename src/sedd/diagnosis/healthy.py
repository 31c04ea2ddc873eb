"""What is said of a run in which nothing is wrong: why its loss moves, and what the model has learnt for certain."""

from __future__ import annotations

import math

from sedd.diagnosis.attribution import Attribution, between
from sedd.diagnosis.evidence.base import RunFacts
from sedd.diagnosis.evidence.came_back import largest_rise
from sedd.diagnosis.evidence.evaluations import Series, held_out
from sedd.diagnosis.evidence.plateau import stalled
from sedd.diffusion.schedule import Schedule
from sedd.errors import DataError
from sedd.evaluation.intervals import plus_minus, with_error
from sedd.runs.history import History

_BY_CHANCE = "The training loss has moved by no more than its Monte Carlo error."


def why_the_loss_moves(facts: RunFacts) -> tuple[str, bool]:
    """Why the training loss moved from the first line to the last, and whether it rose because of the curriculum.

    Each reason is a part of the attribution whose 95 % interval excludes 0.
    """
    lines = facts.lines
    try:
        split = between(lines, lines[0].step, lines[-1].step)
    except DataError:
        return "The log does not show why the training loss moves.", False
    harder, easier = split.difficulty_interval[0] > 0, split.difficulty_interval[1] < 0  # False where not known
    learns, forgets = split.learning_interval[1] < 0, split.learning_interval[0] > 0
    if split.change > 0:
        if harder and split.difficulty >= max(split.learning, split.draw):
            recent = 2 * facts.config.curriculum.preschool_time >= split.last
            return _harder(facts, split), recent
        if forgets:
            return "The training loss rose a little at equal mask rates, by less than what counts as a fault.", False
        return _BY_CHANCE, False
    if learns and split.learning <= min(split.difficulty, split.draw):
        although = ", although the task got harder" if harder else ""
        return f"The training loss fell because the model learns{although}.", False
    if easier:
        return "The training loss fell because the task gets easier.", False
    return _BY_CHANCE, False


def _harder(facts: RunFacts, split: Attribution) -> str:
    """The curriculum in quantities that a person can picture."""
    schedule = Schedule(facts.config)
    first, last = (schedule.at(step) for step in (split.first, split.last))
    end = facts.config.curriculum.preschool_time
    size = (last.mask_high - last.mask_low) / max(first.mask_high - first.mask_low, 1e-12)
    tense = "rises" if split.last < end else "rose"
    until = "" if split.last < end else f" until step {end:,}"
    return (
        f"The training loss {tense}{until} because the task {'gets' if split.last < end else 'got'} harder: at step "
        f"{split.first:,} at most {first.mask_high:.0%} of the residues were masked, at step {split.last:,} "
        f"{last.mask_high:.0%}; the task became {size:.1f} times as large."
    )


def progress(facts: RunFacts) -> str:
    """Whether the model gets better on held-out data, and the highest rung of the ladder that it has passed."""
    series = held_out(facts)
    if not len(series):
        return "Whether the model itself gets better is not clear: no held-out bound was logged yet."
    last = series.at(-1)
    if len(series) == 1:
        return (
            "Whether the model itself gets better is not clear yet: there is only one held-out bound, "
            f"{last.value:.2f} nats per residue at step {series.steps[0]:,}. {learnt(facts, series)}"
        ).strip()
    gain = series.minus(0, -1)
    change = f"from {series.bounds[0].nats:.3f} to {series.bounds[-1].nats:.3f} nats per residue"
    by = f"(by {plus_minus(gain.value, gain.half_width)})"
    if gain.low > 0:
        gets = (
            f"got better until step {series.steps[series.best]:,} and not since" if stalled(series) else "gets better"
        )
        return (
            f"The model {gets}: on data it never saw it improved {change} {by}.{_came_back(series)} "
            f"{learnt(facts, series)}"
        ).strip()
    return (
        f"Whether the model gets better is not clear yet: on data it never saw it went {change}, a difference within "
        f"its error {by}. {learnt(facts, series)}"
    ).strip()


def _came_back(series: Series) -> str:
    """The largest rise of the bound that was made up later, in words; empty if there is none."""
    rise = largest_rise(series)
    if rise is None:
        return ""
    return (
        f" In between, from step {rise.first:,} to step {rise.last:,}, it was worse by "
        f"{plus_minus(rise.size.value, rise.size.half_width)}, and came back."
    )


def learnt(facts: RunFacts, series: Series) -> str:
    """The highest rung of the ladder that the last evaluation has passed, at the 5 % level for each rung."""
    index = len(series) - 1
    unigram, composition = (series.below(index, name) for name in ("unigram", "composition"))
    data = facts.history.data
    if composition is not None and unigram is not None and min(composition.low, unigram.low) > 0:
        least = min(composition, unigram, key=lambda gap: gap.value)
        return (
            f"It is {plus_minus(least.value, least.half_width)} nats per residue better than the token frequencies "
            "and the composition of each sequence."
        )
    if unigram is not None and unigram.low > 0:
        return (
            f"It is {plus_minus(unigram.value, unigram.half_width)} nats per residue better than the token "
            "frequencies; whether it uses the order of residues or only the composition of each sequence is not clear."
        )
    if data is not None and (last := series.at(index)).high < math.log(len(data.token_counts)):
        by = math.log(len(data.token_counts)) - last.value
        return (
            f"It is {plus_minus(by, last.half_width)} nats per residue better than the uniform predictor; whether it "
            "has learnt more than the token frequencies is not clear."
        )
    return ""


def numbers_of(history: History) -> str:
    """How the loss and the held-out bound changed, in numbers."""
    parts = []
    if history.lines:
        try:
            parts.append(str(between(history.lines, history.lines[0].step, history.lines[-1].step)))
        except DataError as error:
            parts.append(f"{error}.")
    if len(history.bounds) > 1:
        first, last = history.bounds[0], history.bounds[-1]
        best = min(history.bounds, key=lambda bound: bound.nats)
        parts.append(
            f"The held-out bound, which does not depend on the difficulty, went from {first.nats:.4f} (step "
            f"{first.step:,}) to {with_error(last.nats, last.half_width)} nats per residue; best {best.nats:.4f} at "
            f"step {best.step:,} (± is half of a 95 % interval)."
        )
    return " ".join(parts or ["Nothing was logged yet."])
