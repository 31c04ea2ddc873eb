"""What is said of a run in which nothing is wrong: why its loss moves, and what the model has learnt for certain."""

from __future__ import annotations

import math

from sedd.diagnosis.attribution import Attribution, between
from sedd.diagnosis.evidence.base import RunFacts
from sedd.diagnosis.evidence.evaluations import Series, held_out
from sedd.diffusion.schedule import Schedule
from sedd.errors import DataError
from sedd.evaluation.statistics import Z95
from sedd.runs.history import History

_BY_CHANCE = "The training loss has moved by no more than its Monte Carlo error."


def why_the_loss_moves(facts: RunFacts) -> tuple[str, bool]:
    """Why the training loss moved from the first line to the last, and whether it rose because of the curriculum."""
    lines = facts.lines
    try:
        split = between(lines, lines[0].step, lines[-1].step)
    except DataError:
        return "The log does not show why the training loss moves.", False
    error = Z95 * learning_error(facts, split)
    if split.change > error:
        if split.difficulty > max(split.learning, 0.5 * split.change, error):
            recent = 2 * facts.config.curriculum.preschool_time >= split.last
            return _harder(facts, split), recent
        return "The training loss rose; whether by chance or because the model got worse is not clear yet.", False
    if split.learning < min(split.difficulty, split.draw, -error):
        if split.difficulty > max(error, 0.0):
            return "The training loss fell because the model learns, although the task got harder.", False
        return "The training loss falls because the model learns.", False
    if split.difficulty < min(split.draw, -error):
        return "The training loss falls because the task gets easier.", False
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


def learning_error(facts: RunFacts, split: Attribution) -> float:
    """Standard error of the learning part, nats per residue, from the noise of single lines."""
    lines = facts.lines
    first, last = lines[0].bins, lines[-1].bins
    noise = facts.levels.noise
    if not math.isfinite(noise):
        return math.inf
    half_window = (split.last - split.first) / 40.0
    counts = [sum(abs(line.step - step) <= half_window for line in lines) for step in (split.first, split.last)]
    parts = [
        float(bins.loss.sum()) / max(bins.residues, 1) * math.sqrt(noise / max(bins.corrupted.sum() * count, 1.0))
        for bins, count in zip((first, last), counts, strict=True)
    ]
    return math.hypot(*parts)


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
    by = f"(by {gain.value:.3f} ± {gain.half_width:.3f})"
    if gain.low > 0:
        return f"The model gets better: on data it never saw it improved {change} {by}. {learnt(facts, series)}".strip()
    return (
        f"Whether the model gets better is not clear yet: on data it never saw it went {change}, a difference within "
        f"its error {by}. {learnt(facts, series)}"
    ).strip()


def learnt(facts: RunFacts, series: Series) -> str:
    """The highest rung of the ladder that the last evaluation has passed, at the 5 % level for each rung."""
    index = len(series) - 1
    unigram, composition = (series.below(index, name) for name in ("unigram", "composition"))
    data = facts.history.data
    if composition is not None and unigram is not None and min(composition.low, unigram.low) > 0:
        least = min(composition, unigram, key=lambda gap: gap.value)
        return (
            f"It is {least.value:.3f} ± {least.half_width:.3f} nats per residue better than the token frequencies and the "
            "composition of each sequence."
        )
    if unigram is not None and unigram.low > 0:
        return (
            f"It is {unigram.value:.3f} ± {unigram.half_width:.3f} nats per residue better than the token frequencies; "
            "whether it uses the order of residues or only the composition of each sequence is not clear."
        )
    if data is not None and (last := series.at(index)).high < math.log(len(data.token_counts)):
        by = math.log(len(data.token_counts)) - last.value
        return (
            f"It is {by:.3f} ± {last.half_width:.3f} nats per residue better than the uniform predictor; whether it "
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
            f"The held-out bound, which does not depend on the curriculum, went from {first.nats:.4f} (step "
            f"{first.step:,}) to {last.nats:.4f} ± {Z95 * last.stderr:.4f} nats per residue; best {best.nats:.4f} at "
            f"step {best.step:,}."
        )
    return " ".join(parts or ["Nothing was logged yet."])
