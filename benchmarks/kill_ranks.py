"""Kill processes of a supervised group at random times, and compare its final weights with an undisturbed run.

    python benchmarks/kill_ranks.py [--kills 20] [--size 2] [--strategy ddp] [--steps 1200]

Every kill is SIGKILL to a random process, a random time after training started or restarted (so also while it starts,
saves or evaluates). Prints each kill and the checkpoint that the group resumed from, then the largest absolute
difference of weights, EMA and optimizer state from those of an undisturbed group.
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
    parser.add_argument("--longest", type=float, default=8.0, help="maximum seconds between two kills")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    steps = [*MODEL, f"training.n_iters={args.steps}", f"training.eval_every={args.steps // 4}"]
    steps += ["training.batch_size=16", f"distributed.strategy={args.strategy}"]
    with tempfile.TemporaryDirectory() as folder:
        runs = Path(folder) / "disturbed", Path(folder) / "undisturbed"
        killed = supervised(runs[0], steps, args, kills=args.kills)
        supervised(runs[1], steps, args, kills=0)
        disturbed, undisturbed = (checkpoint.read(checkpoint.listing(run / "checkpoints")[-1]) for run in runs)
    print(f"\n{killed} kills, {args.size} processes, {args.strategy}; step {disturbed.state['train']['step']}")
    for group, tensors in undisturbed.tensors.items():
        difference = max(float((disturbed.tensors[group][name] - value).abs().max()) for name, value in tensors.items())
        print(f"{group:<10} largest difference: {difference:g}{' (bit for bit)' * (difference == 0)}")


def supervised(run: Path, overrides: list[str], args: argparse.Namespace, *, kills: int) -> int:
    """Train under a supervisor and kill up to `kills` processes meanwhile; returns the number of kills."""
    first = [sys.executable, "-m", "sedd", "train", "quickstart", *overrides, "--run", str(run), "--samples", "0"]
    done, ended = 0, threading.Event()

    def newest() -> str | None:
        return next((path.name for path in reversed(checkpoint.listing(run / "checkpoints"))), None)

    def log(text: str) -> None:
        print(f"         {text}", flush=True)

    supervisor = Supervisor(first, [*first, "--resume"], size=args.size, newest_checkpoint=newest, log=log)

    def kill() -> None:
        nonlocal done
        rng, saved, since = random.Random(args.seed), None, 0  # noqa: S311  # not for cryptography
        while done < kills and not ended.is_set():
            time.sleep(rng.random() * args.longest)
            if newest() != saved:
                saved, since = newest(), 0
            processes, rank = supervisor.processes, rng.randrange(args.size)
            # Three failures without a new checkpoint would end the run.
            if since < 2 and len(processes) == args.size and processes[rank].poll() is None:
                done, since = done + 1, since + 1
                print(f"kill {done:>2}: process {rank} after {saved or 'the beginning'}", flush=True)
                processes[rank].kill()
                time.sleep(0.5)
                saved = newest()  # a checkpoint that was being written at the kill is no progress after it

    killer = threading.Thread(target=kill)
    killer.start()
    code = supervisor.run()
    ended.set()
    killer.join()
    assert code == 0, f"the group ended with exit code {code}"
    return done


if __name__ == "__main__":
    main()
