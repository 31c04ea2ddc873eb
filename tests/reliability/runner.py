"""Runs rows of the scoreboard, each in a process of its own, and shows the time left."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from tests.processes import ROOT, environment
from tests.reliability.result import PROGRESS, Result
from tests.reliability.rows import BY_NAME, Row


@dataclass(frozen=True)
class Outcome:
    """A row that has been run."""

    row: Row
    result: Result
    seconds: float
    seed: int


@dataclass
class Running:
    """A row whose process runs."""

    row: Row
    folder: Path
    process: subprocess.Popen[bytes]
    began: float

    def share(self) -> float:
        """The share of its cases that are done."""
        try:
            done, total = map(float, (self.folder / "work" / PROGRESS).read_text().split())
        except (OSError, ValueError):
            return 0.0
        return min(done / max(total, 1.0), 1.0)

    def outcome(self, seed: int) -> Outcome:
        """The outcome of the row, whose process has ended; a process that failed is a traceback."""
        try:
            result = Result(**json.loads((self.folder / "result.json").read_text()))
        except (OSError, ValueError):
            log = (self.folder / "row.log").read_text(errors="replace").strip()[-1500:]
            result = Result(cases=1, tracebacks=1, details=[f"the row ended with {self.process.returncode}: {log}"])
        return Outcome(self.row, result, time.monotonic() - self.began, seed)


def run_row(name: str, scale: float, seed: int, folder: Path) -> None:
    """Run one row in this process; its result becomes `result.json` in the folder."""
    work = folder / "work"
    work.mkdir()
    result = BY_NAME[name].function(scale, seed, work)
    (folder / "result.json").write_text(json.dumps(asdict(result)))


def run_rows(rows: Sequence[Row], *, scale: float, seed: int, jobs: int, folder: Path) -> list[Outcome]:
    """Run rows, the longest first, and print each outcome when it is there; returns the outcomes in their order."""
    waiting = sorted(rows, key=lambda row: -row.seconds)
    running: list[Running] = []
    outcomes: dict[str, Outcome] = {}
    began = shown = time.monotonic()
    try:
        while waiting or running:
            while waiting and len(running) < jobs:
                running.append(_start(waiting.pop(0), scale, seed, folder))
            time.sleep(0.1)
            for each in [each for each in running if each.process.poll() is not None]:
                running.remove(each)
                outcomes[each.row.name] = outcome = each.outcome(seed)
                print(describe(outcome), flush=True)
            if time.monotonic() - shown > (2.0 if sys.stderr.isatty() else 30.0):
                shown = time.monotonic()
                _show(rows, waiting, running, shown - began)
    finally:
        for each in running:
            each.process.kill()
    return [outcomes[row.name] for row in rows]


def _start(row: Row, scale: float, seed: int, folder: Path) -> Running:
    own = folder / row.name
    own.mkdir()
    command = [sys.executable, "-m", "tests.reliability", "--row", row.name, "--scale", str(scale), "--seed", str(seed)]
    with (own / "row.log").open("wb") as log:
        options = {"stdin": subprocess.DEVNULL, "stdout": log, "stderr": log, "cwd": ROOT}
        own_environment = environment() | {"XDG_CACHE_HOME": str(own / "cache"), "COLUMNS": "200"}
        process = subprocess.Popen([*command, "--folder", str(own)], env=own_environment, **options)  # type: ignore[call-overload]
    return Running(row, own, process, time.monotonic())


def _show(rows: Sequence[Row], waiting: list[Row], running: list[Running], elapsed: float) -> None:
    """Print which rows run, and the time left: of the work that is left at the speed so far."""
    total = sum(row.seconds for row in rows)
    left = sum(row.seconds for row in waiting) + sum(each.row.seconds * (1.0 - each.share()) for each in running)
    done = total - left
    remaining = f"{elapsed * left / done / 60:.1f} min left" if done > 0.02 * total else "time left not known yet"
    now = ", ".join(f"{each.row.name} {each.share():.0%}" for each in running)
    text = f"{elapsed / 60:.1f} min, {done / total:.0%} done, {remaining}: {now}"
    print(f"\r\x1b[K{text}" if sys.stderr.isatty() else text, end="" if sys.stderr.isatty() else "\n", file=sys.stderr)
    sys.stderr.flush()


def describe(outcome: Outcome) -> str:
    """A line for the terminal, and the failed cases below it."""
    result = outcome.result
    counts = f"{result.lost} lost, {result.silent} silent, {result.tracebacks} tracebacks"
    clear = "\r\x1b[K" if os.isatty(2) else ""
    lines = [f"{clear}{outcome.row.name:<24}{result.cases:>7,} cases: {counts}, {outcome.seconds:.0f} s"]
    return "\n".join(lines + [f"    {detail}" for detail in result.details])
