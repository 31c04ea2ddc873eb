"""Differences of configurations: which keys matter when a run is resumed, and which in a comparison."""

from __future__ import annotations

import copy

import pytest

from sedd.config.config import Config
from sedd.plugins.effects import Effect
from sedd.runs.differences import blocking_differences, config_differences, effect_of, flattened, keys_with


@pytest.mark.parametrize(
    ("key", "effect"),
    [
        ("seed", Effect.TRAINING),
        ("optim.lr", Effect.TRAINING),
        ("training.n_iters", Effect.TRAINING),
        ("data.residues.stop", Effect.TRAINING),
        ("training.log_every", Effect.NONE),
        ("training.eval_every", Effect.EVALUATION),
        ("training.compile", Effect.ROUNDING),
        ("evaluation.masks", Effect.EVALUATION),
        ("evaluation.batch_size", Effect.NONE),
        ("sampling.steps", Effect.NONE),
        ("monitoring.max_rise", Effect.MONITORING),
        ("distributed.strategy", Effect.ROUNDING),
        ("data.train", Effect.LOCATION),
        ("data.cache", Effect.NONE),
        ("device.precision", Effect.ROUNDING),
        ("device.option_of_a_plugin", Effect.NONE),
        ("noise.option_of_a_plugin", Effect.TRAINING),
        ("unknown_section.key", Effect.TRAINING),
        ("trackers", Effect.NONE),
    ],
)
def test_a_key_has_the_effect_of_the_innermost_marked_field(key: str, effect: Effect) -> None:
    assert effect_of(key) is effect


def test_keys_with_an_effect_are_found_in_all_sections() -> None:
    assert keys_with(Effect.LOCATION) == ("data.train", "data.valid", "data.clusters")
    assert "device.precision" in keys_with(Effect.ROUNDING)


@pytest.mark.parametrize("effect", list(Effect))
def test_only_keys_that_leave_training_and_evaluation_alone_may_change_on_resume(effect: Effect) -> None:
    assert effect.may_change_on_resume == (effect not in (Effect.TRAINING, Effect.EVALUATION))


def test_neutral_differences_depend_on_the_data_and_on_rollbacks() -> None:
    neutral = {
        (same_data, rolled_back): {e for e in Effect if e.neutral(same_data=same_data, rolled_back=rolled_back)}
        for same_data in (True, False)
        for rolled_back in (True, False)
    }
    always = {Effect.EVALUATION, Effect.NONE}
    assert neutral[False, True] == always
    assert neutral[True, True] == always | {Effect.LOCATION}
    assert neutral[False, False] == always | {Effect.MONITORING}


def test_differences_name_every_key_and_all_values_without_any_plugin() -> None:
    first = {"noise": {"type": "alien", "k": 1}, "trackers": [], "data": {"residues": {"substitute": {}}}}
    other = {"noise": {"type": "alien", "k": 2}, "trackers": ["csv"], "data": {"residues": {"substitute": {"U": "C"}}}}
    found = config_differences((first, other, first))
    assert [(difference.key, difference.values, difference.neutral) for difference in found] == [
        ("noise.k", (1, 2, 1), False),
        ("trackers", ([], ["csv"], []), True),
        ("data.residues.substitute", ({}, None, {}), False),
        ("data.residues.substitute.U", (None, "C", None), False),
    ]
    assert [difference.key for difference in blocking_differences(first, other)] == [
        "noise.k", "data.residues.substitute", "data.residues.substitute.U"
    ]  # fmt: skip
    assert found[0].to_dict() == {"key": "noise.k", "values": [1, 2, 1], "neutral": False}


def test_every_key_of_a_configuration_has_an_effect(tiny) -> None:
    config: Config = tiny()
    assert {effect_of(key) for key, _ in flattened(config.to_dict())} == set(Effect)


@pytest.mark.parametrize("key", ["device.layout", "optim.momentum", "model.qk_norm", "lr_schedule.decay_share", "ema"])
def test_a_run_from_before_a_key_existed_differs_only_where_the_key_is_not_its_default(key: str) -> None:
    now = Config().to_dict()
    *outer, name = key.split(".")
    older = copy.deepcopy(now)
    section = older
    for part in outer:
        section = section[part]
    del section[name]
    assert blocking_differences(older, now) == ()
    assert older.get(name) is None
    assert [item.key for item in config_differences((older, now | {"seed": 7}))] == ["seed"]


def test_a_key_that_the_part_of_a_run_does_not_have_is_none_and_not_a_default() -> None:
    linear, exponential = Config().to_dict(), Config(curriculum={"difficulty_ramp": "exponential"}).to_dict()
    found = {item.key: item.values for item in config_differences((linear, exponential))}
    assert found["curriculum.rate"][0] is None
    assert found["curriculum.rate"][1] is not None
