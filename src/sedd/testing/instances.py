"""Instances of a part, drawn by Hypothesis from the bounds in the types of its options."""

from __future__ import annotations

import inspect
import math
import types
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin

import annotated_types
from hypothesis import strategies as st
from pydantic import BaseModel, ValidationError

from sedd.plugins.contracts import Part
from sedd.plugins.registry import registry

P = TypeVar("P", bound=Part)


def parts(cls: type[P]) -> st.SearchStrategy[P]:
    """Valid instances of a part, drawn from the bounds in the types of its options.

    Combinations that the class itself refuses (in a validator across fields) are left out. Where it refuses nearly
    all, write a strategy of your own and pass it to `checks_for(cls, instances=...)`.
    """
    return models(cls)


def models(cls: type[Any], *, largest: int | None = None) -> st.SearchStrategy[Any]:
    """Instances of a pydantic model; each field is at its default or anything that its type allows.

    Whole numbers are at most `largest`, or the lowest that their type allows.
    """
    fields = {}
    for name, field in cls.model_fields.items():
        values = _values(field.annotation, tuple(field.metadata), largest)
        if not field.is_required():
            default = st.just(field.get_default(call_default_factory=True, validated_data={}))
            fixed = name == getattr(cls, "discriminator", None) or field.annotation in (str, Path)
            # Text has meanings that no type tells (a file name, a project): its default is the safe choice.
            is_large = largest is not None and int in (field.annotation, *get_args(field.annotation))
            values = default if fixed else values if is_large else default | values
        fields[name] = values

    def build(options: dict[str, Any]) -> Any:
        try:
            return cls.model_validate(options)
        except ValidationError:
            return None

    return st.fixed_dictionaries(fields).map(build).filter(lambda part: part is not None)


def _values(annotation: Any, metadata: tuple[Any, ...] = (), largest: int | None = None) -> st.SearchStrategy[Any]:
    origin, inner = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _values(inner[0], (*inner[1:], *metadata), largest)
    if origin is Literal:
        return st.sampled_from(inner)
    if origin in (Union, types.UnionType):
        return st.one_of(*(_values(choice, metadata, largest) for choice in inner))
    if origin in (tuple, list, set, frozenset):
        return _collections(origin, inner, metadata)
    if annotation in (int, float):
        return _numbers(annotation, metadata, largest)
    if annotation in (str, Path):
        return st.from_regex(r"[a-z]{1,8}", fullmatch=True).map(annotation)
    if isinstance(annotation, type) and issubclass(annotation, Part) and inspect.isabstract(annotation):
        return st.one_of(*(models(cls) for cls in _installed(annotation)))
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return models(annotation, largest=largest)
    if annotation is Any:
        return st.sampled_from([None, True, 1, 0.5, "a"])
    if origin is dict and inner[1] is Any:
        return st.dictionaries(_values(inner[0]), _values(Any), max_size=3)
    return st.from_type(annotation)


def _installed(base: type[Part]) -> list[type[Part]]:
    """The installed parts of a kind."""
    return [plugin.cls for plugin in registry().plugins if issubclass(plugin.cls, base)]


def _collections(origin: Any, inner: tuple[Any, ...], metadata: tuple[Any, ...]) -> st.SearchStrategy[Any]:
    if origin is tuple and inner[-1:] != (...,):
        return st.tuples(*map(_values, inner))
    flat = list(_flat(metadata))
    least = max([m.min_length for m in flat if isinstance(m, annotated_types.MinLen)], default=0)
    most = min([m.max_length for m in flat if isinstance(m, annotated_types.MaxLen)], default=least + 4)
    return st.lists(_values(inner[0]), min_size=least, max_size=most).map(origin)


def _flat(metadata: Iterable[Any]) -> Iterator[Any]:
    for item in metadata:
        yield from _flat(item) if isinstance(item, annotated_types.GroupedMetadata) else (item,)


def limits(metadata: Iterable[Any]) -> tuple[float | None, bool, float | None, bool]:
    """Lowest value and whether it is excluded, highest value and whether it is excluded."""
    low: Any = None
    high: Any = None
    above = below = False
    for item in _flat(metadata):
        match item:
            case annotated_types.Ge(ge):
                low, above = ge, False
            case annotated_types.Gt(gt):
                low, above = gt, True
            case annotated_types.Le(le):
                high, below = le, False
            case annotated_types.Lt(lt):
                high, below = lt, True
    return low, above, high, below


def _numbers(annotation: type, metadata: tuple[Any, ...], largest: int | None) -> st.SearchStrategy[Any]:
    low, above, high, below = limits(metadata)
    if annotation is int:
        least = None if low is None else math.floor(low) + 1 if above else math.ceil(low)
        most = None if high is None else math.ceil(high) - 1 if below else math.floor(high)
        if largest is not None:
            most = min(largest if most is None else most, max(largest, largest if least is None else least))
        return st.integers(least, most)
    return st.floats(low, high, exclude_min=above, exclude_max=below, allow_nan=False, allow_infinity=False)
