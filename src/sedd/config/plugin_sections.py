"""Validation and JSON schema of the plugin sections: the classes to choose from are those that are installed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler, TypeAdapter
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

from sedd.plugins.contracts import Part
from sedd.plugins.registry import KINDS, Kind, registry


@dataclass(frozen=True)
class Installed:
    """Annotates a field of `Config` that holds a part of one kind.

    A mapping becomes an instance of the installed class that its discriminator names. An object of the kind is kept
    as it is, registered or not.
    """

    kind: Kind

    @staticmethod
    def of(section: str) -> Installed:
        """The annotation for the plugin section of this name."""
        return Installed(next(kind for kind in KINDS if kind.section == section))

    def validate(self, value: Any) -> Part:
        """The part that `value` stands for."""
        classes, base = registry().of(self.kind.section), self.kind.base
        if isinstance(value, base):
            return value
        name = value.get(base.discriminator, self.kind.default) if isinstance(value, Mapping) else None
        if str(name) not in classes:
            raise PydanticCustomError("not_installed", "expected an installed part")
        return classes[str(name)].model_validate(value)

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_before_validator_function(self.validate, handler(source))

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        return {"anyOf": [handler(TypeAdapter(cls).core_schema) for cls in registry().of(self.kind.section).values()]}
