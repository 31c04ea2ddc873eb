"""A converted configuration as a run file, with a comment at each value whose meaning changed."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from sedd.config.config import Config
from sedd.config.foreign.convert import Converted, Entry
from sedd.config.foreign.source import short
from sedd.config.yaml_lines import dumped


def run_file(converted: Converted) -> str:
    """The run file as YAML text; `load_config` reads it back to `converted.config`."""
    reasons = {entry.ours: entry for entry in (*converted.changed, *converted.assumed)}
    lines = [
        f"# Converted from {short(converted.source.file)}, a run file of {converted.dialect.title}.",
        "# A comment stands above each value whose meaning changed, or which their program has built in.",
    ]
    for section in Config.model_fields:
        if section not in converted.settings:
            continue
        values = converted.settings[section]
        if isinstance(values, dict):
            lines.append(f"{section}:")
            for key, value in values.items():
                lines += [*_comment(reasons.get(f"{section}.{key}")), f"  {key}: {_plain(value)}"]
        else:
            lines.append(f"{section}: {_plain(values)}")
    return "\n".join(lines) + "\n"


def _comment(entry: Entry | None) -> Iterator[str]:
    if entry is not None:
        given = f"{entry.theirs}: {short(entry.value)}" if entry.theirs else "built in"
        yield f"  # {'; '.join(filter(None, (given, entry.why)))}"


def _plain(value: Any) -> str:
    text = dumped(value, default_flow_style=True, width=10**6)
    return text.removesuffix("...\n").strip()
