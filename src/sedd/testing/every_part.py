"""The checks of every part, whatever its kind."""

from __future__ import annotations

import json
import math
import pickle
import re
import types
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import yaml
from pydantic import BaseModel, ValidationError

from sedd.errors import PluginError
from sedd.plugins.contracts import Part
from sedd.plugins.registry import KINDS, check_class
from sedd.testing.instances import limits
from sedd.testing.reports import Draw, fail, label


def name_can_be_chosen_in_a_run_file(cls: type[Part]) -> None:
    """The discriminator is one literal that is its own default, and YAML reads it as a string."""
    kind = next(kind for kind in KINDS if issubclass(cls, kind.base))
    try:
        check_class(cls, kind, "checks_for")
    except PluginError as error:
        raise AssertionError(str(error)) from error
    name = cls.part_name()
    if not re.fullmatch(r"[A-Za-z][\w.-]*", name) or yaml.safe_load(name) != name:
        raise AssertionError(
            f"{label(cls)}: the name {name!r} cannot be written in YAML as it is; expected letters, digits, '_', '-' "
            "and '.', starting with a letter, and no word that YAML reads as something else, such as 'on' or 'null'"
        )


def class_says_what_it_is(cls: type[Part]) -> None:
    """The class has a docstring of its own: listings and the JSON schema show it."""
    if not (cls.__dict__.get("__doc__") or "").strip():
        raise AssertionError(f"{label(cls)}: has no docstring; expected one, whose first line says what it does")


def numbers_are_bounded_in_the_type(cls: type[Part]) -> None:
    """Every number among the options has a finite lower and upper bound, written in its type."""
    for name, field in cls.model_fields.items():
        if lacking := _unbounded(field.annotation, tuple(field.metadata)):
            raise AssertionError(
                f"{label(cls)}: the option {name!r} has {lacking}; expected finite bounds on both sides, such as "
                "Annotated[FiniteFloat, Interval(ge=0.0, le=1.0)], so that a run file cannot set a meaningless value"
            )


def _unbounded(annotation: Any, metadata: tuple[Any, ...] = ()) -> str:
    """The bounds that a type lacks, in words; empty if it lacks none."""
    origin, inner = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _unbounded(inner[0], (*inner[1:], *metadata))
    if origin is Literal:
        return ""
    if inner:
        # Bounds beside a union belong to its members; beside a collection they count its items.
        passed = metadata if origin in (Union, types.UnionType) else ()
        return next(filter(None, (_unbounded(item, passed) for item in inner if item is not ...)), "")
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        inside = ((name, _unbounded(f.annotation, tuple(f.metadata))) for name, f in annotation.model_fields.items())
        return next((f"{lacking} in {name!r}" for name, lacking in inside if lacking), "")
    if annotation not in (int, float):
        return ""
    low, _, high, _ = limits(metadata)
    missing = [side for side, value in (("lower", low), ("upper", high)) if value is None or not math.isfinite(value)]
    return f"no {' and no '.join(missing)} bound" if missing else ""


def is_frozen(part: Part, draw: Draw) -> None:
    """No option can be changed after construction, so that the part stays a pure function of the run file."""
    for name in type(part).model_fields:
        value = getattr(part, name)
        if isinstance(value, list | dict | set | bytearray):
            kind = type(value).__name__
            fail(part, "", f"the option {name!r} is a {kind}, which can be changed in place", "a tuple or frozenset")
        try:
            setattr(part, name, value)
        except (ValidationError, AttributeError, TypeError):
            continue
        fail(part, "", f"the option {name!r} can be assigned", "a frozen model: keep the model_config of its base")


def unknown_options_are_refused(part: Part, draw: Draw) -> None:
    """An unknown option is an error, so that a typing mistake in a run file is noticed."""
    try:
        type(part).model_validate({**part.model_dump(), "no_such_option": 1})
    except ValidationError:
        return
    fail(part, "", "the unknown option 'no_such_option' was accepted", "an error: keep extra='forbid' of its base")


def options_survive_a_run_file(part: Part, draw: Draw) -> None:
    """Written to YAML or JSON and read back, the part is equal: checkpoints store its options in this form."""
    for form, write, read in (("YAML", yaml.safe_dump, yaml.safe_load), ("JSON", json.dumps, json.loads)):
        try:
            again = type(part).model_validate(read(write(part.model_dump(mode="json"))))
        except Exception as error:
            raise AssertionError(
                f"{label(type(part))}: {part!r} cannot be written to {form} and read back "
                f"({type(error).__name__}: {error}); expected options of plain types"
            ) from error
        if again != part:
            fail(part, "", f"read back from {form} it became {again!r}", "an equal part")


def can_be_pickled(part: Part, draw: Draw) -> None:
    """Pickled and unpickled, the part is equal: worker processes receive it in this form."""
    try:
        again = pickle.loads(pickle.dumps(part))  # noqa: S301  # our own bytes
    except Exception as error:
        raise AssertionError(
            f"{label(type(part))}: {part!r} cannot be pickled ({type(error).__name__}: {error}); expected a class at "
            "the top level of a module, with plain options"
        ) from error
    if again != part:
        fail(part, "", f"unpickled it became {again!r}", "an equal part")


def copies_are_equal(part: Part, draw: Draw) -> None:
    """A copy is equal and has an equal hash, so that a part can be a key of a dictionary or cache."""
    again = type(part).model_validate(part.model_dump())
    if again != part:
        fail(part, "", f"built again from its own options it became {again!r}", "an equal part")
    try:
        equal = hash(again) == hash(part)
    except TypeError as error:
        fail(part, "", f"it cannot be hashed ({error})", "hashable options, such as tuples instead of lists")
    if not equal:
        fail(part, "", "an equal copy has another hash", "equal hashes of equal parts")


ON_CLASS = (name_can_be_chosen_in_a_run_file, class_says_what_it_is, numbers_are_bounded_in_the_type)
CHECKS = (is_frozen, unknown_options_are_refused, options_survive_a_run_file, can_be_pickled, copies_are_equal)
