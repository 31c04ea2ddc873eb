"""Options that parts have in common: the check for booleans, and low-rank adaptation."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, get_args

from annotated_types import Interval
from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, ValidationError, model_validator
from pydantic_core import InitErrorDetails, PydanticCustomError


def reject_bools(cls: type[BaseModel], data: Any) -> Any:
    """Refuse `true` and `false` for a number, which Python would take as 1 and 0. A validator of all models."""
    errors: list[InitErrorDetails] = []
    for name, value in data.items() if isinstance(data, Mapping) else ():
        field = cls.model_fields.get(name)
        types = {field.annotation, *get_args(field.annotation)} if field else set()
        if isinstance(value, bool) and types & {int, float} and bool not in types:
            problem = PydanticCustomError("boolean", "expected a number, got a boolean")
            errors.append({"type": problem, "loc": (name,), "input": value})
    if errors:
        raise ValidationError.from_exception_data(cls.__name__, errors)
    return data


def on_and_off(value: object) -> object:
    """YAML 1.1 reads `on` and `off` as true and false. A validator of fields that have these values."""
    return {True: "on", False: "off"}[value] if isinstance(value, bool) else value


class Lora(BaseModel):
    """Low-rank adaptation (Hu et al. 2021): the weights of `training.init_from` stay as they are, and low-rank changes
    of linear layers are trained."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, use_attribute_docstrings=True)

    rank: Annotated[int, Interval(ge=1, le=65_536)] = 8
    """Rank of the change of each layer; the number of trained parameters is proportional to it."""
    alpha: Annotated[FiniteFloat, Interval(gt=0.0, le=1e6)] = 16.0
    """The change is multiplied by `alpha` / `rank`."""
    targets: tuple[str, ...] | None = Field(None, min_length=1)
    """Linear layers that are adapted: the end of their names, or patterns such as `blocks.1?.mlp.*`. By default those
    of attention and MLP in all blocks."""

    _no_bools = model_validator(mode="before")(reject_bools)

    @property
    def scale(self) -> float:
        """Factor of the change."""
        return self.alpha / self.rank
