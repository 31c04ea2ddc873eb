"""Every benchmark runs at toy size, so that what the documentation quotes can be measured again."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from sedd.training.compiling import missing_compiler

BENCHMARKS = Path(__file__).resolve().parents[1] / "benchmarks"
MISSING = missing_compiler(torch.device("cpu"))
pytestmark = pytest.mark.long
compiler = pytest.mark.skipif(MISSING is not None, reason=f"compiling needs {MISSING}")
SMALL = "model.hidden_size=16 model.cond_dim=8 model.n_blocks=1 model.n_heads=2 data.synthetic.sequences=400"

COMMANDS = [
    pytest.param("training.py step --toy --precisions float32", marks=compiler),  # it compiles: half a minute
    "training.py proteins FASTA --toy",
    "training.py parts --toy",
    "training.py scaling --toy",
    "training.py memory --toy",
    "time_to_quality.py proteins FASTA --toy --rates 1e-3 2e-3 --cpu-seconds --set model.gate_init=0",
    "data.py --toy",
    "startup.py --toy",
    "numerics.py --toy --graphs absorb --heads normalised",
    "optimizers.py --toy --proteins FASTA",
    "flat.py --toy",
    "gpu.py --toy",
    "kill_ranks.py --kills 1 --longest 1 --steps 40",
    "stopping.py --phase evaluation",
    "sampling.py --toy --graph uniform 2 1",
    "users_table.py FASTA --seeds 2 --steps 8",
    "best_rate.py --toy --trials 1 --grid-seeds 2 --seeds 2 --sweeps 1 --jobs 1",
    "attribution.py --toy",
    "verdicts.py curves --toy",
    "verdicts.py runs --toy --out runs",
    f"overhead.py --steps 60 quickstart {SMALL}",
    f"small_models.py proteins FASTA training.n_iters=2 training.batch_size=4 {SMALL}",
    f"bound_variance.py --repeats 2 --masks 2 {SMALL} training.n_iters=3",
]
TABLE = {
    "overhead.py": "together",
    "small_models.py": "pairs",
    "bound_variance.py": "stratified",
    "kill_ranks.py": "bit for bit",
}
"""What stands in the tables that are plain text; the others are markdown."""


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: " ".join(command.split()[:2]))
def test_every_benchmark_runs_at_toy_size_and_prints_its_table(command, tmp_path):
    fasta = tmp_path / "proteins.fasta"
    letters = np.random.default_rng(0).choice(list("ACDEFGHIKLMNPQRSTVWY"), (300, 48))
    fasta.write_text("".join(f">{number}\n{''.join(row)}\n" for number, row in enumerate(letters)), "ascii")
    script, *arguments = command.replace("FASTA", str(fasta)).split()
    run = subprocess.run(
        [sys.executable, "-W", "ignore", str(BENCHMARKS / script), *arguments],
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert run.returncode == 0, run.stderr
    assert TABLE.get(script, "|---|") in run.stdout
