"""Text logs: lines with names and numbers."""

from __future__ import annotations

import math

import pytest

import sedd
from tests.diagnosis.logs import LOSSES, STEPS, is_plain, read


def text(form: str) -> str:
    """Lines of the three losses; `{s}`, `{x}` stand for step and loss."""
    return "".join(form.format(s=step, x=loss) + "\n" for step, loss in zip(STEPS, LOSSES, strict=True))


SAME_TEXT = {
    "SEDD": "Training started. loss: score_entropy\n" + text("step: {s}, training_loss: {x:.2e}"),
    "SEDD with a time": text("2024-01-01 12:00:00,123 - step: {s}, training_loss: {x:.2e}"),
    "bars": text("step {s} | loss {x} | lr 1e-4 | 12.3k tok/s"),
    "progress in brackets": text("[{s}/5000] loss={x}"),
    "tqdm": text("\rtrain:   2%|▏  | {s}/5000 [00:10<08:00, 10.1it/s, loss={x}]"),
    "nanoGPT": text("iter {s}: loss {x}, time 123.45ms, mfu 3.1%"),
    "Megatron": text(
        " iteration {s:8}/   50000 | consumed samples: 25600 | elapsed time per iteration (ms): 1234.5 | "
        "learning rate: 1.0E-04 | lm loss: {x:.6E} | loss scale: 1.0 | grad norm: 1.234 |"
    ),
    "dictionaries": text("{{'step': {s}, 'loss': tensor({x}, device='cuda:0')}}"),
    "colours": text("\x1b[32mstep\x1b[0m: {s}, \x1b[1mloss\x1b[0m: \x1b[31m{x}\x1b[0m"),
    "decimal commas": text("step: {s}; loss: {x}; lr: 0.1").replace(".", ","),
    "steps on lines of their own": text("Step #{s}:\n  loss: {x}\n  acc: 0.5"),
    "numbers with #": text("step #{s} loss {x}"),
    "a mean beside it": text("Train Step: {s} Train Loss: {x} ({x})"),
}


@pytest.mark.parametrize("form", SAME_TEXT)
def test_a_text_log_may_be_of(form, tmp_path):
    assert is_plain(read(tmp_path, SAME_TEXT[form], "train.log"))


def test_a_text_log_of_sedd_has_held_out_losses(tmp_path):
    lines = (
        "step: 0, training_loss: 5.32e+03\nstep: 100, evaluation_loss: 5.30e+03\nstep: 100, training_loss: 5.1e+03\n"
    )
    curve = read(tmp_path, lines, "logs")
    assert (curve.steps.tolist(), curve.losses.tolist()) == ([0, 100], [5320, 5100])
    assert (curve.held_out_steps.tolist(), curve.held_out.tolist()) == ([100], [5300])


def test_words_before_a_name_belong_to_it(tmp_path):
    lines = text("step {s}: train loss {x}, val loss 3.0, learning rate 1e-4, grad norm: 0.5")
    curve = read(tmp_path, lines, "train.log")
    assert is_plain(curve)
    assert curve.held_out.tolist() == [3, 3, 3]
    assert curve.lr is not None
    assert curve.lr.tolist() == [1e-4] * 3
    assert curve.grad_norm is not None
    assert curve.grad_norm.tolist() == [0.5] * 3


def test_lines_of_different_kinds_may_name_the_step_differently(tmp_path):
    lines = "".join(f"iter {step}: loss {3 - step / 1e4}, time 1.5ms\n" for step in range(0, 1000, 10))
    curve = read(
        tmp_path, f"step 0: train loss 3.1, val loss 3.2\n{lines}step 990: train loss 2.9, val loss 3.0\n", "l.log"
    )
    assert len(curve) == 100
    assert curve.losses[0] == 3.0
    assert (curve.held_out_steps.tolist(), curve.held_out.tolist()) == ([0, 990], [3.2, 3.0])


def test_lines_about_held_out_data_are_no_training_losses(tmp_path):
    lines = (
        "step 0: loss 2.9\nEval step 0: loss 3.9\nstep 500: loss 2.8\n[val] step 500 loss 3.5\n"
        "step 1000: loss 2.7\nValidation | step: 1000 | loss: 3\n"
    )
    curve = read(tmp_path, lines, "train.log")
    assert is_plain(curve)
    assert curve.held_out.tolist() == [3.9, 3.5, 3.0]


@pytest.mark.parametrize("prefix", ["[test] ", "test: ", "[x test.py:20] "])
def test_a_prefix_of_every_line_is_not_about_held_out_data(prefix, tmp_path):
    assert is_plain(read(tmp_path, text(prefix + "step {s}: loss {x}"), "train.log"))


@pytest.mark.parametrize(
    "other", ["New best loss 2.5 at step 0", "best loss: 2.5, step: 0", "previous loss 3 (step 0)"]
)
def test_a_line_about_the_best_loss_is_no_return_to_its_step(other, tmp_path):
    lines = text("step {s}: loss {x}").replace("\n", f"\n{other}\n")
    curve = read(tmp_path, lines, "train.log")
    assert is_plain(curve)
    assert not any("goes back" in note for note in curve.notes)


def test_other_losses_of_a_line_are_not_mistaken_for_the_loss(tmp_path):
    assert is_plain(read(tmp_path, text("step {s}: aux loss 0.1, INFO loss {x}"), "train.log"))
    with pytest.raises(sedd.DataError, match="'aux loss', 'ce loss'"):
        read(tmp_path, text("step {s}: aux loss 0.1, ce loss {x}"), "train.log")


EPOCHS = {
    "Epoch [{e}/3], Step [{s}/100], Loss: {x}": 1,
    "Epoch: [{e}][{s:4}/100]\tTime 0.1 ( 0.2)\tLoss {x} (2.95)": 0,
    "| epoch {e:03}:    {s} / 100 loss={x}, ppl=3, lr=0.1": 1,
    "\rEpoch {e}:  2%|#   | {s}/100 [00:10<08:00, 10.1it/s, loss={x}]": 0,
    "{s}/100 [====>....] - ETA: 1s - loss: {x} - acc: 0.5": 0,
}
"""Lines with steps within epochs of 100 steps, and the number of the first epoch."""


@pytest.mark.parametrize("form", EPOCHS)
def test_progress_within_epochs_is_counted_on(form, tmp_path):
    first = EPOCHS[form]
    lines = [form.format(e=e + first, s=s, x=2.5) for e in range(3) for s in range(10, 101, 10)]
    curve = read(tmp_path, "\n".join(lines) + "\n", "train.log")
    assert curve.steps.tolist() == list(range(10, 301, 10))


BAD_TEXT = {
    "thousands": "step 0: loss 2.9\nstep 1,000: loss 2.8\n",
    "samples instead of steps": "Epoch: 1 [0/60000 (0%)]\tLoss: 2.9\nEpoch: 1 [640/60000 (1%)]\tLoss: 2.8\n",
    "epochs alone": "{'loss': 2.9, 'learning_rate': 1e-4, 'epoch': 0.01}\n{'loss': 2.8, 'epoch': 0.02}\n",
    "prose": "The loss fell in 5 steps.\n",
    "HTML": "<html><body>step loss</body></html>",
}


@pytest.mark.parametrize("form", BAD_TEXT)
def test_a_text_without_steps_and_losses_is_an_error(form, tmp_path):
    with pytest.raises(sedd.DataError):
        read(tmp_path, BAD_TEXT[form], "train.log")


def test_a_text_keeps_losses_that_are_not_finite(tmp_path):
    losses = read(tmp_path, "step 0 loss 2.9\nstep 1 loss nan\nstep 2 loss: -inf, x\n", "train.log").losses
    assert [math.isfinite(loss) for loss in losses] == [True, False, False]
