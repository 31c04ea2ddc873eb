"""A configuration is a frozen value: it survives copies, and `replace` changes what it names and nothing else."""

from __future__ import annotations

import copy
import json
import pickle
import warnings
from pathlib import Path
from typing import Any, Literal

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from sedd.config.config import Config
from sedd.config.run_file import dump, load_config
from sedd.config.sections import Section
from sedd.errors import ConfigError, SeddWarning
from sedd.plugins.contracts import Ramp
from sedd.plugins.curricula import Exponential, Linear
from sedd.plugins.noises import Geometric
from sedd.plugins.registry import registry
from sedd.plugins.trackers import Csv
from sedd.testing import parts
from sedd.testing.instances import models

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
        assert Config(**json.loads(json.dumps(config.to_dict()))) == config
        assert Config.model_validate(config.to_dict()) == config
        assert pickle.loads(pickle.dumps(config)) == config  # our own bytes
        assert copy.deepcopy(config) == config
        assert config.replace() == config


@pytest.mark.parametrize("text", ["\x85", "a\u2028b", "é\x85", "µ.fasta"])
def test_a_dumped_file_keeps_characters_that_yaml_reads_as_line_breaks(text: str) -> None:
    config = Config(data={"train": text, "residues": {"substitute": {"U": text}}})
    assert load_config(yaml.safe_load(dump(config))) == config
    assert "µ" in dump(Config(data={"train": "µ.fasta"}))


@pytest.mark.parametrize("text", ["1e-3", "5.", ".5e3", "+1e+4", "0x10", "1:30", "yes", "2026-01-01", "~"])
def test_a_name_that_looks_like_another_value_is_read_back_as_a_name(text: str, tmp_path: Path) -> None:
    config = Config(data={"cache": text})
    (tmp_path / "run.yaml").write_text(dump(config), encoding="utf-8")
    assert load_config(tmp_path / "run.yaml").data.cache == text


def test_a_dumped_file_is_read_back_with_plugin_options(tmp_path: Path) -> None:
    config = Config(curriculum=Exponential(rate=3.25, preschool_time=77))
    (tmp_path / "run.yaml").write_text(dump(config), encoding="utf-8")
    assert load_config(tmp_path / "run.yaml") == config


def test_a_configuration_cannot_be_changed() -> None:
    config = Config()
    for change in (lambda: setattr(config, "seed", 1), lambda: setattr(config.optim, "lr", 1.0)):
        with pytest.raises(ValidationError) as caught:
            change()
        assert caught.value.errors()[0]["type"] == "frozen_instance"


def test_replace_changes_keys_and_leaves_the_original_alone() -> None:
    config = load_config("quickstart")
    changed = config.replace(optim={"lr": 1e-4}, training={"ema": 0.5}, seed=9, device="cpu")
    assert (changed.optim.lr, changed.ema.decay, changed.seed) == (1e-4, 0.5, 9)
    assert (changed.optim.warmup, changed.noise) == (config.optim.warmup, config.noise)
    assert config == load_config("quickstart")


def test_replace_by_another_type_takes_its_own_defaults_where_nothing_was_set() -> None:
    assert Config().replace(noise={"type": "geometric"}).noise == Geometric()


def test_a_mapping_that_is_one_value_is_replaced_as_a_whole() -> None:
    config = Config(data={"residues": {"substitute": {"B": "N"}}})
    changed = config.replace(data={"residues": {"substitute": {"Z": "Q"}, "stop": "drop"}})
    assert dict(changed.data.residues.substitute) == {"Z": "Q"}


def test_replace_by_another_type_keeps_what_was_set_and_fits() -> None:
    config = Config(noise={"type": "cosine", "sigma_max": 5.0})
    assert config.replace(noise={"type": "geometric"}).noise.model_dump() == {
        "type": "geometric",
        "sigma_min": 1e-4,
        "sigma_max": 5.0,
    }
    ramp = Config(curriculum=Exponential(rate=3.0, preschool_time=50))
    assert ramp.replace(curriculum={"difficulty_ramp": "linear"}).curriculum == Linear(preschool_time=50)


@pytest.mark.parametrize(("section", "key", "value"), [("optim", "lr", "fast"), ("noise", "type", "zigzag")])
def test_replace_validates(section: str, key: str, value: str) -> None:
    with pytest.raises(ConfigError) as caught:
        Config().replace(**{section: {key: value}})
    assert caught.value.keys == (f"{section}.{key}",)


class Unregistered(Ramp):
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
        assert config.to_dict()["curriculum"]["difficulty_ramp"] == "unregistered"


def test_trackers_may_be_names_mappings_and_objects() -> None:
    config = Config(trackers=["csv", {"type": "csv", "name": "b.csv"}, Csv(name="c.csv")])
    assert config.trackers == (Csv(), Csv(name="b.csv"), Csv(name="c.csv"))


def test_a_run_that_ends_inside_its_ramp_or_warm_up_is_warned_about() -> None:
    with pytest.warns(SeddWarning) as caught:
        load_config("uniref50", "training.n_iters=100")
    ramp, warm_up = (str(warning.message) for warning in caught)
    assert "curriculum.preschool_time" in ramp
    assert "optim.warmup" in warm_up


def test_a_ramp_may_end_with_the_last_step() -> None:
    def advice(preschool_time: int) -> list[str]:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", SeddWarning)
            options = {"curriculum": {"preschool_time": preschool_time}, "training": {"n_iters": 10}}
            return Config(**options, optim={"warmup": 2}).advice()

    assert advice(9) == []
    assert len(advice(10)) == 1


class Short(Ramp):
    """Stops at 0.9."""

    difficulty_ramp: Literal["short"] = "short"

    def shape(self, progress: float) -> float:
        return 0.9 * progress


def test_a_ramp_that_does_not_reach_its_ends_is_warned_about() -> None:
    with pytest.warns(SeddWarning):
        config = load_config("quickstart", curriculum=Short(preschool_time=10))
    assert len(config.advice()) == 1
