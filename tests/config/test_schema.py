"""The JSON schema of run files accepts what the loader accepts."""

from __future__ import annotations

import json
import math
import re
from typing import Any

import pytest

from sedd.config.config import Config
from sedd.config.run_file import load_config, presets
from sedd.config.schema import schema
from sedd.config.yaml_lines import parse
from sedd.errors import ConfigError
from sedd.plugins.registry import Plugin, registry


def _fits(value: Any, node: dict[str, Any], root: dict[str, Any]) -> bool:
    """Validation for the subset of JSON schema in use, so that no test depends on another package."""
    if "$ref" in node:
        return _fits(value, root["$defs"][node["$ref"].rpartition("/")[2]], root)
    if "anyOf" in node:
        return any(_fits(value, choice, root) for choice in node["anyOf"])
    if "const" in node or "enum" in node:
        return value in node.get("enum", [node.get("const")])
    kinds = {"object": dict, "array": list, "string": str, "integer": int, "number": (int, float), "boolean": bool}
    kind = node.get("type")
    if kind == "null":
        return value is None
    if kind and (not isinstance(value, kinds[kind]) or (kind != "boolean" and isinstance(value, bool))):
        return False
    if isinstance(value, dict) and "properties" in node:
        known = node["properties"]
        unknown = set(value) - set(known)
        return (
            not (unknown and node.get("additionalProperties") is False)
            and set(node.get("required", ())) <= set(value)
            and all(_fits(item, known[key], root) for key, item in value.items() if key in known)
        )
    if isinstance(value, list) and "items" in node:
        return all(_fits(item, node["items"], root) for item in value)
    return not isinstance(value, int | float) or (
        node.get("minimum", -math.inf) <= value <= node.get("maximum", math.inf)
        and node.get("exclusiveMinimum", -math.inf) < value < node.get("exclusiveMaximum", math.inf)
    )


def _as_data(text: str) -> Any:
    return parse(text, "a preset")[0]  # PyYAML alone reads 1e-4 as a string


@pytest.mark.parametrize("name", presets())
def test_the_schema_accepts_every_preset(name: str) -> None:
    assert _fits(_as_data(presets()[name]), schema(), schema())


@pytest.mark.parametrize(
    "text",
    [
        "optim: {lr: fast}",
        "optim: {lr: -1.0}",
        "optim: {learning_rate: 1.0}",
        "noise: {type: zigzag}",
        "curriculum: {difficulty_ramp: cosine, rate: 3}",
        "curriculum: {difficulty_ramp: exponential, rate: 300}",
        "trackers: [{type: csv, nam: x}]",
        "zzz: 1",
    ],
)
def test_the_schema_refuses_what_the_loader_refuses(text: str) -> None:
    assert not _fits(_as_data(text), schema(), schema())
    with pytest.raises(ConfigError):
        load_config(_as_data(text))


def test_the_schema_accepts_the_short_forms() -> None:
    assert _fits({"device": "cpu", "trackers": ["csv"], "training": {"ema": 0.9}}, schema(), schema())


def test_the_schema_has_every_alphabet_and_the_keys_of_listed_symbols() -> None:
    listed = {"letters": "ACGT-"}, {"symbols": ["AAA", "C"], "separator": " "}
    for alphabet in (*registry().of("data.alphabet"), *listed):
        assert _fits({"data": {"alphabet": alphabet}}, schema(), schema())
    for alphabet in ("no-such", {"letter": "ACGT"}, {"letters": 5}):
        assert not _fits({"data": {"alphabet": alphabet}}, schema(), schema())


SECTIONS = [plugin for plugin in registry().plugins if plugin.kind.section in Config.model_fields]


@pytest.mark.parametrize("plugin", SECTIONS, ids=lambda plugin: f"{plugin.kind.section}-{plugin.name}")
def test_the_schema_has_the_options_of_every_installed_plugin_with_their_descriptions(plugin: Plugin) -> None:
    made = schema()
    inner = made["$defs"]["Evaluation"]["properties"]["metrics"]
    section = inner if plugin.kind.section == "evaluation.metrics" else made["properties"][plugin.kind.section]
    choices = section["items"]["anyOf"] if plugin.kind.many else section["anyOf"]
    by_name = {
        choice["properties"][plugin.kind.base.discriminator]["const"]: choice["properties"]
        for choice in choices
        if "properties" in choice
    }
    options = by_name[plugin.name]
    assert set(options) == set(plugin.cls.model_fields)
    assert {name: node.get("description") for name, node in options.items()} == {
        name: field.description for name, field in plugin.cls.model_fields.items()
    }


def test_every_reference_in_the_schema_leads_to_a_definition() -> None:
    names = set(re.findall(r'"#/\$defs/(\w+)"', json.dumps(schema())))
    assert "Stage" in names
    assert names <= set(schema()["$defs"])
