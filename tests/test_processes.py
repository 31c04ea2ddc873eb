"""Nothing in the current directory is ever imported: not by ranks, not by workers, not as a plugin."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from sedd.plugins.registry import installed_entry_points
from sedd.processes import HOME, installed_path, python_command, safe_children, safe_environment

NAMES = ("random", "signal", "pickle", "json", "struct", "numpy", "torch", "yaml", "sedd", "sitecustomize", "worker")


@pytest.fixture
def downloads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current directory: files with the names of modules, and a distribution. Each notes in `ran` that it ran."""
    folder = tmp_path / "downloads"
    folder.mkdir()
    note = f"open({str(tmp_path / 'ran')!r}, 'a').write(__file__)\n"
    for name in NAMES:
        (folder / f"{name}.py").write_text(note)
    (folder / "lurking.py").write_text(note)
    information = folder / "lurking-1.0.dist-info"
    information.mkdir()
    (information / "METADATA").write_text("Metadata-Version: 2.1\nName: lurking\nVersion: 1.0\n")
    (information / "entry_points.txt").write_text("[sedd]\nlurking = lurking\n")
    monkeypatch.chdir(folder)
    return folder


def started(*command: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a command, with an empty entry in PYTHONPATH, which stands for the current directory."""
    variables = os.environ | {"PYTHONPATH": os.pathsep.join(["", HOME])} | environment
    done = subprocess.run(command, capture_output=True, text=True, env=safe_environment(variables), check=False)
    assert done.returncode == 0, done.stderr
    return done


def test_a_rank_imports_nothing_from_the_current_directory(downloads: Path) -> None:
    listed = started(*python_command("-m", "sedd", "plugins")).stdout
    assert "linear" in listed
    assert "lurking" not in listed
    assert not (downloads.parent / "ran").exists()


@pytest.mark.long
def test_a_worker_imports_nothing_from_the_current_directory(downloads: Path) -> None:
    program = (
        "import sys; from sedd.data.prepare.parallel import map_in_order\n"
        "sys.path.insert(0, '')\n"  # as in a notebook or with `python -c`
        "print(list(map_in_order(abs, [-1, -2], workers=1)), list(map_in_order(abs, [-1, -2], workers=2)))"
    )
    assert started(*python_command("-c", program)).stdout == "[1, 2] [1, 2]\n"
    assert not (downloads.parent / "ran").exists()


@pytest.mark.parametrize("entry", ["", "."])
def test_a_distribution_that_lies_in_the_current_directory_is_no_plugin(
    downloads: Path, monkeypatch: pytest.MonkeyPatch, entry: str
) -> None:
    monkeypatch.setattr(sys, "path", [entry and str(downloads), *sys.path])
    assert "lurking" not in [found.name for found in installed_entry_points()]
    monkeypatch.setenv("PYTHONPATH", str(downloads))  # now the user names it
    monkeypatch.setattr(sys, "path", [str(downloads), *sys.path])
    assert "lurking" in [found.name for found in installed_entry_points()]


def test_packages_stay_on_the_path(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    site = next(path for path in sys.path if path.endswith("site-packages"))
    monkeypatch.setattr(sys, "path", ["", str(tmp_path), "/elsewhere", site, str(tmp_path), HOME])
    assert installed_path() == ["/elsewhere", site, str(tmp_path), HOME]  # what a .pth file names comes after it


def entries(path: str) -> list[str]:
    """The directories of a search path. An empty one has none, as where sedd is installed; an empty entry is `.`."""
    return path.split(os.pathsep) if path else []


def test_children_of_the_command_line_are_safe_and_the_environment_is_put_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PYTHONSAFEPATH", raising=False)
    monkeypatch.setenv("PYTHONPATH", os.pathsep)
    with safe_children():
        assert os.environ["PYTHONSAFEPATH"] == "1"
        assert "" not in entries(os.environ["PYTHONPATH"])
    assert "PYTHONSAFEPATH" not in os.environ
    assert os.environ["PYTHONPATH"] == os.pathsep


def test_the_environment_names_no_current_directory() -> None:
    for given in ("", os.pathsep, os.pathsep + HOME, HOME + os.pathsep):
        made = safe_environment({"PYTHONPATH": given, "HOME": "/h"})
        assert "" not in entries(made["PYTHONPATH"])
        assert (made["HOME"], made["PYTHONSAFEPATH"]) == ("/h", "1")
