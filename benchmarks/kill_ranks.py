"""Kill processes of a supervised group at random moments, and compare what it has trained with an undisturbed run.

    python benchmarks/kill_ranks.py [--kills 20] [--size 2] [--strategy ddp] [--steps 1200]

Every kill is SIGKILL to a random process, a random time after training began or began again (so also while it starts,
saves, evaluates). Prints a table: which process, when, and where the group went on; then whether the final weights,
averages and moments of the optimizer are those of such a group that nobody disturbed, bit for bit or by how much not.
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
import threading
import time
from pathlib import Path

from sedd.distributed.supervise import Supervisor
from sedd.runs import checkpoint

MODEL = (
    "data.synthetic.sequences=400",
    "data.synthetic.max_length=60",
    "model.hidden_size=16",
    "model.cond_dim=8",
    "model.n_blocks=2",
    "model.n_heads=2",
    "model.length=60",
    "model.dropout=0.1",
    "optim.warmup=10",
    "optim.grad_clip=0",
    "curriculum.preschool_time=100",
    "training.log_every=10",
    "evaluation.sequences=20",
    "checkpoint.every=10",
    "device.type=cpu",
    "device.precision=float32",
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--size", type=int, default=2)
    parser.add_argument("--strategy", choices=["ddp", "fsdp2"], default="ddp")
    parser.add_argument("--steps", type=int, default=1200)
    parser.add_argument("--longest", type=float, default=8.0, help="seconds between two kills, at most")
    parser.add_argument("--seed", type=int, default=0)
    wanted = parser.parse_args()
    steps = [*MODEL, f"training.n_iters={wanted.steps}", f"training.eval_every={wanted.steps // 4}"]
    steps += ["training.batch_size=16", f"distributed.strategy={wanted.strategy}"]
    with tempfile.TemporaryDirectory() as folder:
        runs = Path(folder) / "disturbed", Path(folder) / "undisturbed"
        killed = supervised(runs[0], steps, wanted, kills=wanted.kills)
        supervised(runs[1], steps, wanted, kills=0)
        saved, straight = (checkpoint.read(checkpoint.listing(run / "checkpoints")[-1]) for run in runs)
    print(f"\n{killed} kills, {wanted.size} processes, {wanted.strategy}; step {saved.state['train']['step']}")
    for group, tensors in straight.tensors.items():
        far = max(float((saved.tensors[group][name] - value).abs().max()) for name, value in tensors.items())
        print(f"{group:<10} largest difference from the undisturbed run: {far:g}{' (bit for bit)' * (far == 0)}")


def supervised(run: Path, overrides: list[str], wanted: argparse.Namespace, *, kills: int) -> int:
    """Train under a supervisor while somebody kills so often; returns how many kills there were."""
    first = [sys.executable, "-m", "sedd", "train", "quickstart", *overrides, "--run", str(run), "--samples", "0"]
    done, ended = 0, threading.Event()

    def newest() -> str | None:
        return next((path.name for path in reversed(checkpoint.listing(run / "checkpoints"))), None)

    def say(text: str) -> None:
        print(f"         {text}", flush=True)

    watched = Supervisor(first, [*first, "--resume"], size=wanted.size, progress=newest, say=say)

    def kill() -> None:
        nonlocal done
        chance, seen, since = random.Random(wanted.seed), None, 0  # noqa: S311  # no secret
        while done < kills and not ended.is_set():
            time.sleep(chance.random() * wanted.longest)
            if newest() != seen:
                seen, since = newest(), 0
            group, rank = watched.group, chance.randrange(wanted.size)
            # Three failures without a new checkpoint would end the run.
            if since < 2 and len(group) == wanted.size and group[rank].poll() is None:
                done, since = done + 1, since + 1
                print(f"kill {done:>2}: process {rank} after {seen or 'the beginning'}", flush=True)
                group[rank].kill()
                time.sleep(0.5)
                seen = newest()  # what was being written when the process died does not count as progress after it

    killer = threading.Thread(target=kill)
    killer.start()
    code = watched.run()
    ended.set()
    killer.join()
    assert code == 0, f"the group ended with exit code {code}"
    return done


if __name__ == "__main__":
    main()
