"""95 % intervals and how they are printed."""

from __future__ import annotations

import io
import math

import pytest
from rich.console import Console

from sedd.config.sections import Training
from sedd.diffusion.loss_profile import LossProfile
from sedd.evaluation.bound import Bound
from sedd.evaluation.intervals import Z95, decimals, half_width, plus_minus, student, with_error
from sedd.runs.step_report import StepReport
from sedd.training.progress import Display


@pytest.mark.parametrize(("freedom", "quantile"), [(4, 2.7764), (10, 2.2281), (30, 2.0423), (1e9, 1.959964)])
def test_the_quantile_is_that_of_student(freedom, quantile):
    assert student(freedom) == pytest.approx(quantile, rel=5e-3)


def test_the_half_width_of_a_bound_is_that_of_its_standard_error():
    bound = Bound(nats=2.5, stderr=0.01, trained=2.5, sequences=200, residues=1, cropped=0)
    assert bound.half_width == half_width(0.01, 200) == pytest.approx(Z95 * 0.01, rel=0.02)


@pytest.mark.parametrize(
    ("value", "error", "text"),
    [
        (1.23456, 0.0123, "+1.235 ± 0.012"),
        (-1.23456, 0.0996, "-1.23 ± 0.10"),
        (123.456, 23.0, "+123 ± 23"),
        (0.5, 0.0, "+0.50 ± 0.00"),
        (0.1234, math.nan, "about +0.12"),
    ],
)
def test_a_number_has_as_many_decimals_as_its_error(value, error, text):
    assert plus_minus(value, error) == text


def test_decimals_are_bounded():
    assert decimals(1e-12) == 6
    assert decimals(math.nan) == 4


def test_an_error_that_is_not_known_is_no_number():
    after = with_error(2.5, math.inf).removeprefix("2.5000")
    assert not any(character.isdigit() or character == "±" for character in after)


def test_progress_says_once_what_the_sign_means_and_has_no_infinite_error():
    def report(step: int, sequences: int) -> StepReport:
        stderr = 0.01 if sequences > 2 else math.inf
        return StepReport(
            step=step, loss=2.0, difficulty=1.0, mask_rate=0.5, mask_rate_max=1.0, grad_norm=1.0, lr=1e-3, residues=10,
            residues_per_second=1.0, skipped=False, skipped_total=0, bins=LossProfile(), token_counts=(),
            bound=Bound(2.5, stderr, 2.5, sequences, 100, 0),
        )  # fmt: skip

    console = Console(file=io.StringIO(), width=200)
    display = Display(Training(n_iters=3, log_every=1), console=console)
    for step, sequences in ((1, 1), (2, 50), (3, 50)):
        display.update(report(step, sequences))
    lines = console.file.getvalue().splitlines()  # type: ignore[attr-defined]  # it is a StringIO
    assert ["±" in line for line in lines] == [False, True, True]
    assert [line.count("95 %") for line in lines] == [0, 1, 0]
    assert "inf" not in lines[0].split()
