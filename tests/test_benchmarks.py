"""Benchmarks run, at sizes at which their numbers mean nothing."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

BENCHMARKS = Path(__file__).parent.parent / "benchmarks"


def test_the_data_benchmark_runs_at_toy_size() -> None:
    done = subprocess.run(
        [sys.executable, "-W", "error", BENCHMARKS / "data.py", "--toy"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    rows = [line for line in done.stdout.splitlines() if line.startswith("|")]
    assert len(rows) == 3 * 2 + 4 + 7 + 2
    assert all(row.count("|") == rows[0].count("|") for row in rows[:6])
