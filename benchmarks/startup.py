"""How long it takes to begin: the import, the first optimizer step, the first one of a resumed run, the first compiled.

    python benchmarks/startup.py [--rounds 5] [--compiled-rounds 1] [--toy]

Every number is that of fresh processes, started in turn, from before the start of the process to the end of what is
named. The first round fills the caches of the file system, and is left out. CPU seconds are those of the process and
its children: they say more than the clock where other processes want the same cores. The run is that of `quickstart`;
`cold` means an empty cache of torch's compiler, `warm` one that holds this network. Exits with 1 if `import sedd`
takes 1.5 times as long as `import torch`, by CPU seconds.
"""

from __future__ import annotations

import argparse
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from pathlib import Path
from statistics import median
from typing import NamedTuple

import sedd

ALLOWED = 1.5
STEP = "import sedd, sys; next(sedd.Trainer(sedd.load_config(*sys.argv[1:])).steps())"
RESUMED = (
    "import sedd, sys; trainer = sedd.Trainer(sedd.load_config(*sys.argv[2:]), run=sys.argv[1], resume=True); "
    "assert trainer.state.step == 2; next(trainer.steps())"
)


class Took(NamedTuple):
    """Of one process, seconds."""

    wall: float
    cpu: float


def timed(code: str, *arguments: str, **environment: str) -> Took:
    """Run a fresh interpreter to its end."""
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    command = [sys.executable, "-W", "ignore", "-c", code, *arguments]
    subprocess.run(command, check=True, env=os.environ | environment)  # noqa: S603  # our own commands
    wall, after = time.perf_counter() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
    return Took(wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)


def begun(folder: Path, settings: list[str]) -> Path:
    """A run of two steps to resume."""
    trainer = sedd.Trainer(sedd.load_config(*settings), run=folder / "run")
    trainer.run.begin(trainer.config, resume=False)
    for _ in zip(range(2), trainer.steps(), strict=False):
        pass
    trainer.save()
    return folder / "run"


def main() -> None:
    """Start many processes, print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--compiled-rounds", type=int, default=1)
    parser.add_argument("--toy", action="store_true")
    given = parser.parse_args()
    settings = ["quickstart", "device.type=cpu"]
    if given.toy:
        given.rounds, given.compiled_rounds = 1, 0
        settings += ["model.hidden_size=32", "model.n_blocks=1", "data.synthetic.sequences=400"]
    eager, compiled = [*settings, "training.compile=off"], [*settings, "training.compile=on"]
    found: dict[str, list[Took]] = defaultdict(list)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        run, cache = str(begun(folder, eager)), folder / "inductor"
        for turn in range(given.rounds + (not given.toy)):
            taken = {
                "import torch": timed("import torch"),
                "import sedd": timed("import sedd"),
                "first step": timed(STEP, *eager),
                "first step of a resumed run": timed(RESUMED, run, *eager),
            }
            for name, took in taken.items():
                if turn or given.toy:
                    found[name].append(took)
        for _ in range(given.compiled_rounds):
            shutil.rmtree(cache, ignore_errors=True)
            for name in ("first step, compiled, cold", "first step, compiled, warm"):
                found[name].append(timed(STEP, *compiled, TORCHINDUCTOR_CACHE_DIR=str(cache)))
    print(f"\n{' '.join(settings)}, {given.rounds} rounds\n")
    print("| from the start of the process to | seconds, median (range) | CPU seconds | ratio of CPU seconds |")
    print("|---|---|---|---|")
    cpu = {name: median(took.cpu for took in all_of_it) for name, all_of_it in found.items()}
    for name, all_of_it in found.items():
        walls = [took.wall for took in all_of_it]
        print(
            f"| {name} | {median(walls):.2f} ({min(walls):.2f} to {max(walls):.2f}) | {cpu[name]:.2f} | "
            f"{cpu[name] / cpu['import torch']:.2f} |"
        )
    sys.exit(not given.toy and cpu["import sedd"] > ALLOWED * cpu["import torch"])


if __name__ == "__main__":
    main()
