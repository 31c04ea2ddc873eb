"""The testing kit: our own parts keep every promise, and a table of broken ones proves that each check bites."""

from __future__ import annotations

import importlib
import os
import random
import sys
import unittest
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import pytest
import torch
from annotated_types import Interval
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ConfigDict, FiniteFloat

import sedd.plugins.curricula
from sedd.plugins.contracts import Backend, Curriculum, Noise, Part, Ramp, Tracker
from sedd.plugins.curricula import Stage, Stages
from sedd.plugins.registry import KINDS, registry
from sedd.testing import checks_for, parts


@st.composite
def stages(draw: st.DrawFn) -> Stages:
    """Random knots nearly always break the rules of `stages`, so they are drawn in order here."""
    steps = sorted(draw(st.sets(st.integers(0, 10**6), min_size=1, max_size=5)))
    levels = sorted(draw(st.lists(st.floats(0.0, 1.0), min_size=len(steps) - 1, max_size=len(steps) - 1)))
    knots = tuple(Stage(step=step, difficulty=level) for step, level in zip(steps, [*levels, 1.0], strict=True))
    return Stages(stages=knots, preschool_time=steps[-1])


def _own_checks() -> list[Any]:
    own = [plugin for plugin in registry().plugins if plugin.source == "sedd (built in)"]
    made = []
    for plugin in own:
        instances = parts(Stages) | stages() if plugin.cls is Stages else None
        for check in checks_for(plugin.cls, instances=instances):
            made.append(pytest.param(check, id=f"{plugin.kind.section}-{plugin.name}-{check}"))
    return made


@pytest.mark.parametrize("check", _own_checks())
def test_our_own_parts_keep_every_promise(check: Any) -> None:
    if check.cls.part_name() == "tensorboard" and issubclass(check.cls, Tracker):
        pytest.importorskip("tensorboard", reason="the tensorboard extra is not installed")
    check()


# --- broken on purpose ----------------------------------------------------------------------------------------------


class Falls(Ramp):
    """Rises and falls again."""

    difficulty_ramp: Literal["falls"] = "falls"

    def shape(self, progress: float) -> float:
        return 1.8 * progress if progress < 0.5 else 0.8 if progress < 1.0 else 1.0


class NeverArrives(Curriculum):
    """Stops just below 1."""

    difficulty_ramp: Literal["never-arrives"] = "never-arrives"

    def difficulty(self, step: int) -> float:
        return 0.999999


class JumpsAtTheEnd(Ramp):
    """The textbook exponential, never normalised."""

    difficulty_ramp: Literal["jumps-at-the-end"] = "jumps-at-the-end"

    def shape(self, progress: float) -> float:
        return 0.8 * progress


class JumpsInTheMiddle(Curriculum):
    """Half way up at once."""

    difficulty_ramp: Literal["jumps-in-the-middle"] = "jumps-in-the-middle"

    def difficulty(self, step: int) -> float:
        if step >= self.preschool_time:
            return 1.0
        return 0.2 if step < self.preschool_time // 3 else 1.0


class Counts(Curriculum):
    """Looks at how often it was asked instead of at the step."""

    difficulty_ramp: Literal["counts"] = "counts"
    calls: ClassVar[list[int]] = []

    def difficulty(self, step: int) -> float:
        self.calls.append(step)
        return 1.0 if step >= self.preschool_time else 1.0 / (1.0 + 1e-3 * len(self.calls))


class Rolls(Curriculum):
    """Different at every call."""

    difficulty_ramp: Literal["rolls"] = "rolls"

    def difficulty(self, step: int) -> float:
        return 1.0 if step >= self.preschool_time else random.random()  # no secret


class WholeNumbers(Curriculum):
    """Returns the integer 1."""

    difficulty_ramp: Literal["whole-numbers"] = "whole-numbers"

    def difficulty(self, step: int) -> float:
        return 1


class Forgets(Curriculum):
    """Forgets to return anything."""

    difficulty_ramp: Literal["forgets"] = "forgets"

    def difficulty(self, step: int) -> float:
        return None  # type: ignore[return-value]  # broken on purpose


class Overshoots(Curriculum):
    """Climbs above 1 on the way."""

    difficulty_ramp: Literal["overshoots"] = "overshoots"

    def difficulty(self, step: int) -> float:
        return 1.0 if step >= self.preschool_time else 1.25


class NotANumber(Curriculum):
    """Divides infinity by itself."""

    difficulty_ramp: Literal["not-a-number"] = "not-a-number"

    def difficulty(self, step: int) -> float:
        return 1.0 if step >= self.preschool_time else float("nan")


class DividesByZero(Curriculum):
    """Divides by preschool_time, whatever it is."""

    difficulty_ramp: Literal["divides-by-zero"] = "divides-by-zero"

    def difficulty(self, step: int) -> float:
        return min(step / self.preschool_time, 1.0)


class StartsHigh(Ramp):
    """A shape that is not 0 at 0."""

    difficulty_ramp: Literal["starts-high"] = "starts-high"

    def shape(self, progress: float) -> float:
        return 0.3 + 0.7 * progress


class Unbounded(sedd.plugins.curricula.Linear):
    """An option that may be anything."""

    difficulty_ramp: Literal["unbounded"] = "unbounded"  # type: ignore[assignment]  # another name
    strength: Annotated[FiniteFloat, Interval(ge=0.0)] = 1.0


class Mutable(sedd.plugins.curricula.Linear):
    """Can be changed after it was made."""

    model_config = ConfigDict(frozen=False)
    difficulty_ramp: Literal["mutable"] = "mutable"  # type: ignore[assignment]  # another name


class HoldsAList(sedd.plugins.curricula.Linear):
    """Can be changed through its list."""

    difficulty_ramp: Literal["holds-a-list"] = "holds-a-list"  # type: ignore[assignment]  # another name
    knots: list[Annotated[int, Interval(ge=0, le=9)]] = [1]  # noqa: RUF012  # broken on purpose


class Lenient(sedd.plugins.curricula.Linear):
    """Swallows options that it does not have."""

    model_config = ConfigDict(extra="ignore")
    difficulty_ramp: Literal["lenient"] = "lenient"  # type: ignore[assignment]  # another name


class Nameless(Ramp):
    """Has a name that could be any word."""

    difficulty_ramp: str = "nameless"

    def shape(self, progress: float) -> float:
        return progress


class SaysOn(sedd.plugins.curricula.Linear):
    """YAML reads its name as True."""

    difficulty_ramp: Literal["on"] = "on"  # type: ignore[assignment]  # another name


class Undocumented(sedd.plugins.curricula.Linear):
    difficulty_ramp: Literal["undocumented"] = "undocumented"  # type: ignore[assignment]  # another name


class Abstract(Curriculum):
    """Has nothing to say about difficulty."""

    difficulty_ramp: Literal["abstract"] = "abstract"


class Swells(sedd.plugins.curricula.Linear):
    """Read back from a run file it is another."""

    difficulty_ramp: Literal["swells"] = "swells"  # type: ignore[assignment]  # another name
    power: Annotated[FiniteFloat, Interval(ge=1.0, le=9.0)] = 1.0

    def model_post_init(self, context: Any) -> None:
        object.__setattr__(self, "power", self.power + 1.0)


def _local() -> type[Part]:
    class Local(sedd.plugins.curricula.Linear):
        """Defined inside a function."""

        difficulty_ramp: Literal["local"] = "local"  # type: ignore[assignment]  # another name

    return Local


class Quadratic(Noise):
    """Correct; the broken ones below change one thing each."""

    type: Literal["quadratic"] = "quadratic"
    sigma_min: Annotated[FiniteFloat, Interval(ge=0.0, le=0.5)] = 0.0
    sigma_max: Annotated[FiniteFloat, Interval(ge=1.0, le=20.0)] = 5.0

    def total(self, t: torch.Tensor) -> torch.Tensor:
        return self.sigma_min + (self.sigma_max - self.sigma_min) * t**2

    def rate(self, t: torch.Tensor) -> torch.Tensor:
        return 2.0 * (self.sigma_max - self.sigma_min) * t


class WrongRate(Quadratic):
    """Forgets the 2 of the derivative."""

    def rate(self, t: torch.Tensor) -> torch.Tensor:
        return (self.sigma_max - self.sigma_min) * t


class NegativeRate(Quadratic):
    """A rate of the wrong sign."""

    def rate(self, t: torch.Tensor) -> torch.Tensor:
        return -super().rate(t)


class FallsShort(Quadratic):
    """Never reaches sigma_max."""

    def total(self, t: torch.Tensor) -> torch.Tensor:
        return 0.9 * super().total(t)


class StartsAtZero(Quadratic):
    """Ignores sigma_min."""

    def total(self, t: torch.Tensor) -> torch.Tensor:
        return self.sigma_max * t**2


class Oscillates(Quadratic):
    """Right at both ends, wrong between."""

    def total(self, t: torch.Tensor) -> torch.Tensor:
        return super().total(t) + torch.sin(6.283185307179586 * t) ** 2 * self.sigma_max


class Explodes(Quadratic):
    """Infinite at the end."""

    def total(self, t: torch.Tensor) -> torch.Tensor:
        return -torch.log1p(-t)


class Doubles(Quadratic):
    """Always answers in float64."""

    def total(self, t: torch.Tensor) -> torch.Tensor:
        return super().total(t.double())


class Flattens(Quadratic):
    """Always answers with a vector."""

    def total(self, t: torch.Tensor) -> torch.Tensor:
        return super().total(t.reshape(-1))


class Scalar(Quadratic):
    """Returns a number, not a tensor."""

    def rate(self, t: torch.Tensor) -> torch.Tensor:
        return 1.0  # type: ignore[return-value]  # broken on purpose


class Detached(Quadratic):
    """Cannot be differentiated."""

    def total(self, t: torch.Tensor) -> torch.Tensor:
        return super().total(t.detach())


class Cancels(Quadratic):
    """Loses its digits in float32."""

    def rate(self, t: torch.Tensor) -> torch.Tensor:
        return ((1e6 + super().rate(t)) - 1e6).clamp(min=0.0)


class InPlace(Quadratic):
    """Squares the caller's t."""

    def rate(self, t: torch.Tensor) -> torch.Tensor:
        value = super().rate(t)
        t.mul_(0.5)
        return value


class LooksAround(Quadratic):
    """Normalises by the largest t of the batch."""

    def rate(self, t: torch.Tensor) -> torch.Tensor:
        return super().rate(t) / t.max() if t.numel() else t


class Processor(Backend):
    """Correct; the broken ones below change one thing each."""

    type: Literal["processor"] = "processor"

    def available(self) -> bool:
        return True

    def device(self, local_rank: int = 0) -> torch.device:
        return torch.device("cpu")


class Raises(Processor):
    """Dies where its driver is missing."""

    def available(self) -> bool:
        raise RuntimeError("no driver")


class SaysMaybe(Processor):
    """Answers with the number of devices."""

    def available(self) -> bool:
        return 2  # type: ignore[return-value]  # broken on purpose


class NamesItsDevice(Processor):
    """Returns the name of a device."""

    def device(self, local_rank: int = 0) -> torch.device:
        return "cpu"  # type: ignore[return-value]  # broken on purpose


class NoContext(Processor):
    """Returns a type instead of a context."""

    def autocast(self) -> Any:
        return torch.bfloat16


class Megabytes(Processor):
    """Counts memory in fractions."""

    def memory(self) -> dict[str, int]:
        return {"allocated": 1.5}  # type: ignore[dict-item]  # broken on purpose


class Unseeded(Processor):
    """Does nothing with the seed."""

    def seed(self, seed: int) -> None:
        pass


class NoGroup(Processor):
    """Has no process group."""

    def process_group(self) -> str:
        return ""


class Quiet(Tracker):
    """Correct; the broken ones below change one thing each."""

    type: Literal["quiet"] = "quiet"

    def open(self, run: Any, config: Any) -> Any:
        return run

    def log(self, session: Any, step: int, metrics: Any) -> None:
        with (session / "log.txt").open("a") as file:
            file.write(f"{step} {dict(metrics)}\n")

    def close(self, session: Any) -> None:
        pass


class CloseRaises(Quiet):
    """Fails at the end."""

    def close(self, session: Any) -> None:
        raise OSError("already closed")


class NeedsALog(Quiet):
    """Fails when nothing was logged."""

    def close(self, session: Any) -> None:
        (session / "log.txt").read_text()


class WholeOnly(Quiet):
    """Fails on numbers that are not finite."""

    def log(self, session: Any, step: int, metrics: Any) -> None:
        [int(value) for value in metrics.values()]


class StartsOver(Quiet):
    """Throws away what an earlier session wrote."""

    def open(self, run: Any, config: Any) -> Any:
        (run / "log.txt").write_text("")
        return run


class Wanders(Quiet):
    """Changes the working directory."""

    def open(self, run: Any, config: Any) -> Any:
        os.chdir(run)
        return run


class Litters(Quiet):
    """Writes where it stands."""

    def log(self, session: Any, step: int, metrics: Any) -> None:
        with open("log.txt", "a") as file:
            file.write(f"{step}\n")


class EatsMetrics(Quiet):
    """Takes values out of the metrics."""

    def log(self, session: Any, step: int, metrics: Any) -> None:
        metrics.pop("difficulty", None)


BROKEN = [
    (Falls, "difficulty_never_falls", r"Falls\(.*preschool_time=\d+.* at step \d+: difficulty falls from .* to "),
    (NeverArrives, "difficulty_is_exactly_one_from_preschool_time_on", r"difficulty is 0.999999; expected exactly 1.0"),
    (JumpsAtTheEnd, "shape_runs_from_zero_to_one", r"at progress 1.0: shape is 0.8; expected 1.0 .*normalise"),
    (JumpsAtTheEnd, "difficulty_never_jumps", r"jumps by 0.\d+ in one step; expected at most .* slope of the ramp"),
    (JumpsInTheMiddle, "difficulty_never_jumps", r"at step 33333333: difficulty jumps by 0.8 in one step"),
    (Counts, "difficulty_depends_on_nothing_but_the_step", r"difficulty was .* gives .*; expected the same answer"),
    (Rolls, "difficulty_depends_on_nothing_but_the_step", r"difficulty was .* gives .*; expected the same answer"),
    (WholeNumbers, "difficulty_is_a_float_between_zero_and_one", r"difficulty is 1, of type int; expected a float"),
    (Forgets, "difficulty_is_a_float_between_zero_and_one", r"is None, of type NoneType; expected a float"),
    (Overshoots, "difficulty_is_a_float_between_zero_and_one", r"difficulty is 1.25; expected a number from 0 to 1"),
    (NotANumber, "difficulty_is_a_float_between_zero_and_one", r"difficulty is nan; expected a number"),
    (DividesByZero, "difficulty_works_for_any_preschool_time", r"at step 0: difficulty\(\) raised ZeroDivisionError"),
    (StartsHigh, "shape_runs_from_zero_to_one", r"at progress 0.0: shape is 0.3; expected 0.0"),
    (Unbounded, "numbers_are_bounded_in_the_type", r"option 'strength' has no upper bound; expected finite bounds"),
    (Mutable, "is_frozen", r"the option 'mode' can be assigned; expected a frozen model"),
    (HoldsAList, "is_frozen", r"option 'knots' is a list, which can be changed in place; expected a tuple"),
    (HoldsAList, "copies_are_equal", r"cannot be hashed \(unhashable type: 'list'\); expected .*tuples"),
    (Lenient, "unknown_options_are_refused", r"'no_such_option' was accepted; expected an error"),
    (
        Nameless,
        "name_can_be_chosen_in_a_run_file",
        r"Nameless has no name; give it a field such as difficulty_ramp",
    ),
    (SaysOn, "name_can_be_chosen_in_a_run_file", r"the name 'on' cannot be written in YAML as it is"),
    (Undocumented, "class_says_what_it_is", r"Undocumented: has no docstring; expected one"),
    (Abstract, "name_can_be_chosen_in_a_run_file", r"Abstract does not implement difficulty"),
    (Abstract, "difficulty_never_falls", r"Abstract: TypeError while its instances were built"),
    (Swells, "options_survive_a_run_file", r"read back from YAML it became Swells\(.*; expected an equal part"),
    (_local(), "can_be_pickled", r"cannot be pickled .*; expected a class at the top level of a module"),
    (WrongRate, "rate_is_the_derivative_of_total", r"at t = .*: rate is .*; expected .*, the derivative of total"),
    (NegativeRate, "rate_is_finite_and_not_negative", r"rate is -.*; expected a finite number >= 0"),
    (
        FallsShort,
        "total_starts_at_sigma_min_and_ends_at_sigma_max",
        r"at t = 1: total is .*; expected sigma_max",
    ),
    (StartsAtZero, "total_starts_at_sigma_min_and_ends_at_sigma_max", r"at t = 0: total is 0.0; expected sigma_min"),
    (Oscillates, "total_never_falls", r"total falls from .* at t = .* to .*; expected one that never falls"),
    (Explodes, "total_is_finite_and_not_negative", r"at t = 1.0 .*: total is inf; expected a finite number"),
    (Doubles, "shape_and_dtype_are_kept", r"torch.float32: total has torch.float64; expected the dtype of t"),
    (Flattens, "shape_and_dtype_are_kept", r"t of shape \(\) .*: total has shape \(1,\); expected the shape of t"),
    (Scalar, "shape_and_dtype_are_kept", r"rate is 1.0, of type float; expected a tensor"),
    (Detached, "rate_is_the_derivative_of_total", r"autograd cannot differentiate total; expected .* without detach"),
    (Cancels, "float32_agrees_with_float64", r"rate is .* in float32; expected .*, as in float64"),
    (InPlace, "noise_depends_on_nothing_but_t", r"rate changed t in place"),
    (LooksAround, "noise_depends_on_nothing_but_t", r"rate was .*, one t at a time gives .*; expected the same"),
    (
        Raises,
        "available_answers_true_or_false",
        r"available\(\) raised RuntimeError: no driver; expected True or False",
    ),
    (SaysMaybe, "available_answers_true_or_false", r"available\(\) is 2, of type int; expected True or False"),
    (NamesItsDevice, "device_can_hold_a_tensor", r"device\(\) is 'cpu', of type str; expected a torch.device"),
    (NoContext, "autocast_is_a_context", r"autocast\(\) is torch.bfloat16; expected a context manager"),
    (
        Megabytes,
        "memory_is_whole_numbers_by_name",
        r"memory\(\)\['allocated'\] is 1.5; expected bytes as a whole",
    ),
    (Unseeded, "seed_makes_draws_repeat", r"two draws on cpu after the same seed differ"),
    (NoGroup, "process_group_is_named", r"process_group\(\) is ''; expected a name such as 'gloo'"),
    (CloseRaises, "a_run_is_opened_logged_and_closed", r"close\(\) raised OSError: already closed"),
    (NeedsALog, "a_run_that_fails_at_once_is_closed", r"close\(\) raised FileNotFoundError"),
    (WholeOnly, "a_run_is_opened_logged_and_closed", r"at step 0: log\(\) raised OverflowError"),
    (StartsOver, "a_resumed_run_is_opened_again", r"opened again, it shortened log.txt|earlier steps to be kept"),
    (Wanders, "writes_stay_in_the_run_directory", r"it changed the working directory"),
    (Litters, "writes_stay_in_the_run_directory", r"it left log.txt in the working directory"),
    (EatsMetrics, "metrics_are_only_read", r"log\(\) changed the metrics"),
]


@pytest.mark.parametrize(("cls", "name", "message"), BROKEN, ids=[f"{cls.__name__}-{name}" for cls, name, _ in BROKEN])
def test_a_broken_plugin_is_caught_by_the_right_check_with_a_message_that_says_what_is_wrong(
    cls: type[Part], name: str, message: str
) -> None:
    (check,) = [check for check in checks_for(cls) if str(check) == name]
    with pytest.raises(AssertionError, match=message) as caught:
        check()
    assert cls.__name__ in str(caught.value)


@pytest.mark.parametrize("check", [*checks_for(Quadratic), *checks_for(Processor), *checks_for(Quiet)], ids=str)
def test_the_parts_that_the_broken_ones_start_from_keep_every_promise(check: Any) -> None:
    check()


def test_every_check_catches_something() -> None:
    names = {str(check) for kind in KINDS for check in checks_for(kind.base)}
    names |= {str(check) for check in checks_for(Ramp)}
    assert names == {name for _, name, _ in BROKEN}


def test_every_check_has_a_promise_in_words() -> None:
    for kind in KINDS:
        for check in checks_for(kind.base):
            assert check.promise, check


def test_an_exempt_check_is_skipped_with_its_reason() -> None:
    reason = "a staircase is what this curriculum is for"
    checks = checks_for(JumpsInTheMiddle, exempt={"difficulty_never_jumps": reason})
    (check,) = [check for check in checks if check.name == "difficulty_never_jumps"]
    with pytest.raises(unittest.SkipTest, match=reason):
        check()


def test_exempting_a_check_that_does_not_exist_is_an_error() -> None:
    with pytest.raises(ValueError, match="exempt names no check of Falls: no_such_check"):
        checks_for(Falls, exempt={"no_such_check": "typing mistake"})


def test_a_device_that_is_not_here_is_skipped_with_its_reason() -> None:
    checks = {str(check): check for check in checks_for(registry().of("device")["auto"])}
    with pytest.raises(unittest.SkipTest, match="Auto: no such device on this machine"):
        checks["device_can_hold_a_tensor"]()


def test_bounds_that_leave_no_valid_instance_are_reported() -> None:
    nothing = parts(Falls).filter(lambda part: False)
    (check,) = [check for check in checks_for(Falls, instances=nothing) if str(check) == "is_frozen"]
    with pytest.raises(AssertionError, match="no valid instance was found within the bounds"):
        check()


@pytest.mark.parametrize("plugin", registry().plugins, ids=lambda plugin: f"{plugin.kind.section}-{plugin.name}")
def test_parts_are_valid_and_reach_beyond_the_defaults(plugin: Any) -> None:
    drawn = []

    @settings(max_examples=30, derandomize=True, database=None, deadline=None)
    @given(parts(plugin.cls))
    def draw(part: Part) -> None:
        assert type(part) is plugin.cls
        drawn.append(part)

    draw()
    varied = [name for name, field in plugin.cls.model_fields.items() if field.annotation is not str]
    assert len(set(drawn)) > 1 or varied == [plugin.cls.discriminator]


def test_every_check_is_in_the_reference() -> None:
    page = Path(__file__).parents[2] / "docs" / "reference" / "plugins.md"
    text = page.read_text(encoding="utf-8")
    for name in {name for _, name, _ in BROKEN}:
        assert f"| `{name}` |" in text, name


def test_without_hypothesis_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "hypothesis", None)
    monkeypatch.delitem(sys.modules, "sedd.testing")
    with pytest.raises(ImportError, match=r"sedd.testing needs hypothesis: pip install hypothesis"):
        importlib.import_module("sedd.testing")
