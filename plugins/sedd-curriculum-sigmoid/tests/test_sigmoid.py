"""The contract of sedd, and the entry point."""

import pytest

import sedd
from sedd.plugins.registry import registry
from sedd.testing import Check, checks_for
from sedd_curriculum_sigmoid import Sigmoid


@pytest.mark.parametrize("check", checks_for(Sigmoid), ids=str)
def test_contract(check: Check) -> None:
    check()


def test_half_of_the_ramp_is_reached_at_half_of_preschool_time() -> None:
    assert Sigmoid(preschool_time=1000, min_difficulty=0.2).difficulty(500) == pytest.approx(0.6)


def test_sedd_finds_the_plugin_through_its_entry_point() -> None:
    assert registry().of("curriculum")["sigmoid"] is Sigmoid
    config = sedd.load_config("quickstart", "curriculum.difficulty_ramp=sigmoid", "curriculum.steepness=12")
    assert isinstance(config.curriculum, Sigmoid)
    assert config.curriculum.steepness == 12.0
