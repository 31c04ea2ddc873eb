"""The page of the planted faults, `docs/planted-faults.md`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.planted_faults.fault import Fault, Room
from tests.planted_faults.planting import Answer
from tests.processes import ROOT

PAGE = ROOT / "docs" / "planted-faults.md"
TEXT = """\
# Planted faults

Do the tests notice a mistake? Each row below is one that anyone could make: a sign, a missing factor, an index off by
one, a wrong axis, two arguments swapped, a stale cache. `make faults` plants them one at a time in a copy of the tree,
runs the tests of `make test` that are about the room until one fails, and writes this page; do not edit it.

**{count} faults, {caught} caught.**

{tables}

## To repeat it, and to add one

```console
$ make faults
$ .venv/bin/python -m tests.planted_faults --only data --only sampling --answers answers.jsonl
```

With `--answers` what is known already is read from the file, so that an interrupted run goes on. `--everything` tries
all tests of `make test` where those of the room notice nothing. A fault is a line in `tests/planted_faults/in_ROOM.py`:
the file, the right text, the wrong text. The right text must be in the file exactly once: a test looks, so that the
list follows the code. Where no test notices, write the missing one.
"""


def text_of(rooms: Sequence[Room], answers: Mapping[str, Answer]) -> str:
    """The page, in Markdown."""
    faults = [fault for room in rooms for fault in room.faults]
    return TEXT.format(
        count=len(faults),
        caught=sum(answers[fault.name].caught_by is not None for fault in faults),
        tables="\n\n".join(_table(room, answers) for room in rooms),
    )


def write(rooms: Sequence[Room], answers: Mapping[str, Answer], path: Path = PAGE) -> None:
    """Write the page."""
    path.write_text(text_of(rooms, answers), encoding="utf-8")


def _table(room: Room, answers: Mapping[str, Answer]) -> str:
    lines = [f"## {room.name.capitalize()}", "", "| fault | file | caught by |", "|---|---|---|"]
    return "\n".join([*lines, *(_row(fault, answers[fault.name]) for fault in room.faults)])


def _row(fault: Fault, answer: Answer) -> str:
    test = answer.caught_by
    caught = "**not caught**" if test is None else f"`{test.rpartition('::')[2].partition('[')[0]}`"
    return f"| {fault.name} | `{fault.file}` | {caught} |"
