"""What is shown while something runs."""

from __future__ import annotations

import io
import time

import pytest
from rich.console import Console

from sedd.terminal import activity as shown
from sedd.terminal.activity import activity, time_left


def recorded(*, terminal: bool, width: int = 80) -> tuple[Console, io.StringIO]:
    output = io.StringIO()
    return Console(file=output, force_terminal=terminal, width=width, highlight=False), output


def test_without_a_terminal_what_is_over_at_once_prints_nothing() -> None:
    console, output = recorded(terminal=False)
    with activity("judging", 10, console=console) as update:
        update(10)
    assert output.getvalue() == ""


def test_without_a_terminal_what_goes_on_is_said_and_then_how_long_it_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shown, "SILENT_SECONDS", 0.01)
    monkeypatch.setattr(shown, "LINE_SECONDS", 0.0)
    console, output = recorded(terminal=False)
    with activity("judging 10 samples", 10, console=console) as update:
        while not output.getvalue():  # even if nothing reports how much is done
            time.sleep(0.005)
        update(5)
    first, second = output.getvalue().splitlines()
    assert first == "judging 10 samples ..."
    assert second.startswith("judging 10 samples: 50%, ")
    assert second.endswith(" left")


def test_in_a_terminal_of_80_columns_the_time_left_is_readable() -> None:
    console, output = recorded(terminal=True)
    with activity("evaluating 1,000 sequences", 100, console=console) as update:
        time.sleep(0.15)
        update(50)
        time.sleep(0.15)
    assert " left" in output.getvalue()


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.2, "0 s left"),
        (99.0, "99 s left"),
        (120.0, "2 min left"),
        (5900.0, "98 min left"),
        (7500.0, "2 h 05 min left"),
    ],
)
def test_the_time_left_has_no_more_digits_than_are_known(seconds: float, text: str) -> None:
    assert time_left(seconds) == text
