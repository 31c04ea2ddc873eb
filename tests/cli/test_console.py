"""Progress of the preparation of data, and durations."""

from __future__ import annotations

import io
import logging
import warnings

import pytest
from rich.console import Console

from sedd import cli
from sedd.cli.console import attach_logging
from sedd.data.prepare import progress
from sedd.data.prepare.progress import DataProgress
from sedd.terminal.activity import duration


@pytest.mark.parametrize("error", [MemoryError(), RuntimeError("DefaultCPUAllocator: can't allocate memory")])
def test_too_little_memory_is_one_message_and_exit_code_2(monkeypatch, capfd, error) -> None:
    def fails() -> None:
        raise error

    monkeypatch.setattr(cli, "app", fails)
    monkeypatch.setattr(warnings, "showwarning", warnings.showwarning)  # `main` replaces it
    with pytest.raises(SystemExit) as caught:
        cli.main()
    assert caught.value.code == 2
    assert "out of memory" in capfd.readouterr().err


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(progress, "time", clock)
    return clock


def recorded(*, terminal: bool) -> tuple[Console, io.StringIO]:
    output = io.StringIO()
    return Console(file=output, force_terminal=terminal, width=140, highlight=False), output


def test_without_a_terminal_there_is_a_line_every_30_seconds_with_rates_and_time_left(clock: Clock) -> None:
    to, output = recorded(terminal=False)
    with DataProgress(to) as report:
        report(100_000_000, 900_000_000, 1000)  # a restart: what was done before does not count
        for _ in range(8):
            clock.now += 10
            report(report.now[1] + 10_000_000, 900_000_000, report.now[2] + 50_000)
    assert output.getvalue().splitlines() == [
        "preparing data: 130 of 900 MB, 151,000 sequences, 1.0 MB/s, 5,000 sequences/s, 12.8 min left",
        "preparing data: 160 of 900 MB, 301,000 sequences, 1.0 MB/s, 5,000 sequences/s, 12.3 min left",
    ]
    assert report.summary() == "prepared 80.0 MB of file and 400,000 sequences in 80.0 s: 1.0 MB/s, 5,000 sequences/s"


def test_in_a_terminal_there_is_a_bar_that_goes_away(clock: Clock) -> None:
    to, output = recorded(terminal=True)
    with DataProgress(to) as report:
        report(0, 100, 0)
        clock.now += 1
        report(50, 100, 7)
        report.bar.refresh()
        assert "7 sequences, 0.0 MB/s, 7 sequences/s" in output.getvalue()
    assert "left" not in output.getvalue()


def test_nothing_is_shown_for_data_that_are_prepared_already(clock: Clock) -> None:
    for terminal in (True, False):
        to, output = recorded(terminal=terminal)
        with DataProgress(to) as report:
            pass
        assert output.getvalue() == ""
        assert report.summary() is None


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.0, "0.00 s"),
        (99.94, "99.9 s"),
        (150.0, "2.50 min"),
        (7190.0, "120 min"),
        (7200.0, "2.00 h"),
        (4e6, "1,111 h"),
    ],
)
def test_a_duration_has_a_unit_of_its_size(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_messages_of_the_library_go_to_standard_error(capsys: pytest.CaptureFixture[str]) -> None:
    attach_logging()
    attach_logging()  # one handler, however often
    logging.getLogger("sedd.anything").info("prepared [1/2]")
    printed = capsys.readouterr()
    assert (printed.out, printed.err.strip()) == ("", "prepared [1/2]")
