"""The dialects, one file each with a `DIALECT`; a file that is added here is found by itself."""

from __future__ import annotations

from importlib import import_module
from pkgutil import iter_modules

from sedd.config.foreign.dialect import Dialect

_FOUND = [import_module(f"{__name__}.{module.name}").DIALECT for module in iter_modules(__path__)]
DIALECTS: dict[str, Dialect] = {dialect.name: dialect for dialect in sorted(_FOUND, key=lambda one: one.order)}
"""By name, as in `--dialect`; derived trainers before the one whose files they grew from."""
