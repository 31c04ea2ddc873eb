"""The JSON schema of run files: `sedd schema`."""

from __future__ import annotations

from typing import Any

from sedd.config.config import Config
from sedd.plugins.registry import registry


def schema() -> dict[str, Any]:
    """JSON schema of run files, with the options of every installed plugin and the short forms."""
    made = Config.model_json_schema()
    sections = made["properties"]
    metrics = made["$defs"]["Evaluation"]["properties"]["metrics"]["items"]
    for section, choices in (
        ("device", sections["device"]), ("trackers", sections["trackers"]["items"]), ("evaluation.metrics", metrics),
    ):  # fmt: skip
        names = list(registry().of(section))
        choices["anyOf"].append({"enum": names, "type": "string", "description": "Short form of {type: ...}."})
    made["$defs"]["Training"]["properties"]["ema"] = {"type": "number", "description": "Short form of ema.decay."}
    made |= {"title": "Config", "description": "A sedd run file."}
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **made}
