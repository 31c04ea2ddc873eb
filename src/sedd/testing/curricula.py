"""What curricula promise."""

from __future__ import annotations

import itertools
import math

from hypothesis import strategies as st
from pydantic import ValidationError

from sedd.plugins.contracts import Curriculum, Ramp
from sedd.testing.reports import Draw, ask, fail

FAR = 10**9


def _difficulty(part: Curriculum, step: int) -> float:
    value = ask(part, f"step {step}", "a difficulty", "difficulty", step)
    if not isinstance(value, float):
        fail(part, f"step {step}", f"difficulty is {value!r}, of type {type(value).__name__}", "a float")
    if math.isnan(value):
        fail(part, f"step {step}", "difficulty is nan", "a number")
    return value


def _steps(part: Curriculum, draw: Draw) -> list[int]:
    """Steps all over the ramp, at its ends, beyond it, and a few of Hypothesis's own; in order."""
    end = part.preschool_time
    spread = {end * i // 64 for i in range(65)}
    ends = {0, 1, 2, max(end - 1, 0), end, end + 1, 2 * end, FAR}
    return sorted(spread | ends | set(draw(st.lists(st.integers(0, 2 * end + 10), max_size=8))))


def difficulty_is_a_float_between_zero_and_one(part: Curriculum, draw: Draw) -> None:
    """At every step the difficulty is a float, and 0 <= difficulty <= 1."""
    for step in _steps(part, draw):
        value = _difficulty(part, step)
        if not 0.0 <= value <= 1.0:
            fail(part, f"step {step}", f"difficulty is {value!r}", "a number from 0 to 1")


def difficulty_never_falls(part: Curriculum, draw: Draw) -> None:
    """A later step is never easier."""
    steps = _steps(part, draw)
    values = [_difficulty(part, step) for step in steps]
    for (a, low), (b, high) in itertools.pairwise(zip(steps, values, strict=True)):
        if high < low - 1e-12:  # the last digit may shake
            fail(part, f"step {b}", f"difficulty falls from {low!r} at step {a} to {high!r}", "one that never falls")


def difficulty_depends_on_nothing_but_the_step(part: Curriculum, draw: Draw) -> None:
    """Asked again, in another order, or of a fresh copy, the difficulty is the same: resume relies on it."""
    steps = _steps(part, draw)
    first = {step: _difficulty(part, step) for step in steps}
    copy = type(part).model_validate(part.model_dump())
    for who, source in (("asked again in reverse order", part), ("a fresh copy", copy)):
        for step in reversed(steps):
            if (value := _difficulty(source, step)) != first[step]:
                fail(part, f"step {step}", f"difficulty was {first[step]!r}, {who} gives {value!r}", "the same answer")


def difficulty_is_exactly_one_from_preschool_time_on(part: Curriculum, draw: Draw) -> None:
    """From `preschool_time` on the difficulty is 1.0, not nearly: every run ends on the full objective."""
    end = part.preschool_time
    for step in (end, end + 1, end + draw(st.integers(0, FAR)), max(FAR, end)):
        if (value := _difficulty(part, step)) != 1.0:
            where = f"step {step} (preschool_time is {end})"
            fail(part, where, f"difficulty is {value!r}", "exactly 1.0 from preschool_time on")


def difficulty_works_for_any_preschool_time(part: Curriculum, draw: Draw) -> None:
    """No ramp at all, a ramp of one step and a ramp longer than any run are fine, and so are huge steps."""
    for copy in filter(None, (_stretched(part, time) for time in (0, 1, FAR))):
        for step in (0, 1, copy.preschool_time, 10**15):
            value = _difficulty(copy, step)
            if not 0.0 <= value <= 1.0 or (step >= copy.preschool_time and value != 1.0):
                expected = "exactly 1.0" if step >= copy.preschool_time else "a number from 0 to 1"
                fail(copy, f"step {step}", f"difficulty is {value!r}", expected)


def difficulty_never_jumps(part: Curriculum, draw: Draw) -> None:
    """No step changes the difficulty by more than the slope of the ramp allows, the last one included.

    A jump in the noise looks like a jump in the loss. For a `Ramp` the slope is that of `shape`. Any other curriculum
    is stretched to a long `preschool_time`, where single steps must be small; one that cannot be stretched because
    its options fix the steps, such as `stages`, is asked nothing here.
    """
    long = 10**8
    slope = _steepest(part) if isinstance(part, Ramp) else 1e-3 * long
    curricula = [part if isinstance(part, Ramp) else None, _stretched(part, long)]
    for curriculum in filter(None, curricula):
        step, change = _largest_change(curriculum)
        allowed = 1.5 * slope * (1.0 - curriculum.min_difficulty) / max(curriculum.preschool_time, 1) + 1e-9
        if not isinstance(curriculum, Ramp):
            allowed = 1e-3
        if change > allowed:
            fail(
                curriculum,
                f"step {step}",
                f"difficulty jumps by {change:.3g} in one step",
                f"at most {allowed:.3g}, from the slope of the ramp",
            )


def _stretched(part: Curriculum, time: int) -> Curriculum | None:
    """The same curriculum with another `preschool_time`, where its options allow that."""
    try:
        return type(part).model_validate({**part.model_dump(), "preschool_time": time})
    except ValidationError:
        return None


def _steepest(part: Ramp, pieces: int = 4096) -> float:
    """The largest slope of `shape` on a fine grid."""
    heights = [_shape(part, i / pieces) for i in range(pieces + 1)]
    return max(b - a for a, b in itertools.pairwise(heights)) * pieces


def _largest_change(part: Curriculum, pieces: int = 64) -> tuple[int, float]:
    """The step of the largest one-step change that bisection finds, and that change."""
    end = part.preschool_time
    found = (end, 0.0)
    for i in range(pieces):
        left, right = end * i // pieces, end * (i + 1) // pieces
        low, high = _difficulty(part, left), _difficulty(part, right)
        while right - left > 1:
            middle = (left + right) // 2
            value = _difficulty(part, middle)
            if value - low > high - value:
                right, high = middle, value
            else:  # on a tie to the right, towards the last step of the ramp
                left, low = middle, value
        found = max(found, (right, high - low), key=lambda item: item[1])
    if end:
        found = max(found, (end, _difficulty(part, end) - _difficulty(part, end - 1)), key=lambda item: item[1])
    return found


def _shape(part: Ramp, progress: float) -> float:
    value = ask(part, f"progress {progress}", "a number from 0 to 1", "shape", progress)
    if not isinstance(value, int | float) or isinstance(value, bool) or math.isnan(value):
        fail(part, f"progress {progress}", f"shape is {value!r}", "a number from 0 to 1")
    return value


def shape_runs_from_zero_to_one(part: Ramp, draw: Draw) -> None:
    """`shape` is 0 at 0, 1 at 1, and between them in between; what it lacks at an end becomes a jump there."""
    for progress, expected in ((0.0, 0.0), (1.0, 1.0)):
        if abs((value := _shape(part, progress)) - expected) > 1e-6:
            fail(part, f"progress {progress}", f"shape is {value!r}", f"{expected} to six digits: normalise it")
    progress = draw(st.floats(0.0, 1.0))
    if not -1e-9 <= (value := _shape(part, progress)) <= 1.0 + 1e-9:
        fail(part, f"progress {progress}", f"shape is {value!r}", "a number from 0 to 1")


CHECKS = (
    difficulty_is_a_float_between_zero_and_one,
    difficulty_never_falls,
    difficulty_depends_on_nothing_but_the_step,
    difficulty_is_exactly_one_from_preschool_time_on,
    difficulty_works_for_any_preschool_time,
    difficulty_never_jumps,
)
RAMP_CHECKS = (shape_runs_from_zero_to_one,)
