"""The checks for plugins: the built-in parts pass all of them, and for each check there is a class that fails it."""

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
from sedd.plugins.contracts import Backend, Curriculum, Noise, Part, Ramp, Tracker, Vocabulary
from sedd.plugins.curricula import Stage, Stages
from sedd.plugins.mlflow_tracker import Mlflow
from sedd.plugins.registry import KINDS, registry
from sedd.plugins.trackio_tracker import Trackio
from sedd.plugins.wandb_tracker import Wandb
from sedd.testing import checks_for, parts, trackers
from tests.testing.test_network_checks import BROKEN as BROKEN_NETWORKS


@st.composite
def stages(draw: st.DrawFn) -> Stages:
    """Stages with sorted knots; random knots are nearly always invalid."""
    steps = sorted(draw(st.sets(st.integers(0, 10**6), min_size=1, max_size=5)))
    levels = sorted(draw(st.lists(st.floats(0.0, 1.0), min_size=len(steps) - 1, max_size=len(steps) - 1)))
    knots = tuple(Stage(step=step, difficulty=level) for step, level in zip(steps, [*levels, 1.0], strict=True))
    return Stages(stages=knots, preschool_time=steps[-1])


def _built_in_checks() -> list[Any]:
    own = [plugin for plugin in registry().plugins if plugin.source == "sedd (built in)"]
    made = []
    for plugin in own:
        instances = parts(Stages) | stages() if plugin.cls is Stages else None
        service = plugin.cls in (Wandb, Mlflow, Trackio)
        exempt = {check.__name__: "opened offline by tests/plugins/test_services.py" for check in trackers.CHECKS}
        for check in checks_for(plugin.cls, instances=instances, exempt=exempt if service else None):
            made.append(pytest.param(check, id=f"{plugin.kind.section}-{plugin.name}-{check}"))
    return made


@pytest.mark.parametrize("check", _built_in_checks())
def test_the_built_in_parts_pass_every_check(check: Any) -> None:
    if check.cls.part_name() == "tensorboard" and issubclass(check.cls, Tracker):
        pytest.importorskip("tensorboard", reason="the tensorboard extra is not installed")
    check()


# --- classes that violate one requirement ---------------------------------------------------------------------------


class Falls(Ramp):
    """Rises and falls again."""

    difficulty_ramp: Literal["falls"] = "falls"

    def shape(self, progress: float) -> float:
        return 1.8 * progress if progress < 0.5 else 0.8 if progress < 1.0 else 1.0


class NeverArrives(Curriculum):
    """Ends just below 1."""

    difficulty_ramp: Literal["never-arrives"] = "never-arrives"

    def difficulty(self, step: int) -> float:
        return 0.999999


class JumpsAtTheEnd(Ramp):
    """A shape that is not normalised to 1."""

    difficulty_ramp: Literal["jumps-at-the-end"] = "jumps-at-the-end"

    def shape(self, progress: float) -> float:
        return 0.8 * progress


class JumpsInTheMiddle(Curriculum):
    """Jumps from 0.2 to 1 at a third of the ramp."""

    difficulty_ramp: Literal["jumps-in-the-middle"] = "jumps-in-the-middle"

    def difficulty(self, step: int) -> float:
        if step >= self.preschool_time:
            return 1.0
        return 0.2 if step < self.preschool_time // 3 else 1.0


class CountsCalls(Curriculum):
    """Depends on the number of calls, not on the step alone."""

    difficulty_ramp: Literal["counts"] = "counts"
    calls: ClassVar[list[int]] = []

    def difficulty(self, step: int) -> float:
        self.calls.append(step)
        return 1.0 if step >= self.preschool_time else 1.0 / (1.0 + 1e-3 * len(self.calls))


class RandomDifficulty(Curriculum):
    """Random at every call."""

    difficulty_ramp: Literal["rolls"] = "rolls"

    def difficulty(self, step: int) -> float:
        return 1.0 if step >= self.preschool_time else random.random()  # not cryptography


class ReturnsAnInteger(Curriculum):
    """Returns the integer 1."""

    difficulty_ramp: Literal["whole-numbers"] = "whole-numbers"

    def difficulty(self, step: int) -> float:
        return 1


class ReturnsNothing(Curriculum):
    """Returns None."""

    difficulty_ramp: Literal["forgets"] = "forgets"

    def difficulty(self, step: int) -> float:
        return None  # type: ignore[return-value]  # broken on purpose


class Overshoots(Curriculum):
    """Exceeds 1 before the end."""

    difficulty_ramp: Literal["overshoots"] = "overshoots"

    def difficulty(self, step: int) -> float:
        return 1.0 if step >= self.preschool_time else 1.25


class NotANumber(Curriculum):
    """Returns NaN."""

    difficulty_ramp: Literal["not-a-number"] = "not-a-number"

    def difficulty(self, step: int) -> float:
        return 1.0 if step >= self.preschool_time else float("nan")


class DividesByZero(Curriculum):
    """Divides by preschool_time, which may be 0."""

    difficulty_ramp: Literal["divides-by-zero"] = "divides-by-zero"

    def difficulty(self, step: int) -> float:
        return min(step / self.preschool_time, 1.0)


class StartsHigh(Ramp):
    """A shape that is not 0 at 0."""

    difficulty_ramp: Literal["starts-high"] = "starts-high"

    def shape(self, progress: float) -> float:
        return 0.3 + 0.7 * progress


class Unbounded(sedd.plugins.curricula.Linear):
    """An option without an upper bound."""

    difficulty_ramp: Literal["unbounded"] = "unbounded"  # type: ignore[assignment]  # another name
    strength: Annotated[FiniteFloat, Interval(ge=0.0)] = 1.0


class Mutable(sedd.plugins.curricula.Linear):
    """Options can be assigned."""

    model_config = ConfigDict(frozen=False)
    difficulty_ramp: Literal["mutable"] = "mutable"  # type: ignore[assignment]  # another name


class HoldsAList(sedd.plugins.curricula.Linear):
    """An option is a list, which can be changed in place."""

    difficulty_ramp: Literal["holds-a-list"] = "holds-a-list"  # type: ignore[assignment]  # another name
    knots: list[Annotated[int, Interval(ge=0, le=9)]] = [1]  # noqa: RUF012  # broken on purpose


class Lenient(sedd.plugins.curricula.Linear):
    """Accepts unknown options."""

    model_config = ConfigDict(extra="ignore")
    difficulty_ramp: Literal["lenient"] = "lenient"  # type: ignore[assignment]  # another name


class Nameless(Ramp):
    """The discriminator is any string."""

    difficulty_ramp: str = "nameless"

    def shape(self, progress: float) -> float:
        return progress


class NamedOn(sedd.plugins.curricula.Linear):
    """A name that YAML reads as True."""

    difficulty_ramp: Literal["on"] = "on"  # type: ignore[assignment]  # another name


class Undocumented(sedd.plugins.curricula.Linear):
    difficulty_ramp: Literal["undocumented"] = "undocumented"  # type: ignore[assignment]  # another name


class Abstract(Curriculum):
    """Does not implement `difficulty`."""

    difficulty_ramp: Literal["abstract"] = "abstract"


class ChangesWhenRead(sedd.plugins.curricula.Linear):
    """Changes its option whenever it is constructed."""

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
    """Correct; each class derived from it violates one requirement."""

    type: Literal["quadratic"] = "quadratic"
    sigma_min: Annotated[FiniteFloat, Interval(ge=0.0, le=0.5)] = 0.0
    sigma_max: Annotated[FiniteFloat, Interval(ge=1.0, le=20.0)] = 5.0

    def total(self, t: torch.Tensor) -> torch.Tensor:
        return self.sigma_min + (self.sigma_max - self.sigma_min) * t**2

    def rate(self, t: torch.Tensor) -> torch.Tensor:
        return 2.0 * (self.sigma_max - self.sigma_min) * t


class WrongRate(Quadratic):
    """Half of the derivative."""

    def rate(self, t: torch.Tensor) -> torch.Tensor:
        return (self.sigma_max - self.sigma_min) * t


class NegativeRate(Quadratic):
    """A rate of the wrong sign."""

    def rate(self, t: torch.Tensor) -> torch.Tensor:
        return -super().rate(t)


class EndsLow(Quadratic):
    """Never reaches sigma_max."""

    def total(self, t: torch.Tensor) -> torch.Tensor:
        return 0.9 * super().total(t)


class StartsAtZero(Quadratic):
    """Ignores sigma_min."""

    def total(self, t: torch.Tensor) -> torch.Tensor:
        return self.sigma_max * t**2


class Oscillates(Quadratic):
    """Right at both ends, falls between them."""

    def total(self, t: torch.Tensor) -> torch.Tensor:
        return super().total(t) + torch.sin(6.283185307179586 * t) ** 2 * self.sigma_max


class Infinite(Quadratic):
    """Infinite at the end."""

    def total(self, t: torch.Tensor) -> torch.Tensor:
        return -torch.log1p(-t)


class AlwaysDouble(Quadratic):
    """Always returns float64."""

    def total(self, t: torch.Tensor) -> torch.Tensor:
        return super().total(t.double())


class AlwaysAVector(Quadratic):
    """Always returns a vector."""

    def total(self, t: torch.Tensor) -> torch.Tensor:
        return super().total(t.reshape(-1))


class ReturnsANumber(Quadratic):
    """Returns a number, not a tensor."""

    def rate(self, t: torch.Tensor) -> torch.Tensor:
        return 1.0  # type: ignore[return-value]  # broken on purpose


class Detached(Quadratic):
    """Cannot be differentiated."""

    def total(self, t: torch.Tensor) -> torch.Tensor:
        return super().total(t.detach())


class Cancels(Quadratic):
    """Loses digits in float32."""

    def rate(self, t: torch.Tensor) -> torch.Tensor:
        return ((1e6 + super().rate(t)) - 1e6).clamp(min=0.0)


class InPlace(Quadratic):
    """Changes the caller's t."""

    def rate(self, t: torch.Tensor) -> torch.Tensor:
        value = super().rate(t)
        t.mul_(0.5)
        return value


class DependsOnTheBatch(Quadratic):
    """Depends on the largest t of the batch."""

    def rate(self, t: torch.Tensor) -> torch.Tensor:
        return super().rate(t) / t.max() if t.numel() else t


class Processor(Backend):
    """Correct; each class derived from it violates one requirement."""

    type: Literal["processor"] = "processor"

    def available(self) -> bool:
        return True

    def device(self, local_rank: int = 0) -> torch.device:
        return torch.device("cpu")


class Raises(Processor):
    """Raises if the driver is missing."""

    def available(self) -> bool:
        raise RuntimeError("no driver")


class ReturnsACount(Processor):
    """Returns the number of devices."""

    def available(self) -> bool:
        return 2  # type: ignore[return-value]  # broken on purpose


class ReturnsAName(Processor):
    """Returns the name of a device."""

    def device(self, local_rank: int = 0) -> torch.device:
        return "cpu"  # type: ignore[return-value]  # broken on purpose


class NoContext(Processor):
    """Returns a type instead of a context."""

    def autocast(self) -> Any:
        return torch.bfloat16


class FractionalBytes(Processor):
    """Returns a fraction of a byte."""

    def memory(self) -> dict[str, int]:
        return {"allocated": 1.5}  # type: ignore[dict-item]  # broken on purpose


class Unseeded(Processor):
    """Ignores the seed."""

    def seed(self, seed: int) -> None:
        pass


class NoGroup(Processor):
    """Has no process group."""

    def process_group(self) -> str:
        return ""


class Log(Tracker):
    """Correct; each class derived from it violates one requirement."""

    type: Literal["log"] = "log"

    def open(self, run: Any, config: Any) -> Any:
        return run

    def log(self, session: Any, step: int, metrics: Any) -> None:
        with (session / "log.txt").open("a") as file:
            file.write(f"{step} {dict(metrics)}\n")

    def close(self, session: Any) -> None:
        pass


class CloseRaises(Log):
    """Raises when it is closed."""

    def close(self, session: Any) -> None:
        raise OSError("already closed")


class NeedsALog(Log):
    """Raises when it is closed without a log."""

    def close(self, session: Any) -> None:
        (session / "log.txt").read_text()


class FiniteOnly(Log):
    """Raises for a number that is not finite."""

    def log(self, session: Any, step: int, metrics: Any) -> None:
        [int(value) for value in metrics.values()]


class StartsOver(Log):
    """Deletes what an earlier session wrote."""

    def open(self, run: Any, config: Any) -> Any:
        (run / "log.txt").write_text("")
        return run


class ChangesDirectory(Log):
    """Changes the working directory."""

    def open(self, run: Any, config: Any) -> Any:
        os.chdir(run)
        return run


class WritesElsewhere(Log):
    """Writes to the working directory."""

    def log(self, session: Any, step: int, metrics: Any) -> None:
        with open("log.txt", "a") as file:
            file.write(f"{step}\n")


class ChangesMetrics(Log):
    """Removes a value from the metrics."""

    def log(self, session: Any, step: int, metrics: Any) -> None:
        metrics.pop("difficulty", None)


class Codons(Vocabulary):
    """Correct; each class derived from it violates one requirement."""

    alphabet: Literal["some-codons"] = "some-codons"

    def symbols(self) -> Any:
        return ["AAA", "AAC", "A"]

    def substitutions(self) -> Any:
        return {"X": "A"}


class NeedsAnOption(Codons):
    """Cannot be chosen by its name alone."""

    code: Annotated[int, Interval(ge=1, le=30)]


class HasAHeader(Codons):
    """A symbol that would begin a header."""

    def symbols(self) -> Any:
        return ["A", ">A"]


class InAnyOrder(Codons):
    """A set has no order."""

    def symbols(self) -> Any:
        return {"AAA", "A"}


class OtherSymbols(Codons):
    """More symbols in each call."""

    def symbols(self) -> Any:
        object.__setattr__(self, "_calls", getattr(self, "_calls", 0) + 1)
        return [chr(ord("A") + number) for number in range(2 + self._calls % 20)]


class LeadsNowhere(Codons):
    """Replaces by a symbol that it does not have."""

    def substitutions(self) -> Any:
        return {"U": "T"}


BROKEN = [
    (Falls, "difficulty_never_falls", "step "),
    (NeverArrives, "difficulty_is_exactly_one_from_preschool_time_on", "0.999999"),
    (JumpsAtTheEnd, "shape_runs_from_zero_to_one", "progress 1.0"),
    (JumpsAtTheEnd, "difficulty_never_jumps", "step "),
    (JumpsInTheMiddle, "difficulty_never_jumps", "step 33333333"),
    (CountsCalls, "difficulty_depends_on_nothing_but_the_step", "step "),
    (RandomDifficulty, "difficulty_depends_on_nothing_but_the_step", "step "),
    (ReturnsAnInteger, "difficulty_is_a_float_between_zero_and_one", "type int"),
    (ReturnsNothing, "difficulty_is_a_float_between_zero_and_one", "NoneType"),
    (Overshoots, "difficulty_is_a_float_between_zero_and_one", "1.25"),
    (NotANumber, "difficulty_is_a_float_between_zero_and_one", "nan"),
    (DividesByZero, "difficulty_works_for_any_preschool_time", "ZeroDivisionError"),
    (StartsHigh, "shape_runs_from_zero_to_one", "progress 0.0"),
    (Unbounded, "numbers_are_bounded_in_the_type", "'strength'"),
    (Mutable, "is_frozen", "'mode'"),
    (HoldsAList, "is_frozen", "'knots'"),
    (HoldsAList, "copies_are_equal", "'list'"),
    (Lenient, "unknown_options_are_refused", "'no_such_option'"),
    (Nameless, "name_can_be_chosen_in_a_run_file", "difficulty_ramp"),
    (NamedOn, "name_can_be_chosen_in_a_run_file", "'on'"),
    (Undocumented, "class_says_what_it_is", "docstring"),
    (Abstract, "name_can_be_chosen_in_a_run_file", "difficulty"),
    (Abstract, "difficulty_never_falls", "TypeError"),
    (ChangesWhenRead, "options_survive_a_run_file", "YAML"),
    (_local(), "can_be_pickled", "pickle"),
    (WrongRate, "rate_is_the_derivative_of_total", "t = "),
    (NegativeRate, "rate_is_finite_and_not_negative", "rate is -"),
    (EndsLow, "total_starts_at_sigma_min_and_ends_at_sigma_max", "t = 1"),
    (StartsAtZero, "total_starts_at_sigma_min_and_ends_at_sigma_max", "t = 0"),
    (Oscillates, "total_never_falls", "t = "),
    (Infinite, "total_is_finite_and_not_negative", "inf"),
    (AlwaysDouble, "shape_and_dtype_are_kept", "torch.float64"),
    (AlwaysAVector, "shape_and_dtype_are_kept", "(1,)"),
    (ReturnsANumber, "shape_and_dtype_are_kept", "type float"),
    (Detached, "rate_is_the_derivative_of_total", "autograd"),
    (Cancels, "float32_agrees_with_float64", "float32"),
    (InPlace, "noise_depends_on_nothing_but_t", "in place"),
    (DependsOnTheBatch, "noise_depends_on_nothing_but_t", "one t at a time"),
    (Raises, "available_answers_true_or_false", "RuntimeError: no driver"),
    (ReturnsACount, "available_answers_true_or_false", "type int"),
    (ReturnsAName, "device_can_hold_a_tensor", "'cpu'"),
    (NoContext, "autocast_is_a_context", "torch.bfloat16"),
    (FractionalBytes, "memory_is_whole_numbers_by_name", "1.5"),
    (Unseeded, "seed_makes_draws_repeat", "seed "),
    (NoGroup, "process_group_is_named", "''"),
    (CloseRaises, "a_run_is_opened_logged_and_closed", "OSError: already closed"),
    (NeedsALog, "a_run_that_fails_at_once_is_closed", "FileNotFoundError"),
    (FiniteOnly, "a_run_is_opened_logged_and_closed", "OverflowError"),
    (StartsOver, "a_resumed_run_is_opened_again", "log.txt"),
    (ChangesDirectory, "writes_stay_in_the_run_directory", "directory"),
    (WritesElsewhere, "writes_stay_in_the_run_directory", "log.txt"),
    (ChangesMetrics, "metrics_are_only_read", "metrics"),
    (NeedsAnOption, "is_made_without_options", "Field required"),
    (HasAHeader, "symbols_can_be_read", "'>A'"),
    (InAnyOrder, "symbols_never_change", "a list or tuple"),
    (OtherSymbols, "symbols_never_change", "id "),
    (LeadsNowhere, "substitutions_lead_to_symbols", "'T'"),
]
"""A class, the check that it violates, and the value or name that the error has to contain."""


@pytest.mark.parametrize(("cls", "name", "fact"), BROKEN, ids=[f"{cls.__name__}-{name}" for cls, name, _ in BROKEN])
def test_a_broken_plugin_fails_the_check_of_what_it_violates(cls: type[Part], name: str, fact: str) -> None:
    (check,) = [check for check in checks_for(cls) if str(check) == name]
    with pytest.raises(AssertionError) as caught:
        check()
    _, _, after_the_class = str(caught.value).partition(cls.__name__)
    assert fact in after_the_class


def test_an_error_has_the_options_the_place_the_value_and_the_expectation() -> None:
    (check,) = [check for check in checks_for(JumpsAtTheEnd) if str(check) == "shape_runs_from_zero_to_one"]
    with pytest.raises(AssertionError) as caught:
        check()
    assert str(caught.value) == (
        f"{__name__}.JumpsAtTheEnd(mode='scale', preschool_time=0, min_difficulty=0.1, "
        "difficulty_ramp='jumps-at-the-end') at progress 1.0: shape is 0.8; expected 1.0 to six digits: normalise it"
    )


CORRECT = [check for cls in (Quadratic, Processor, Log, Codons) for check in checks_for(cls)]


@pytest.mark.parametrize("check", CORRECT, ids=str)
def test_the_base_classes_of_the_broken_plugins_pass_every_check(check: Any) -> None:
    check()


def test_every_check_fails_for_some_class() -> None:
    names = {str(check) for kind in KINDS for check in checks_for(kind.base)}
    names |= {str(check) for check in checks_for(Ramp)}
    assert names == {name for _, name, _ in BROKEN} | set(BROKEN_NETWORKS)


def test_every_check_has_a_description() -> None:
    for kind in KINDS:
        for check in checks_for(kind.base):
            assert check.promise, check


def test_an_exempt_check_is_skipped_with_its_reason() -> None:
    reason = "a staircase is what this curriculum is for"
    checks = checks_for(JumpsInTheMiddle, exempt={"difficulty_never_jumps": reason})
    (check,) = [check for check in checks if check.name == "difficulty_never_jumps"]
    with pytest.raises(unittest.SkipTest) as caught:
        check()
    assert str(caught.value) == reason


def test_exempting_a_check_that_does_not_exist_is_an_error() -> None:
    with pytest.raises(ValueError) as caught:  # noqa: PT011  # the next line tests which one
        checks_for(Falls, exempt={"no_such_check": "typing mistake"})
    assert str(caught.value).endswith("Falls: no_such_check")


def test_the_checks_of_an_unavailable_device_are_skipped() -> None:
    checks = {str(check): check for check in checks_for(registry().of("device")["auto"])}
    with pytest.raises(unittest.SkipTest):
        checks["device_can_hold_a_tensor"]()


def test_bounds_that_leave_no_valid_instance_are_reported() -> None:
    nothing = parts(Falls).filter(lambda part: False)
    (check,) = [check for check in checks_for(Falls, instances=nothing) if str(check) == "is_frozen"]
    with pytest.raises(AssertionError) as caught:
        check()
    assert str(caught.value).startswith(f"{__name__}.Falls: ")


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


def test_without_hypothesis_the_error_has_the_command_that_installs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "hypothesis", None)
    monkeypatch.delitem(sys.modules, "sedd.testing")
    with pytest.raises(ImportError, match="pip install hypothesis"):
        importlib.import_module("sedd.testing")
