"""Runs commands in the process of the test, and compares what they print with golden texts."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path

import pytest
from typer.testing import CliRunner

from sedd import cli
from tests.golden import assert_golden

GOLDEN = Path(__file__).parent / "golden"


def sedd_(*arguments: str | Path, exit_code: int = 0) -> str:
    """The output of a command, which must end with `exit_code`."""
    result = CliRunner().invoke(cli.app, [str(argument) for argument in arguments], catch_exceptions=False)
    assert result.exit_code == exit_code, result.output
    return result.output


def failed(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *arguments: str | Path) -> str:
    """Standard error of a command that must end with one message and exit code 2."""
    monkeypatch.setattr(sys, "argv", ["sedd", *map(str, arguments)])
    capsys.readouterr()
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == 2
    printed = capsys.readouterr().err
    assert (printed.count("error: "), printed.count("Traceback")) == (1, 0)
    return printed


def assert_printed(name: str, text: str, paths: Mapping[str | Path, str] | None = None) -> None:
    """Assert that a command printed the golden text `name`."""
    assert_golden(text, GOLDEN / f"{name}.txt", paths)


def assert_errors(
    name: str,
    commands: list[list[str]],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    paths: Mapping[str | Path, str] | None = None,
) -> None:
    """Assert that every command fails with the message of the golden text `name`."""
    found = [f"$ sedd {' '.join(command)}\n{failed(monkeypatch, capsys, *command)}" for command in commands]
    assert_printed(name, "\n".join(found), paths)
