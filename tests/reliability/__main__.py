"""The scoreboard: `python -m tests.reliability [--scale S] [--only ROW] [--jobs 2] [--seed 0] [--write]`.

Exits with 1 if anything was lost, silent, or a traceback.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
import time
from pathlib import Path

import torch

from tests.reliability import page
from tests.reliability.rows import BY_NAME, ROWS
from tests.reliability.runner import run_row, run_rows


def main(arguments: list[str] | None = None) -> int:
    """Run rows, and return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.reliability", description=__doc__.splitlines()[0])
    parser.add_argument("--scale", type=float, default=1.0, help="share of the cases; the default is 1")
    parser.add_argument("--only", action="append", choices=list(BY_NAME), help="a row; may be given several times")
    parser.add_argument("--jobs", type=int, default=2, help="processes; the default is 2")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--write", action="store_true", help=f"write {page.PAGE.name}, for all rows")
    parser.add_argument("--row", choices=list(BY_NAME), help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    if options.row:
        run_row(options.row, options.scale, options.seed, options.folder)
        return 0
    if options.write and options.only:
        parser.error("--write needs all rows")
    return _score(options)


def _score(options: argparse.Namespace) -> int:
    rows = [row for row in ROWS if not options.only or row.name in options.only]
    folder, began = Path(tempfile.mkdtemp(prefix="sedd-reliability-")), time.monotonic()
    outcomes = run_rows(rows, scale=options.scale, seed=options.seed, jobs=options.jobs, folder=folder)
    seconds = time.monotonic() - began
    if options.write:
        page.write(outcomes, scale=options.scale, seconds=seconds, jobs=options.jobs)
    failed = [outcome.row.name for outcome in outcomes if outcome.result.failed]
    cases = sum(outcome.result.cases for outcome in outcomes)
    print(f"{cases:,} cases in {seconds / 60:.1f} min; failed rows: {', '.join(failed) or 'none'}")
    if failed:
        print(f"the folders of the rows are in {folder}")
    else:
        shutil.rmtree(folder, ignore_errors=True)
    return bool(failed)


if __name__ == "__main__":
    sys.exit(main())
