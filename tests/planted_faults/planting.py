"""Plants faults in a copy of the tree, one at a time, and runs the tests that should notice."""

from __future__ import annotations

import json
import os
import re
import resource
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from tests.planted_faults.fault import Fault, PlantingError, Room
from tests.processes import ROOT

COPIED = (
    "src", "tests", "docs", "benchmarks", "plugins", "scripts", "pyproject.toml", "mkdocs.yml", "Makefile", "README.md",
    "CONTRIBUTING.md", "CHANGELOG.md", "SECURITY.md", "CITATION.cff", "LICENSE", "constraints.txt",
)  # fmt: skip
FAILED = re.compile(r"^(?:FAILED|ERROR) (\S+?\.py)(?:::(.*?))?(?: - .*)?$", re.MULTILINE)
HANGS = 1800
"""Seconds after which the tests of a fault are ended; a fault may make a loop endless."""


@dataclass(frozen=True)
class Answer:
    """What became of a fault."""

    name: str
    old: str
    """The right text, by which an answer about an older version of the fault is known."""
    new: str
    caught_by: str | None
    """The first test that failed, as `file::test`; None if none did."""
    cpu_seconds: float


class Tree:
    """A copy of the tree in which faults are planted.

    Args:
        folder: where the copy is to be made; what is there is replaced.
        root: the tree to copy.
    """

    def __init__(self, folder: Path, root: Path = ROOT) -> None:
        self.folder = folder
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        hidden = shutil.ignore_patterns("__pycache__", ".*")
        for name in COPIED:
            if (root / name).is_dir():
                shutil.copytree(root / name, folder / name, ignore=hidden)
            elif (root / name).exists():
                shutil.copy(root / name, folder / name)
        beside = folder.parent / "shared"  # real sequences, which some tests look for beside the tree
        if (root.parent / "shared").is_dir() and not os.path.lexists(beside):
            beside.symlink_to((root.parent / "shared").resolve())

    def answer(self, fault: Fault, tests: Sequence[str]) -> Answer:
        """Plant a fault, run tests until one fails, and take the fault out again."""
        file = self.folder / "src" / "sedd" / fault.file
        right = file.read_text(encoding="utf-8")
        before = _cpu_seconds()
        try:
            _write(file, fault.planted(right))
            caught_by = self.first_failure(tests)
        finally:
            _write(file, right)
        return Answer(fault.name, fault.old, fault.new, caught_by, round(_cpu_seconds() - before, 1))

    def first_failure(self, tests: Sequence[str]) -> str | None:
        """Run test files, relative to `tests`, until a test fails; its name, or None if all pass.

        Raises:
            PlantingError: if pytest could not run them.
        """
        command = [sys.executable, "-m", "pytest", "-x", "-n", "0", "-rfE", "--tb=no", "-m", "not long"]
        command += [f"tests/{name}" for name in tests]
        paths = [str(self.folder / "src"), *filter(None, [os.environ.get("PYTHONPATH")])]
        environment = os.environ | {"PYTHONPATH": os.pathsep.join(paths), "OMP_NUM_THREADS": "1"}
        try:
            done = subprocess.run(
                command, cwd=self.folder, env=environment, capture_output=True, text=True, check=False, timeout=HANGS
            )
        except subprocess.TimeoutExpired:
            return f"tests/{tests[0]}::(endless)"
        if done.returncode == 0:
            return None
        found = FAILED.search(done.stdout)
        if found is None or done.returncode not in (1, 2):
            raise PlantingError(f"pytest ended with {done.returncode}:\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
        return f"{found[1]}::{found[2] or '(import)'}"


def answers(
    rooms: Sequence[Room], tree: Tree, known: Path, *, everything: bool, say: Callable[[str], object] = print
) -> Iterator[Answer]:
    """The answers for all faults, those in the file `known` taken from there; every new one is added to it.

    Args:
        rooms: their faults are planted.
        tree: where.
        known: a file of answers, one JSON object a line.
        everything: run all tests of `make test` where those of the room notice nothing.
        say: told what goes on.

    Raises:
        PlantingError: if a test of a room fails although no fault is planted.
    """
    earlier = read(known)
    for room in rooms:
        checked = False
        for fault in room.faults:
            answer = earlier.get(fault.name)
            if answer is None or (answer.old, answer.new) != (fault.old, fault.new) or answer.caught_by is None:
                if not checked:
                    _check(tree, room)
                    checked = True
                answer = tree.answer(fault, room.tests_of(fault))
                if answer.caught_by is None and everything:
                    answer = tree.answer(fault, ("",))
                with known.open("a", encoding="utf-8") as file:
                    file.write(json.dumps(asdict(answer)) + "\n")
                say(f"{room.name}: {fault.name}: {answer.caught_by or 'NOT CAUGHT'} ({answer.cpu_seconds:.0f} s)")
            yield answer


def read(known: Path) -> dict[str, Answer]:
    """The answers in a file by the name of their fault, the last one of each; none if there is no file."""
    if not known.exists():
        return {}
    found = (Answer(**json.loads(line)) for line in known.read_text(encoding="utf-8").splitlines())
    return {answer.name: answer for answer in found}


def _check(tree: Tree, room: Room) -> None:
    tests = list(dict.fromkeys(name for fault in room.faults for name in room.tests_of(fault)))
    failed = tree.first_failure(tests)
    if failed is not None:
        raise PlantingError(f"{room.name}: {failed} fails without any fault")


def _write(file: Path, text: str) -> None:
    """Write a module, and remove its compiled form, which Python would take for that of an edit of the same second."""
    file.write_text(text, encoding="utf-8")
    for compiled in (file.parent / "__pycache__").glob(f"{file.stem}.*"):
        compiled.unlink()


def _cpu_seconds() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime
