"""The base class of the sections of a run file, and the types that several of them use."""

from __future__ import annotations

from datetime import date
from typing import Annotated

from annotated_types import Interval
from pydantic import BaseModel, BeforeValidator, ConfigDict, FiniteFloat, model_validator

from sedd.plugins.options import reject_bools

Count = Annotated[int, Interval(ge=1, le=10**9)]
Rate = Annotated[FiniteFloat, Interval(gt=0.0, le=10.0)]
Beta = Annotated[FiniteFloat, Interval(ge=0.0, lt=1.0)]
Decay = Annotated[FiniteFloat, Interval(ge=0.0, lt=1.0)]
Name = Annotated[str, BeforeValidator(lambda value: str(value) if type(value) in (int, float, date) else value)]
"""The name of a file or of a column. YAML reads some names, such as 20240115, as numbers or dates."""


class Section(BaseModel):
    """Base class of all sections: frozen, strict about unknown keys, finite in every number."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, use_attribute_docstrings=True)

    _no_bools = model_validator(mode="before")(reject_bools)
