"""Which distributions the parts of a run came from, so that where one is missing, the message says what to install."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sedd.config.config import Config
from sedd.errors import CheckpointError
from sedd.plugins.contracts import Part
from sedd.plugins.registry import BUILT_IN, KINDS, registry, source_of


def plugins_of(config: Config) -> dict[str, str]:
    """Name and version of the distribution of each part that is not built in, by `section.name`: {"model.esm":
    "sedd-network-esm 0.1.0"}. Parts that are not registered are left out."""
    found = {}
    for kind in KINDS:
        given: Any = config
        for key in kind.path:
            given = getattr(given, key)
        # Of an alphabet the configuration has the name, and the run the symbols.
        for part in (given,) if not kind.many else given:
            if not isinstance(part, Part):
                continue
            source = source_of(type(part))
            if source is not None and source != BUILT_IN:
                found[f"{kind.section}.{part.part_name()}"] = source
    return found


def check_installed(config: Mapping[str, Any], recorded: object, *sections: str, file: Path) -> None:
    """Check that the parts of a run are installed here.

    Args:
        config: of the run, as plain data.
        recorded: what `plugins_of` found when the run began; anything else where it was not recorded.
        sections: such as `model`; not one that holds several parts.
        file: the run or checkpoint, for the message.

    Raises:
        CheckpointError: if one is missing; names the distribution that the run had it from.
    """
    known = recorded if isinstance(recorded, Mapping) else {}
    for kind in KINDS:
        given = config.get(kind.section)
        name = given.get(kind.base.discriminator, kind.default) if isinstance(given, Mapping) else kind.default
        key = f"{kind.section}.{name}"
        if kind.section not in sections or not isinstance(name, str) or name in registry().of(kind.section):
            continue
        if not isinstance(source := known.get(key), str):
            continue  # `Config` says what is installed
        raise CheckpointError(
            f"{kind.section}.{kind.base.discriminator}={name} comes from the distribution {source}, which is not "
            f"installed here, or broken; pip install {source.partition(' ')[0]} (`sedd plugins` lists what there is)",
            file=file,
        )
