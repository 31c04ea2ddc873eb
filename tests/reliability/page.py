"""The page of the scoreboard, `docs/reliability.md`."""

from __future__ import annotations

import os
import platform
import re
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import torch

import sedd
from tests.processes import ROOT
from tests.reliability.runner import Outcome

PAGE = ROOT / "docs" / "reliability.md"
TEXT = """\
# Reliability

What happens to a run when something goes wrong, tried by the thousand. `make reliability` writes this page; do not edit
it. Every row is a kind of fault, and every case of it must end in one of two ways: the run, or what was read, is as if
nothing had happened, or there is an error that says what is wrong and what to do, and the run goes on from where it was
saved. What ended otherwise is counted:

* **lost**: work is gone, or a run ends otherwise than without the fault (compared bit for bit: weights, averages,
  moments, state and metrics);
* **silent**: a fault was not noticed;
* **traceback**: something else than a typed error reached the user.

{table}

In all: **{cases:,} cases, {lost} lost, {silent} silent, {tracebacks} tracebacks**, in {minutes:.1f} minutes of {jobs}
processes, at scale {scale:g}.

{failures}## What was measured

{notes}

## How it was produced

On {date}, by sedd {version} with torch {torch}, Python {python} and {cores} cores ({system}), with seed {seed}.
The runs are tiny (two blocks, a hidden size of 16, the CPU), because the faults are the subject: a step takes
milliseconds, and a kill hits every part of it. Rows that could pass by chance have negative controls: a fault is made
on purpose that the check must find, or it counts as silent.

To repeat it, in a clone:

```console
$ make reliability
```

The rows are in `tests/reliability/`, one file per kind. A row that is chosen by name, a smaller scale, another seed:

```console
$ .venv/bin/python -m tests.reliability --only resume --only soak --scale 0.1 --seed 1
```

`.ci/run` runs a tenth of every row for each change, and fails if anything is lost, silent, or a traceback.
"""


def write(outcomes: Sequence[Outcome], *, scale: float, seconds: float, jobs: int, path: Path = PAGE) -> None:
    """Write the page."""
    path.write_text(text_of(outcomes, scale=scale, seconds=seconds, jobs=jobs), encoding="utf-8")


def text_of(outcomes: Sequence[Outcome], *, scale: float, seconds: float, jobs: int) -> str:
    """The page, in Markdown."""
    results = [outcome.result for outcome in outcomes]
    failures = [_escaped(f"{o.row.name}: {detail}") for o in outcomes for detail in o.result.details]
    return TEXT.format(
        table=_table(outcomes),
        cases=sum(result.cases for result in results),
        lost=sum(result.lost for result in results),
        silent=sum(result.silent for result in results),
        tracebacks=sum(result.tracebacks for result in results),
        minutes=seconds / 60.0,
        jobs=jobs,
        scale=scale,
        failures=f"## What failed\n\n{_list(failures)}\n\n" if failures else "",
        notes=_list([f"{o.row.name}: {_escaped(note)}" for o in outcomes for note in o.result.notes]),
        date=datetime.now(UTC).date().isoformat(),
        version=sedd.__version__ if hasattr(sedd, "__version__") else "of this clone",
        torch=torch.__version__,
        python=platform.python_version(),
        cores=os.cpu_count(),
        system=f"{platform.system()} {platform.machine()}",
        seed=outcomes[0].seed if outcomes else 0,
    )


def _table(outcomes: Sequence[Outcome]) -> str:
    lines = [
        "| row | what is tried | cases | lost | silent | tracebacks | seed | seconds |",
        "|---|---|---:|---:|---:|---:|---:|---:|",
    ]
    for outcome in outcomes:
        row, result = outcome.row, outcome.result
        counts = f"{result.cases:,} | {result.lost} | {result.silent} | {result.tracebacks}"
        lines.append(f"| {row.name} | {row.tried} | {counts} | {outcome.seed} | {outcome.seconds:.0f} |")
    return "\n".join(lines)


def _list(items: Sequence[str]) -> str:
    return "\n".join(f"* {item}" for item in items) if items else "Nothing."


def _escaped(text: str) -> str:
    text = re.sub(r"/\S*sedd-reliability-\w+/", "", text.replace(f"{ROOT}/", ""))  # no paths of a machine
    return text.replace("<", "&lt;").replace("[", "\\[").replace("*", "\\*").replace("`", "'")
