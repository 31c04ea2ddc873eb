"""The list of planted faults fits the code, and a fault in a toy tree is caught, remembered, and taken out again."""

from __future__ import annotations

import ast
import shutil
from pathlib import Path

import pytest

from tests.planted_faults import page
from tests.planted_faults.__main__ import main
from tests.planted_faults.fault import Fault, PlantingError, Room
from tests.planted_faults.planting import Answer, Tree, answers, read
from tests.planted_faults.rooms import ROOMS
from tests.processes import ROOT

FAULTS = [fault for room in ROOMS for fault in room.faults]
WRONG = Fault("sign", "sums.py", "a + b", "a - b")
HARMLESS = Fault("order", "sums.py", "a + b", "b + a")
ENOUGH = 60


def test_the_right_text_of_every_fault_is_in_its_file_exactly_once() -> None:
    for fault in FAULTS:
        right = (ROOT / "src" / "sedd" / fault.file).read_text(encoding="utf-8")
        assert ast.dump(ast.parse(fault.planted(right))) != ast.dump(ast.parse(right)), fault.name


def test_faults_have_names_of_their_own_and_tests_that_exist() -> None:
    assert len({fault.name for fault in FAULTS}) == len(FAULTS) >= ENOUGH
    tests = {name for room in ROOMS for fault in room.faults for name in room.tests_of(fault)}
    assert [name for name in sorted(tests) if not (ROOT / "tests" / name).exists()] == []


def test_the_page_has_every_fault_and_none_that_is_not_caught() -> None:
    rows = [line.split(" | ") for line in page.PAGE.read_text(encoding="utf-8").splitlines() if line.startswith("| ")]
    shown = [(cells[0].removeprefix("| "), cells[1].strip("`")) for cells in rows if cells[0] != "| fault"]
    assert shown == [(fault.name, fault.file) for fault in FAULTS]
    tests = "".join(file.read_text(encoding="utf-8") for file in (ROOT / "tests").rglob("test_*.py"))
    named = {cells[2].rstrip(" |").strip("`") for cells in rows if cells[0] != "| fault"}
    assert sorted(name for name in named if f"def {name}(" not in tests) == []
    assert "not caught" not in page.PAGE.read_text(encoding="utf-8")


@pytest.mark.parametrize("old", ["a * b", "a"])
def test_a_text_that_is_missing_or_ambiguous_cannot_be_planted(old: str) -> None:
    with pytest.raises(PlantingError):
        Fault("a fault", "sums.py", old, "b").planted("return a + b + a")


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    """A copy of a toy tree: a function, and a test of it."""
    root = tmp_path / "root"
    (root / "src" / "sedd").mkdir(parents=True)
    (root / "tests").mkdir()
    (root / "pyproject.toml").write_text('[tool.pytest.ini_options]\nmarkers = ["long"]\n')
    (root / "src" / "sedd" / "__init__.py").touch()
    (root / "src" / "sedd" / "sums.py").write_text("def total(a, b):\n    return a + b\n")
    (root / "tests" / "test_sums.py").write_text(
        "from sedd.sums import total\n\n\ndef test_a_total():\n    assert total(3, 2) == 5\n"
    )
    tree = Tree(tmp_path / "copy", root)
    shutil.rmtree(root)  # only the copy is worked on
    return tree


def test_a_fault_is_caught_remembered_and_taken_out_again(tree: Tree, tmp_path: Path) -> None:
    room, known = Room("toys", ("test_sums.py",), (WRONG, HARMLESS)), tmp_path / "answers.jsonl"
    said: list[str] = []
    found = list(answers([room], tree, known, everything=False, say=said.append))
    assert [answer.caught_by for answer in found] == ["tests/test_sums.py::test_a_total", None]
    assert all(answer.cpu_seconds > 0 for answer in found)
    assert (tree.folder / "src" / "sedd" / "sums.py").read_text().endswith("return a + b\n")
    assert [*read(known).values()] == found
    assert len(said) == 2
    only_wrong = Room("toys", ("test_sums.py",), (WRONG,))
    assert list(answers([only_wrong], tree, known, everything=False, say=said.append)) == found[:1]
    assert len(said) == 2  # nothing was run again


def test_a_test_that_fails_without_a_fault_is_an_error(tree: Tree, tmp_path: Path) -> None:
    (tree.folder / "tests" / "test_sums.py").write_text("def test_wrong():\n    assert 0\n")
    with pytest.raises(PlantingError):
        list(answers([Room("toys", ("test_sums.py",), (WRONG,))], tree, tmp_path / "answers", everything=False))


def test_the_exit_code_says_whether_all_were_caught(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.planted_faults.__main__.Tree", lambda folder: None)
    rooms = [Room("toys", ("test_sums.py",), (WRONG, HARMLESS))]

    def found(caught: str | None) -> list[Answer]:
        return [Answer("sign", "", "", "a.py::test", 1.0), Answer("order", "", "", caught, 1.0)]

    for caught, code in (("a.py::test_b[1]", 0), (None, 1)):
        monkeypatch.setattr("tests.planted_faults.__main__.answers", lambda *a, caught=caught, **o: found(caught))
        monkeypatch.setattr(page, "PAGE", tmp_path / "page.md")
        assert main(["--only", "toys"], rooms) == code
        text = page.text_of(rooms, {answer.name: answer for answer in found(caught)})
        assert f"**2 faults, {2 - code} caught.**" in text
        assert ("| order | `sums.py` | `test_b` |" in text) == (code == 0)
