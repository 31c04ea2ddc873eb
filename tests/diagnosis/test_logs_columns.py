"""Which column is the training loss, the step and the held-out loss."""

from __future__ import annotations

import pytest

import sedd
from sedd.diagnosis.logs.names import held_out_rank, is_epoch, is_grad_norm, is_lr, loss_rank, step_rank
from tests.diagnosis.logs import is_plain, read


@pytest.mark.parametrize(
    "name",
    ["step", "Step", "_step", "global_step", "train/global_step", "trainer/global_step", "globalStep", "iteration",
     "iter", "Iteration", "training step", "num_updates", "optimizer_step", "a - _step", "batch"],
)  # fmt: skip
def test_names_of_steps(name):
    assert step_rank(name) is not None
    assert loss_rank(name) is None


@pytest.mark.parametrize(
    "name", ["epoch", "Wall time", "loss", "val_step", "step_time", "total_steps", "__step__MAX", ""]
)
def test_names_that_are_no_steps(name):
    assert step_rank(name) is None


BEST_FIRST = [
    "train_loss", "train_loss_step", "loss", "loss_step", "total_loss", "train_loss_epoch", "avg_loss",
    "diffusion_loss", "train_nll", "Value",
]  # fmt: skip


def test_training_losses_have_an_order_of_preference():
    ranks = [loss_rank(name) for name in BEST_FIRST]
    assert None not in ranks
    assert ranks == sorted(set(ranks))


@pytest.mark.parametrize(
    "name",
    ["train/loss", "Loss/train", "training_loss", "trainLoss", "trainloss", "Training Loss", "a - b - train/loss",
     "metrics/train/loss", "loss (train)"],
)  # fmt: skip
def test_names_of_the_best_rank(name):
    assert loss_rank(name) == loss_rank("train_loss") == 0


@pytest.mark.parametrize(
    "name",
    ["loss_scale", "best_loss", "train/loss__MIN", "loss_std", "grad_loss_norm", "loss_weight", "val_loss", "lossy"],
)
def test_names_that_are_no_training_losses(name):
    assert loss_rank(name) is None


@pytest.mark.parametrize(
    "name",
    ["val_loss", "valid/loss", "eval_loss", "eval/loss", "validation_loss", "test_loss", "evaluation_loss", "valLoss",
     "valloss", "Loss/val", "held_out_loss", "held-out loss", "dev/nll"],
)  # fmt: skip
def test_names_of_held_out_losses(name):
    assert held_out_rank(name) is not None
    assert loss_rank(name) is None


def test_other_names():
    assert all(map(is_lr, ["lr", "learning_rate", "Learning Rate", "train/lr", "lr-AdamW/pg1"]))
    assert all(map(is_grad_norm, ["grad_norm", "train/grad_norm", "gradient norm", "gnorm", "grad_2.0_norm_total"]))
    assert all(map(is_epoch, ["epoch", "Epoch", "train/epoch"]))
    assert not any(map(is_lr, ["loss", "clr_rate", "lr_loss"]))
    assert not any(map(is_grad_norm, ["norm", "weight_norm", "grad_clip", "grad_norm_loss"]))
    assert not any(map(is_epoch, ["epoch_time", "loss_epoch"]))


def test_the_loss_of_a_step_comes_before_the_mean_of_an_epoch_and_the_note_lists_the_other(tmp_path):
    text = "epoch,step,train_loss_epoch,train_loss_step\n0,0,,2.9\n0,500,3.5,2.8\n1,1000,3.4,2.7\n"
    curve = read(tmp_path, text)
    assert is_plain(curve)
    assert any("'train_loss_epoch'" in note for note in curve.notes)


def test_the_total_of_several_losses_is_the_training_loss(tmp_path):
    assert is_plain(read(tmp_path, "step,ce_loss,aux_loss,total_loss\n0,1,1,2.9\n500,1,1,2.8\n1000,1,1,2.7\n"))


def test_a_summary_at_the_end_is_not_the_training_loss(tmp_path):
    rows = "".join(f"{step},{2.9 - step / 1e4},\n" for step in range(0, 1000, 10))
    curve = read(tmp_path, f"step,loss,train_loss\n{rows}1000,,2.5\n")
    assert len(curve) == 100
    assert curve.losses[0] == 2.9


TWO_RUNS = '"Step","a - loss","a - loss__MIN","b - loss","b - val_loss"\n0,2.9,1,5,\n500,2.8,1,,6\n1000,2.7,1,,\n'


def test_two_runs_need_a_choice_and_the_error_lists_them(tmp_path):
    with pytest.raises(sedd.DataError, match=r"'a - loss', 'b - loss'.*--loss") as caught:
        read(tmp_path, TWO_RUNS)
    assert "__MIN" not in str(caught.value)


def test_a_chosen_run_has_only_its_own_held_out_loss(tmp_path):
    first, second = (read(tmp_path, TWO_RUNS, loss=name) for name in ("a - loss", "b - loss"))
    assert is_plain(first)
    assert len(first.held_out) == 0
    assert (second.steps.tolist(), second.held_out.tolist()) == ([0], [6.0])


def test_a_column_may_say_which_run_a_row_is_of(tmp_path):
    text = "run,step,loss,lr\na,0,2.9,1\nb,0,5,2\na,500,2.8,1\nb,500,6,2\na,1000,2.7,1\n"
    with pytest.raises(sedd.DataError, match="'a - loss', 'b - loss'"):
        read(tmp_path, text)
    curve = read(tmp_path, text, loss="a - loss")
    assert is_plain(curve)
    assert curve.lr is not None
    assert curve.lr.tolist() == [1, 1, 1]
    long = "run,tag,step,value\na,loss,0,2.9\na,loss,500,2.8\na,loss,1000,2.7\nb,loss,0,5\nb,loss,500,4\n"
    assert is_plain(read(tmp_path, long, loss="a - loss"))
    assert is_plain(read(tmp_path, "seed,step,loss\n1,0,2.9\n1,500,2.8\n1,1000,2.7\n"))


@pytest.mark.parametrize("loss", ["foo_ce", "FOO_CE", "foo/ce"])
def test_a_column_may_be_named(loss, tmp_path):
    assert is_plain(read(tmp_path, "step,foo_ce,loss\n0,2.9,1\n500,2.8,1\n1000,2.7,1\n", loss=loss))


def test_a_column_of_a_table_without_names_may_be_named_by_its_number(tmp_path):
    assert is_plain(read(tmp_path, "0,7.5,2.9\n500,7.5,2.8\n1000,7.5,2.7\n", loss="3"))


def test_a_validation_loss_may_be_chosen_as_the_loss_and_is_then_not_held_out(tmp_path):
    curve = read(tmp_path, "step,loss,val_loss\n0,,2.9\n500,1,2.8\n1000,,2.7\n", loss="val_loss")
    assert is_plain(curve)
    assert len(curve.held_out) == 0


@pytest.mark.parametrize("text", ["step,loss,lr\n0,2.9,1\n", "0,2.9,1\n"])
def test_a_column_that_does_not_exist_is_an_error_that_lists_the_columns(text, tmp_path):
    with pytest.raises(sedd.ConfigError) as caught:
        read(tmp_path, text, loss="nll")
    assert ("'lr'" in str(caught.value)) == ("lr" in text)
    assert ("'3'" in str(caught.value)) == ("lr" not in text)


def test_a_logger_s_own_counter_comes_after_the_optimizer_steps(tmp_path):
    text = '"Step","a - train/global_step","a - _step","a - train/loss"\n1,0,1,2.9\n2,500,2,2.8\n3,1000,3,2.7\n'
    curve = read(tmp_path, text)
    assert is_plain(curve)
    assert any("'a - _step'" in note for note in curve.notes)


def test_a_clock_that_most_losses_do_not_have_is_not_used(tmp_path):
    text = "_step,global_step,loss\n0,,2.9\n500,,2.8\n1000,7,2.7\n"
    assert is_plain(read(tmp_path, text))


def test_several_held_out_losses_are_not_used_and_a_note_lists_them(tmp_path):
    curve = read(tmp_path, "step,loss,val_a_loss,val_b_loss\n0,2.9,1,1\n500,2.8,1,1\n1000,2.7,1,1\n")
    assert is_plain(curve)
    assert len(curve.held_out) == 0
    assert any("'val_a_loss', 'val_b_loss'" in note for note in curve.notes)


def test_validation_comes_before_test(tmp_path):
    curve = read(tmp_path, "step,loss,test_loss,val_loss\n0,2.9,1,3\n500,2.8,1,3\n1000,2.7,1,3\n")
    assert curve.held_out.tolist() == [3, 3, 3]


def test_a_held_out_loss_that_cannot_be_read_leaves_the_curve_alone(tmp_path):
    curve = read(tmp_path, "step,loss,val_loss\n0,2.9,-1\n500,2.8,1\n1000,2.7,1\n")
    assert is_plain(curve)
    assert len(curve.held_out) == 0


def test_the_unit_is_that_of_the_user(tmp_path):
    assert read(tmp_path, "0,2.9\n").unit is None
    assert read(tmp_path, "0,2.9\n", unit="bits").unit == "bits"
    with pytest.raises(sedd.ConfigError):
        read(tmp_path, "0,2.9\n", unit="nits")
