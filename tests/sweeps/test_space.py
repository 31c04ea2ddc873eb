"""What can be varied, and how it is written."""

from __future__ import annotations

import pytest

import sedd
from sedd.sweeps.space import RangeAxis, ValueAxis, changed, check, parse_axis, shown, space_of


def test_ranges_and_values_are_read() -> None:
    assert parse_axis("optim.lr=1e-4..1e-2:log") == RangeAxis("optim.lr", 1e-4, 1e-2, log=True)
    assert parse_axis("optim.warmup=10..200") == RangeAxis("optim.warmup", 10.0, 200.0, integer=True)
    assert parse_axis("curriculum.mode=truncate,bias") == ValueAxis("curriculum.mode", ("truncate", "bias"))
    assert parse_axis("optim.lr=1e-3,0.01") == ValueAxis("optim.lr", (1e-3, 0.01))
    assert parse_axis("optim.beta2=0.99,0.999,0.99").values == (0.99, 0.999)
    assert space_of({"optim.lr": (1e-4, 1e-2, "log"), "ema.decay": [0.9, 0.99]}) == (
        RangeAxis("optim.lr", 1e-4, 1e-2, log=True),
        ValueAxis("ema.decay", (0.9, 0.99)),
    )


BAD = [
    [], ["optim.lr"], ["optim.lr="], ["optim.lr=1e-2..1e-4"], ["optim.lr=0..1:log"], ["optim.lr=a..b"],
    ["optim.lr=1..2:exp"], ["optim.lr=1,2", "optim.lr=3,4"], ["seed=1,2"], ["data.holdout=0.1,0.2"],
    ["training.n_iters=10,20"], ["model.length=10,20"], ["checkpoint.every=3,4"],
]  # fmt: skip


@pytest.mark.parametrize("vary", BAD, ids=str)
def test_what_cannot_be_varied_is_refused(vary: list[str]) -> None:
    with pytest.raises(sedd.ConfigError):
        space_of(vary)


@pytest.mark.parametrize("given", [(1,), (1, 2, "exp"), 3, ("a", "b"), []], ids=str)
def test_a_mapping_that_is_no_space_is_refused(given: object) -> None:
    with pytest.raises(sedd.ConfigError):
        space_of({"optim.lr": given})


def test_a_key_or_a_value_that_does_not_exist_is_refused_before_anything_is_trained() -> None:
    base = sedd.load_config("quickstart")
    for text in ("optim.learning_rate=1,2", "optim.lr=-1..1", "curriculum.mode=none,truncate"):
        with pytest.raises(sedd.ConfigError):
            check(base, space_of([text]))


def test_places_and_values_of_a_range_agree() -> None:
    axis = RangeAxis("optim.lr", 1e-4, 1e-2, log=True)
    assert [axis.at(u) for u in (0.0, 0.5, 1.0)] == [1e-4, 1e-3, 1e-2]
    assert axis.single == (1e-4, 1e-3, 1e-2)
    assert axis.place(1e-3) == pytest.approx(0.5)
    assert axis.at(0.123456) == 0.000177
    whole = RangeAxis("optim.warmup", 10, 13, integer=True)
    assert {whole.at(u / 100) for u in range(101)} == {10, 11, 12, 13}


def test_a_change_keeps_everything_else() -> None:
    base = sedd.load_config("quickstart")
    found = changed(base, {"optim.lr": 0.5, "optim.warmup": 3, "curriculum.mode": "bias"})
    assert (found.optim.lr, found.optim.warmup, found.curriculum.mode) == (0.5, 3, "bias")
    assert found.replace(optim=base.optim.model_dump(), curriculum={"mode": base.curriculum.mode}) == base
    assert [shown(value) for value in (1e-4, None, True, "bias")] == ["0.0001", "null", "True", "bias"]
