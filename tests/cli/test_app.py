"""Options of all commands: help, version, quiet; and output that cannot be written or encoded."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer.main
from typer.testing import CliRunner

import sedd
from sedd.cli import app
from sedd.cli.console import err, problems
from tests.cli.commands import sedd_
from tests.conftest import TINY


@pytest.fixture(autouse=True)
def loud_again() -> Iterator[None]:
    yield
    err.quiet = False


def commands() -> Iterator[list[str]]:
    group = typer.main.get_command(app)
    for name, command in group.commands.items():  # type: ignore[attr-defined]
        yield from ([name, inner] for inner in getattr(command, "commands", {"": None}))


def test_the_version_is_that_of_the_package() -> None:
    assert sedd_("--version") == sedd_("-V") == f"sedd {sedd.__version__}\n"


@pytest.mark.parametrize("words", list(commands()), ids=" ".join)
def test_every_command_has_help_and_quiet(words: list[str]) -> None:
    printed = sedd_(*filter(None, words), "-h")
    assert "--quiet" in printed


def test_quiet_leaves_results_and_warnings(tmp_path: Path) -> None:
    loud = sedd_("train", "quickstart", *TINY, "--run", tmp_path / "loud")
    for number, words in enumerate((["-q", "train", "quickstart", *TINY], ["train", "quickstart", *TINY, "--quiet"])):
        printed = sedd_(*words, "--run", tmp_path / str(number))
        assert "parameters on" in loud
        assert "parameters on" not in printed
        assert "step 8/8" not in printed
        assert "held-out bound" in printed
        assert not problems.quiet
        err.quiet = False


@pytest.mark.parametrize("streams", [">&- 2>&-", pytest.param(">/dev/full 2>/dev/full", marks=pytest.mark.long)])
def test_a_run_is_saved_whatever_happens_to_its_output(streams: str, tmp_path: Path) -> None:
    words = ["train", "quickstart", *TINY, "training.log_every=1", "--run", str(tmp_path / "run"), "--samples", "0"]
    command = " ".join([sys.executable, "-m", "sedd", *words, streams])
    environment = os.environ | {"PYTHONIOENCODING": "ascii"}
    subprocess.run(["bash", "-c", command], capture_output=True, env=environment, check=False)
    assert (tmp_path / "run" / "checkpoints" / "step-00000008").is_dir()


@pytest.mark.parametrize(
    ("typed", "expected"),
    [
        ("sedd tr", ["train"]),
        ("sedd train uniref50", ["uniref50", "uniref50_aggressive", "uniref50_stable"]),
        ("sedd train m", ["mine.yaml"]),
        ("sedd forecast q", ["quickstart"]),
    ],
)
def test_commands_presets_and_run_files_are_completed(
    typed: str, expected: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("mine.yaml").write_text("seed: 1\n")
    words = typed.split()
    environment = {"_SEDD_COMPLETE": "complete_bash", "COMP_WORDS": typed, "COMP_CWORD": str(len(words) - 1)}
    found = CliRunner().invoke(app, [], prog_name="sedd", env=environment)
    assert found.output.split() == expected
