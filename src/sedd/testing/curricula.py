"""The checks of curricula."""

from __future__ import annotations

import itertools
import math

from hypothesis import strategies as st
from pydantic import ValidationError

from sedd.plugins.contracts import Curriculum, Ramp
from sedd.testing.reports import Draw, call_method, fail

FAR = 10**9


def _difficulty(part: Curriculum, step: int) -> float:
    value = call_method(part, f"step {step}", "a difficulty", "difficulty", step)
    if not isinstance(value, float):
        fail(part, f"step {step}", f"difficulty is {value!r}, of type {type(value).__name__}", "a float")
    if math.isnan(value):
        fail(part, f"step {step}", "difficulty is nan", "a number")
    return value


def _steps(part: Curriculum, draw: Draw) -> list[int]:
    """Increasing steps: along the ramp, at its ends, beyond it, and a few drawn by Hypothesis."""
    end = part.preschool_time
    spread = {end * i // 64 for i in range(65)}
    ends = {0, 1, 2, max(end - 1, 0), end, end + 1, 2 * end, FAR}
    return sorted(spread | ends | set(draw(st.lists(st.integers(0, 2 * end + 10), max_size=8))))


def difficulty_is_a_float_between_zero_and_one(part: Curriculum, draw: Draw) -> None:
    """At every step the difficulty is a float with 0 <= difficulty <= 1."""
    for step in _steps(part, draw):
        value = _difficulty(part, step)
        if not 0.0 <= value <= 1.0:
            fail(part, f"step {step}", f"difficulty is {value!r}", "a number from 0 to 1")


def difficulty_never_falls(part: Curriculum, draw: Draw) -> None:
    """The difficulty at a later step is never lower."""
    steps = _steps(part, draw)
    values = [_difficulty(part, step) for step in steps]
    for (a, low), (b, high) in itertools.pairwise(zip(steps, values, strict=True)):
        if high < low - 1e-12:  # rounding
            fail(part, f"step {b}", f"difficulty falls from {low!r} at step {a} to {high!r}", "one that never falls")


def difficulty_depends_on_nothing_but_the_step(part: Curriculum, draw: Draw) -> None:
    """Repeated calls, in any order and on copies, return equal difficulties: resuming a run relies on it."""
    steps = _steps(part, draw)
    first = {step: _difficulty(part, step) for step in steps}
    copy = type(part).model_validate(part.model_dump())
    for call, source in (("a repeated call in reverse order", part), ("a copy", copy)):
        for step in reversed(steps):
            if (value := _difficulty(source, step)) != first[step]:
                fail(part, f"step {step}", f"difficulty was {first[step]!r}, {call} returns {value!r}", "equal values")


def difficulty_is_exactly_one_from_preschool_time_on(part: Curriculum, draw: Draw) -> None:
    """From `preschool_time` on the difficulty is exactly 1.0, so that every run ends with the full objective."""
    end = part.preschool_time
    for step in (end, end + 1, end + draw(st.integers(0, FAR)), max(FAR, end)):
        if (value := _difficulty(part, step)) != 1.0:
            where = f"step {step} (preschool_time is {end})"
            fail(part, where, f"difficulty is {value!r}", "exactly 1.0 from preschool_time on")


def difficulty_works_for_any_preschool_time(part: Curriculum, draw: Draw) -> None:
    """The difficulty is valid without a ramp, with a ramp of one step or longer than any run, and at huge steps."""
    for copy in filter(None, (_stretched(part, time) for time in (0, 1, FAR))):
        for step in (0, 1, copy.preschool_time, 10**15):
            value = _difficulty(copy, step)
            if not 0.0 <= value <= 1.0 or (step >= copy.preschool_time and value != 1.0):
                expected = "exactly 1.0" if step >= copy.preschool_time else "a number from 0 to 1"
                fail(copy, f"step {step}", f"difficulty is {value!r}", expected)


def difficulty_never_jumps(part: Curriculum, draw: Draw) -> None:
    """No step, the last of the ramp included, changes the difficulty by more than the slope of the ramp allows.

    A jump in the noise looks like a jump in the loss. For a `Ramp` the slope is that of `shape`. Any other curriculum
    is tested with a long `preschool_time`, where single steps must be small; one whose options fix the steps, such as
    `stages`, is not tested.
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
            jump, expected = f"difficulty jumps by {change:.3g} in one step", f"at most {allowed:.3g}"
            fail(curriculum, f"step {step}", jump, f"{expected}, from the slope of the ramp")


def _stretched(part: Curriculum, time: int) -> Curriculum | None:
    """A copy with another `preschool_time`; None if the other options do not allow it."""
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
    largest = (end, 0.0)
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
        largest = max(largest, (right, high - low), key=lambda item: item[1])
    if end:
        last = _difficulty(part, end) - _difficulty(part, end - 1)
        largest = max(largest, (end, last), key=lambda item: item[1])
    return largest


def _shape(part: Ramp, progress: float) -> float:
    value = call_method(part, f"progress {progress}", "a number from 0 to 1", "shape", progress)
    if not isinstance(value, int | float) or isinstance(value, bool) or math.isnan(value):
        fail(part, f"progress {progress}", f"shape is {value!r}", "a number from 0 to 1")
    return value


def shape_runs_from_zero_to_one(part: Ramp, draw: Draw) -> None:
    """`shape` is 0 at 0, 1 at 1, and between 0 and 1 elsewhere; a gap at an end would be a jump of the difficulty."""
    for progress, expected in ((0.0, 0.0), (1.0, 1.0)):
        if abs((value := _shape(part, progress)) - expected) > 1e-6:
            fail(part, f"progress {progress}", f"shape is {value!r}", f"{expected} to six digits: normalise it")
    progress = draw(st.floats(0.0, 1.0))
    if not -1e-9 <= (value := _shape(part, progress)) <= 1.0 + 1e-9:
        fail(part, f"progress {progress}", f"shape is {value!r}", "a number from 0 to 1")


CHECKS = (
    difficulty_is_a_float_between_zero_and_one, difficulty_never_falls, difficulty_depends_on_nothing_but_the_step,
    difficulty_is_exactly_one_from_preschool_time_on, difficulty_works_for_any_preschool_time, difficulty_never_jumps,
)  # fmt: skip
RAMP_CHECKS = (shape_runs_from_zero_to_one,)
