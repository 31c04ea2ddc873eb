"""Run files: what is right loads with exactly its numbers, what is wrong is said in the words of its writer."""

from __future__ import annotations

import copy
import json
import math
import pickle
import re
import warnings
from pathlib import Path
from typing import Any, Literal

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

import sedd
from sedd.config.config import Config, typed_model
from sedd.config.messages import SYNONYMS
from sedd.config.run_file import dump, load_config, parse_override, presets, schema
from sedd.config.sections import Section
from sedd.errors import ConfigError, SeddWarning
from sedd.plugins.contracts import Ramp
from sedd.plugins.curricula import Exponential, Linear
from sedd.plugins.registry import registry
from sedd.plugins.trackers import Csv
from sedd.testing import parts
from sedd.testing.instances import models


def write(folder: Path, text: str) -> Path:
    path = folder / "run.yaml"
    path.write_text(text, encoding="utf-8")
    return path


# --- bad input, and what is said about it ---------------------------------------------------------------------------

BAD_FILES = {
    "an unknown key": (
        "seed: 1\noptim:\n  lr: 1e-4\n  warmpu: 10\n",
        "run.yaml:4: unknown key 'optim.warmpu'; did you mean 'optim.warmup'?",
    ),
    "an unknown section": ("trainig: {n_iters: 5}\n", "run.yaml:1: unknown key 'trainig'; did you mean 'training'?"),
    "a key in the wrong section": (
        "training:\n  grad_clip: 1.0\n",
        "run.yaml:2: unknown key 'training.grad_clip'; did you mean 'optim.grad_clip'?",
    ),
    "a key like no other": (
        "ema: {zzz: 1}\n",
        "run.yaml:1: unknown key 'ema.zzz'; ema has the keys decay, warmup",
    ),
    "an unknown option of a plugin": (
        "curriculum:\n  difficulty_ramp: exponential\n  rat: 3\n",
        "run.yaml:3: unknown key 'curriculum.rat'; did you mean 'curriculum.rate'?",
    ),
    "an unknown key deep in a plugin": (
        "curriculum:\n  difficulty_ramp: stages\n  stages:\n  - {step: 0, difficulty: 1.0, levle: 3}\n",
        "run.yaml:4: unknown key 'curriculum.stages.0.levle'; curriculum.stages.0 has the keys step, difficulty",
    ),
    "an option of another plugin": (
        "curriculum: {difficulty_ramp: cosine, rate: 3}\n",
        "run.yaml:1: unknown key 'curriculum.rate'; curriculum has the keys",
    ),
    "a word for a number": (
        "training:\n  n_iters: many\n",
        "run.yaml:2: training.n_iters='many': expected a valid integer",
    ),
    "a fraction for a whole number": (
        "training: {batch_size: 2.5}\n",
        "run.yaml:1: training.batch_size=2.5: expected a valid integer",
    ),
    "a number for a section": ("optim: 3\n", "run.yaml:1: optim=3: expected keys and values"),
    "nothing for a section": ("seed: 1\noptim:\n", "run.yaml:2: optim=None: expected keys and values"),
    "a number for a plugin": ("noise: 3\n", "run.yaml:1: noise=3: expected keys and values, such as type: cosine"),
    "a value above its bound": (
        "optim:\n  beta1: 1.5\n",
        "run.yaml:2: optim.beta1=1.5: expected less than 1",
    ),
    "a value below its bound": (
        "optim: {lr: -1e-4}\n",
        "run.yaml:1: optim.lr=-0.0001: expected greater than 0",
    ),
    "infinity": ("optim: {lr: .inf}\n", "run.yaml:1: optim.lr=inf: expected a finite number"),
    "not a number": ("noise: {sigma_max: .nan}\n", "run.yaml:1: noise.sigma_max=nan: expected a finite number"),
    "a choice that does not exist": (
        "graph: {type: absorbing}\n",
        "run.yaml:1: graph.type='absorbing': expected 'absorb' or 'uniform'",
    ),
    "fields that contradict each other": (
        "seed: 1\nnoise: {type: cosine, sigma_min: 2, sigma_max: 1}\n",
        "run.yaml:2: noise: sigma_min (2.0) must be below sigma_max (1.0)",
    ),
    "heads that do not divide the width": (
        "model: {hidden_size: 100, n_heads: 3}\n",
        "run.yaml:1: model: hidden_size (100) must be n_heads (3) times an even number; try hidden_size=96",
    ),
    "a key given twice": (
        "optim:\n  lr: 1e-4\n  warmup: 5\n  lr: 2e-4\n",
        "run.yaml:4: the key 'lr' was given already on line 2; keep one",
    ),
    "a plugin that is nearly installed": (
        "noise: {type: cosin}\n",
        "run.yaml:1: noise.type='cosin' is not installed; did you mean 'cosine'? Installed are cosine, geometric",
    ),
    "a plugin that is not installed": (
        "seed: 3\ncurriculum: {difficulty_ramp: zigzag}\n",
        "run.yaml:2: curriculum.difficulty_ramp='zigzag' is not installed; install the plugin that provides it, or "
        "choose one of constant, cosine",
    ),
    "a plugin whose name is a list": (
        "noise: {type: [cosine]}\n",
        "noise.type=['cosine'] is not installed",
    ),
    "a device that is not installed": (
        "device: cuba\n",
        "run.yaml:1: device.type='cuba' is not installed; did you mean 'cuda'?",
    ),
    "a tracker that is not installed": (
        "trackers:\n- csv\n- tensorbord\n",
        "run.yaml:3: trackers.1.type='tensorbord' is not installed; did you mean 'tensorboard'?",
    ),
    "a tracker without a name": ("trackers: [{}]\n", "run.yaml:1: trackers.0.type is missing; installed are csv"),
    "two exponential averages": (
        "ema: {decay: 0.99}\ntraining: {ema: 0.9}\n",
        "run.yaml:2: training.ema=0.9 and ema.decay=0.99 disagree; keep one of the two",
    ),
    "an average above its bound, in the short form": (
        "seed: 1\ntraining:\n  ema: 1.5\n",
        "run.yaml:3: ema.decay=1.5: expected less than 1",
    ),
    "a list at the top": ("- optim\n", "run.yaml: expected sections such as `optim:` at the top, got list"),
    "a word at the top": ("optim\n", "run.yaml: expected sections such as `optim:` at the top, got str"),
    "broken YAML": ("optim:\n  lr: [1, 2\nseed: 3\n", "run.yaml:3: not valid YAML: expected ',' or ']'"),
    "a tab": ("optim:\n\tlr: 1\n", "run.yaml:2: not valid YAML: found character '\\t' that cannot start any token"),
    "a control character": ("seed: \x07\n", "run.yaml: not valid YAML: "),
    "two documents": ("seed: 1\n---\nseed: 2\n", "run.yaml:2: not valid YAML: but found another document"),
    "an unsafe tag": (
        "seed: !!python/object/apply:os.system ['true']\n",
        "run.yaml:1: the tag 'tag:yaml.org,2002:python/object/apply:os.system' has no place in a run file; remove it",
    ),
    "an unsafe tag on a scalar": (
        "seed: !!python/name:os.system\n",
        "run.yaml:1: not valid YAML: could not determine a constructor for the tag",
    ),
    "a tag that does not fit": ("optim: {lr: !!float abc}\n", "run.yaml:1: could not convert string to float: 'abc'"),
    "an alias to itself": (
        "optim: &a\n  lr: *a\n",
        "run.yaml: nested too deeply; is there an alias that refers",
    ),
    "a key that is a list": ("? [a, b]\n: 1\n", "run.yaml:1: a key must be a word"),
}


@pytest.mark.parametrize("what", BAD_FILES)
def test_a_bad_run_file_is_refused_with_line_value_and_expectation(what: str, tmp_path: Path) -> None:
    text, message = BAD_FILES[what]
    with pytest.raises(ConfigError, match=re.escape(message)) as caught:
        load_config(write(tmp_path, text))
    assert str(caught.value).startswith(str(tmp_path))


def test_everything_that_is_wrong_is_said_at_once(tmp_path: Path) -> None:
    path = write(tmp_path, "optim:\n  lr: fast\n  warmpu: 1\ngraph:\n  type: cube\n")
    with pytest.raises(ConfigError) as caught:
        load_config(path)
    lines = str(caught.value).splitlines()
    assert [line.split(": ")[0].rpartition(":")[2] for line in lines] == ["5", "2", "3"]


def test_a_file_that_does_not_exist_is_named_with_the_one_that_was_meant(tmp_path: Path) -> None:
    write(tmp_path, "seed: 1")
    with pytest.raises(ConfigError, match=r"rum.yaml: there is no such file .* Did you mean 'run.yaml'\? Presets"):
        load_config(tmp_path / "rum.yaml")


def test_a_preset_that_does_not_exist_is_named_with_the_one_that_was_meant() -> None:
    with pytest.raises(ConfigError, match=r"uniref50_stabel: .* no preset .* Did you mean 'uniref50_stable'\?"):
        load_config("uniref50_stabel")


def test_a_file_that_is_not_utf8_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "run.yaml"
    path.write_bytes("# Stra\xdfe\nseed: 1\n".encode("latin-1"))
    with pytest.raises(ConfigError, match=r"run.yaml: cannot be read as UTF-8 text .*0xdf"):
        load_config(path)


def test_a_directory_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read as UTF-8 text"):
        load_config(tmp_path)


def test_a_byte_order_mark_and_windows_line_ends_are_fine(tmp_path: Path) -> None:
    path = tmp_path / "run.yaml"
    path.write_bytes(b"\xef\xbb\xbfseed: 7\r\noptim:\r\n  lr: 1e-4\r\n")
    assert load_config(path).seed == 7


def test_an_empty_file_is_the_default_configuration(tmp_path: Path) -> None:
    assert load_config(write(tmp_path, "# nothing yet\n")) == Config()


BAD_OVERRIDES = {
    "optim.lr": "'optim.lr' is not an override; write section.key=value, such as optim.lr=3e-4",
    "=3": "'=3' is not an override",
    "optim..lr=3": "'optim..lr=3' is not an override",
    "optim.lr=[1": "'optim.lr=[1': the value is not YAML (expected",
    "optim.lr=!!float x": "'optim.lr=!!float x': could not convert string to float: 'x'",
    "optim.lr=fast": "optim.lr=fast: expected a valid number",
    "optim.learning_rate=1": "optim.learning_rate=1: unknown key 'optim.learning_rate'; did you mean 'optim.lr'?",
    "device=cuba": "device=cuba: device.type='cuba' is not installed; did you mean 'cuda'?",
    "training.ema=2": "training.ema=2: ema.decay=2: expected less than 1",
    "seed.x=1": "seed.x=1: seed={'x': 1}: expected a valid integer",
}


@pytest.mark.parametrize("assignment", BAD_OVERRIDES)
def test_a_bad_override_is_named_as_it_was_written(assignment: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(BAD_OVERRIDES[assignment])):
        load_config("quickstart", assignment)


@pytest.mark.parametrize(
    "keywords",
    [{"noise": Linear()}, {"curriculum": Csv()}, {"device": Linear()}, {"trackers": [Linear()]}, {"optim": Linear()}],
    ids=lambda keywords: next(iter(keywords)),
)
def test_a_part_in_the_wrong_section_is_refused(keywords: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="expected"):
        Config(**keywords)


@pytest.mark.parametrize(("ours", "theirs"), [(ours, word) for ours, words in SYNONYMS.items() for word in words])
def test_words_of_other_libraries_lead_to_ours(ours: str, theirs: str) -> None:
    section = ours.partition(".")[0] if "." in ours else "training"
    with pytest.raises(ConfigError, match=rf"did you mean {ours!r}\?"):
        Config(**{section: {theirs: 1}})


def test_the_table_of_synonyms_leads_to_keys_that_exist() -> None:
    for ours in SYNONYMS:
        section, _, key = ours.partition(".")
        base = typed_model().model_fields[section]
        installed = registry().of(section)
        fields = (
            next(iter(installed.values())).model_fields if installed else getattr(base.annotation, "model_fields", {})
        )
        assert not key or key in fields or any(key in cls.model_fields for cls in installed.values()), ours


# --- good input -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", ['!!float "5e-5"', "5e-5", "5.0e-5", "0.00005", '"5e-5"', "5E-5", "+5e-5", ".5e-4"])
def test_numbers_are_read_as_people_write_them(number: str, tmp_path: Path) -> None:
    assert load_config(write(tmp_path, f"optim: {{lr: {number}}}\n")).optim.lr == 5e-5


def test_the_snippets_of_existing_run_files_load_as_they_are(tmp_path: Path) -> None:
    text = """
optim:
  {optimizer: AdamW, lr: !!float "5e-5", warmup: 10000, grad_clip: 0.5, weight_decay: 0.01, beta1: 0.9, eps: 1e-8}
noise:      {type: cosine, sigma_min: 1e-4, sigma_max: 0.5}
curriculum: {difficulty_ramp: linear, preschool_time: 20000, min_difficulty: 0.1}
training:   {n_iters: 500000, batch_size: 32, accum: 4, ema: 0.9995}
graph:      {type: absorb}
model:      {hidden_size: 768, cond_dim: 256, length: 512, n_blocks: 12, n_heads: 12, scale_by_sigma: true}
sampling:   {predictor: euler, steps: 128, noise_removal: true}
"""
    with pytest.warns(SeddWarning, match="sigma_max=0.5 leaves 61% of the residues untouched"):
        config = load_config(write(tmp_path, text))
    assert config.optim.eps == 1e-8
    assert config.ema.decay == 0.9995


def test_short_forms_are_written_out(tmp_path: Path) -> None:
    config = load_config(write(tmp_path, "device: cpu\ntrackers: [csv]\ntraining: {ema: 0.5}\n"))
    assert config.device.part_name() == "cpu"
    assert config.trackers == (Csv(),)
    assert config.ema.decay == 0.5


def test_the_two_forms_of_the_average_may_agree() -> None:
    assert Config(ema={"decay": 0.9}, training={"ema": 0.9}).ema.decay == 0.9


@pytest.mark.parametrize("assignment", ["training.ema=0.5", "ema.decay=0.5"])
@pytest.mark.parametrize("short", [True, False])
def test_an_override_in_either_form_replaces_a_value_in_either_form(assignment: str, short: bool) -> None:
    source = {"training": {"ema": 0.9}} if short else {"ema": {"decay": 0.9}}
    assert load_config(source, assignment).ema.decay == 0.5


def test_an_override_of_the_device_keeps_its_other_options() -> None:
    config = load_config({"device": {"type": "auto", "precision": "float32"}}, "device=cpu")
    assert (config.device.part_name(), config.device.precision) == ("cpu", "float32")


def test_later_layers_win() -> None:
    config = load_config("quickstart", "optim.lr=1e-4", "optim.lr=2e-4", "seed=3", optim={"warmup": 7})
    assert (config.optim.lr, config.optim.warmup, config.seed) == (2e-4, 7, 3)


def test_overrides_are_yaml() -> None:
    assert parse_override("data.residues.substitute={U: C}") == (("data", "residues", "substitute"), {"U": "C"})
    assert parse_override("optim.lr=1e-4") == (("optim", "lr"), 1e-4)
    assert parse_override("data.valid=null") == (("data", "valid"), None)


STABLE = {
    "optim": {"lr": 5e-5, "warmup": 10_000, "grad_clip": 0.5},
    "noise": {"type": "cosine", "sigma_max": 0.5},
    "curriculum": {"difficulty_ramp": "linear", "preschool_time": 20_000},
    "ema": {"decay": 0.9995},
    "training": {"batch_size": 32, "accum": 4},
}
AGGRESSIVE = {
    "optim": {"lr": 1e-4, "warmup": 5_000, "grad_clip": 1.0},
    "noise": {"sigma_max": 0.8},
    "curriculum": {"difficulty_ramp": "exponential", "preschool_time": 5_000},
    "ema": {"decay": 0.999},
}


@pytest.mark.parametrize(
    ("name", "numbers", "kept"), [("uniref50_stable", STABLE, "61%"), ("uniref50_aggressive", AGGRESSIVE, "45%")]
)
def test_the_low_noise_presets_have_exactly_their_numbers_and_a_warning(
    name: str, numbers: dict[str, dict[str, Any]], kept: str
) -> None:
    with pytest.warns(SeddWarning, match=rf"leaves {kept} of the residues untouched .* cannot generate from nothing"):
        config = load_config(name)
    data = config.as_dict()
    assert {section: {key: data[section][key] for key in keys} for section, keys in numbers.items()} == numbers


@pytest.mark.parametrize("name", ["quickstart", "uniref50"])
def test_the_recommended_presets_have_the_full_noise_range_and_no_warning(name: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        config = load_config(name)
    assert math.exp(-config.noise.sigma_max) < 0.0011


def test_a_run_that_ends_inside_its_ramp_or_warm_up_is_warned_about() -> None:
    with pytest.warns(SeddWarning) as caught:
        load_config("uniref50", "training.n_iters=100")
    text = "\n".join(str(warning.message) for warning in caught)
    assert "ends before the curriculum reaches full difficulty at curriculum.preschool_time" in text
    assert "ends inside the warm-up of 2500 steps" in text


# --- the configuration as an object ---------------------------------------------------------------------------------

SECTIONS = {
    name: info.annotation
    for name, info in Config.model_fields.items()
    if isinstance(info.annotation, type) and issubclass(info.annotation, Section)
}


def _one_of(section: str) -> st.SearchStrategy[Any]:
    return st.one_of(*(parts(cls) for cls in registry().of(section).values()))


configs = st.fixed_dictionaries(
    {
        "seed": st.integers(0, 2**63 - 1),
        "noise": _one_of("noise"),
        "curriculum": _one_of("curriculum"),
        "device": _one_of("device"),
        "trackers": st.lists(_one_of("trackers"), max_size=2).map(tuple),
        **{name: models(cls) for name, cls in SECTIONS.items()},
    }
)


@settings(max_examples=60, derandomize=True, database=None, deadline=None)
@given(configs)
def test_any_configuration_survives_yaml_json_pickle_and_copies(sections: dict[str, Any]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SeddWarning)
        config = Config(**sections)
        assert load_config(yaml.safe_load(dump(config))) == config
        assert Config(**json.loads(json.dumps(config.as_dict()))) == config
        assert Config.model_validate(config.as_dict()) == config
        assert pickle.loads(pickle.dumps(config)) == config  # our own bytes
        assert copy.deepcopy(config) == config
        assert config.replace() == config


def test_a_dumped_file_is_read_back_with_plugin_options(tmp_path: Path) -> None:
    config = Config(curriculum=Exponential(rate=3.25, preschool_time=77))
    assert load_config(write(tmp_path, dump(config))) == config


def test_a_configuration_cannot_be_changed() -> None:
    config = Config()
    for change in (lambda: setattr(config, "seed", 1), lambda: setattr(config.optim, "lr", 1.0)):
        with pytest.raises(ValidationError, match="frozen"):
            change()


def test_replace_changes_keys_and_leaves_the_original_alone() -> None:
    config = load_config("quickstart")
    changed = config.replace(optim={"lr": 1e-4}, training={"ema": 0.5}, seed=9, device="cpu")
    assert (changed.optim.lr, changed.ema.decay, changed.seed) == (1e-4, 0.5, 9)
    assert (changed.optim.warmup, changed.noise) == (config.optim.warmup, config.noise)
    assert config == load_config("quickstart")


def test_replace_by_another_type_keeps_what_was_set_and_fits() -> None:
    config = Config(noise={"type": "cosine", "sigma_max": 5.0})
    assert config.replace(noise={"type": "geometric"}).noise.model_dump() == {
        "type": "geometric",
        "sigma_min": 1e-4,
        "sigma_max": 5.0,
    }
    ramp = Config(curriculum=Exponential(rate=3.0, preschool_time=50))
    assert ramp.replace(curriculum={"difficulty_ramp": "linear"}).curriculum == Linear(preschool_time=50)


def test_replace_says_what_is_wrong() -> None:
    with pytest.raises(ConfigError, match=r"optim.lr='fast': expected a valid number"):
        Config().replace(optim={"lr": "fast"})
    with pytest.raises(ConfigError, match=r"noise.type='zigzag' is not installed"):
        Config().replace(noise={"type": "zigzag"})


class Unregistered(sedd.Ramp):
    """Not installed anywhere."""

    difficulty_ramp: Literal["unregistered"] = "unregistered"

    def shape(self, progress: float) -> float:
        return progress


def test_an_unregistered_curriculum_passes_as_an_object() -> None:
    mine = Unregistered(preschool_time=10)
    for config in (
        Config(curriculum=mine),
        load_config("quickstart", curriculum=mine),
        Config().replace(curriculum=mine),
    ):
        assert config.curriculum is mine
        assert config.replace(seed=3).curriculum is mine
        assert config.as_dict()["curriculum"]["difficulty_ramp"] == "unregistered"


def test_trackers_may_be_names_mappings_and_objects() -> None:
    config = Config(trackers=["csv", {"type": "csv", "name": "b.csv"}, Csv(name="c.csv")])
    assert config.trackers == (Csv(), Csv(name="b.csv"), Csv(name="c.csv"))


def _fits(value: Any, node: dict[str, Any], root: dict[str, Any]) -> bool:
    """The part of JSON schema that ours uses; small enough to read, so that no test depends on another package."""
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
        strangers = set(value) - set(known)
        return (
            not (strangers and node.get("additionalProperties") is False)
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
    from sedd.config.run_file import _parse  # the reader of run files itself, so that 1e-4 is the number it is there

    return _parse(text, "a preset")[0]


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


def test_the_schema_has_the_options_of_every_installed_plugin_with_their_words() -> None:
    text = json.dumps(schema())
    for plugin in registry().plugins:
        assert f'"const": "{plugin.name}"' in text, plugin.name
        assert set(plugin.cls.model_fields) <= set(re.findall(r'"(\w+)":', text)), plugin.name
    assert "Optimizer steps until the difficulty is exactly 1." in text
    assert "InstanceOf" not in text


def test_what_is_wrong_with_a_section_is_blamed_on_the_override_that_touched_it() -> None:
    for override in ("curriculum.difficulty_ramp=cosin", "model.n_heads=5"):
        with pytest.raises(ConfigError, match=f"^{re.escape(override)}: "):
            load_config("quickstart", override)


def test_an_override_that_is_no_string_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"is not an override; write a string such as 'optim\.lr=3e-4'"):
        load_config("quickstart", {"optim.lr": 1})  # type: ignore[arg-type]


def test_a_ramp_that_does_not_reach_its_ends_is_pointed_out() -> None:
    class Short(Ramp):
        """Stops at 0.9."""

        difficulty_ramp: str = "short"

        def shape(self, progress: float) -> float:
            return 0.9 * progress

    with pytest.warns(SeddWarning, match=r"Short: its shape runs from 0 to 0\.9, not from 0 to 1"):
        load_config("quickstart", curriculum=Short(preschool_time=10))
