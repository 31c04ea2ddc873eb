"""Steps that return: resumed runs, epochs, repeated lines, zeros of loggers."""

from __future__ import annotations

import numpy as np
import pytest

import sedd
from tests.diagnosis.logs import LOSSES, STEPS, is_plain, read


def lines(*rows: tuple[object, ...], names: str = "step,loss") -> str:
    return "\n".join([names, *(",".join(map(str, row)) for row in rows)]) + "\n"


def test_what_a_resumed_run_wrote_over_is_dropped(tmp_path):
    curve = read(tmp_path, lines((0, 2.9), (500, 2.6), (1000, 2.5), (1500, 2.4), (500, 2.8), (1000, 2.7)))
    assert is_plain(curve)
    (note,) = curve.notes
    for part in ("line 6", "1,500", "500", "replaced: 3"):
        assert part in note


def test_a_run_that_was_resumed_twice(tmp_path):
    curve = read(tmp_path, lines((0, 1), (10, 1), (20, 1), (10, 2), (20, 2), (30, 2), (20, 3), (40, 3)))
    assert curve.steps.tolist() == [0, 10, 20, 40]
    assert curve.losses.tolist() == [1, 2, 3, 3]
    assert len(curve.notes) == 2


def test_a_run_that_was_started_again_replaces_the_first_one(tmp_path):
    assert is_plain(read(tmp_path, lines((0, 5), (100, 5), (900, 5), *zip(STEPS, LOSSES, strict=True))))


def test_the_later_of_repeated_steps_counts(tmp_path):
    curve = read(tmp_path, lines((0, 2.9), (500, 3.3), (500, 2.8), (1000, 2.7), (1000, 2.7)))
    assert is_plain(curve)
    (note,) = curve.notes
    assert "2" in note


def test_a_resumed_run_takes_its_held_out_losses_and_learning_rates_along(tmp_path):
    text = lines(
        (0, 2.9, "", 1), (500, 2.6, 3.0, 1), (1000, 2.5, 9.0, 9), (1200, 2.5, "", 9), (1500, "", 9.0, ""),
        (1000, 2.7, "", 2), (1200, 2.6, "", ""), (2000, "", 2.5, ""), names="step,loss,val_loss,lr",
    )  # fmt: skip
    curve = read(tmp_path, text)
    assert curve.losses.tolist() == [2.9, 2.6, 2.7, 2.6]
    # That of step 1,000 was computed with the weights from which the run was resumed.
    assert (curve.held_out_steps.tolist(), curve.held_out.tolist()) == ([500, 1000, 2000], [3.0, 9.0, 2.5])
    assert curve.lr is not None
    np.testing.assert_array_equal(curve.lr, [1, 1, 2, np.nan])


def test_a_log_with_its_newest_lines_first_is_turned_round(tmp_path):
    curve = read(tmp_path, lines((1000, 2.7), (500, 2.8), (0, 2.9)))
    assert is_plain(curve)
    assert len(curve.notes) == 1


def epochs(first: int, per_epoch: list[int]) -> str:
    return lines(*((e, s, 2.5) for e in range(first, first + 3) for s in per_epoch), names="epoch,step,loss")


@pytest.mark.parametrize(
    ("first", "per_epoch", "length"),
    [(0, list(range(0, 1000, 10)), 1000), (1, list(range(1, 51)), 50), (0, list(range(10, 501, 10)), 500)],
)
def test_steps_that_start_anew_with_each_epoch_are_counted_on(first, per_epoch, length, tmp_path):
    curve = read(tmp_path, epochs(first, per_epoch))
    assert curve.steps.tolist() == [length * epoch + step for epoch in range(3) for step in per_epoch]
    assert any(f"{length:,}" in note for note in curve.notes)


def test_epochs_of_unknown_length_are_an_error(tmp_path):
    with pytest.raises(sedd.DataError, match="between 21 and 30"):
        read(tmp_path, epochs(0, [0, 10, 20]))


def test_steps_that_start_anew_without_epochs_are_an_error(tmp_path):
    with pytest.raises(sedd.DataError) as caught:
        read(tmp_path, lines(*((step, 2.5) for _ in range(5) for step in range(0, 1000, 10))))
    assert caught.value.line == 102


def test_a_log_of_epochs_says_what_to_do(tmp_path):
    with pytest.raises(sedd.DataError, match="column step"):
        read(tmp_path, lines((1, 2.9, 3), (2, 2.8, 3), names="epoch,loss,val_loss"))


def test_a_single_zero_is_the_default_of_a_logger(tmp_path):
    curve = read(tmp_path, lines((0, 0), (500, 2.8), (1000, 2.7)))
    assert curve.steps.tolist() == [500, 1000]
    assert len(curve.notes) == 1


def test_zeros_with_a_gradient_that_is_not_finite_are_losses_that_are_not_finite(tmp_path):
    text = lines((0, 2.9, 1), (1, 0.0, "nan"), (2, 0.0, "nan"), names="step,loss,grad_norm")
    assert np.isnan(read(tmp_path, text).losses).tolist() == [False, True, True]


def test_losses_without_a_step_are_counted(tmp_path):
    curve = read(tmp_path, lines((0, 2.9), ("", 5), (500, 2.8), (1000, 2.7)))
    assert is_plain(curve)
    assert len(curve.notes) == 1


def test_rows_in_no_order_are_sorted_if_no_step_was_done_again(tmp_path):
    curve = read(tmp_path, lines((500, 5), (0, 1), (300, 4), (100, 2), (200, 3), (150, 2.5)))
    assert curve.steps.tolist() == [0, 100, 150, 200, 300, 500]
    assert curve.losses.tolist() == [1, 2, 2.5, 3, 4, 5]
    assert len(curve.notes) == 1
    repeated = read(tmp_path, lines((500, 5), (0, 1), (300, 4), (100, 2), (200, 3), (150, 2.5), (500, 6)))
    assert len(repeated) < 6


def test_nan_between_training_and_held_out_losses_is_a_gap_and_any_other_nan_is_not(tmp_path):
    filled = [(0, 2.9, "NaN"), (250, "NaN", 3.1), (500, 2.8, "NaN"), (1000, 2.7, "NaN")]
    curve = read(tmp_path, lines(*filled, names="step,loss,val_loss"))
    assert is_plain(curve)
    assert (curve.held_out_steps.tolist(), curve.held_out.tolist()) == ([250], [3.1])
    broken = read(tmp_path, lines(*filled, (1500, "NaN", "NaN"), names="step,loss,val_loss"))
    assert np.isfinite(broken.losses).tolist() == [True, True, True, False]
    for row in ((2000, 2.7, 3.0), (2000, "NaN", 3.0)):
        kept = read(tmp_path, lines(*filled, (1500, 2.7, 3.0), row, names="step,loss,val_loss"))
        assert np.isnan(kept.losses).sum() == 1 + (row[1] == "NaN")
