"""How good the verdicts are: on curves and on short real runs whose truth is known from how they are made.

    python benchmarks/verdicts.py curves --count 2000 --stream judge [--jobs 2] [--out DIR] [--plot FILE.png]
    python benchmarks/verdicts.py curves --list learning        # seeds of wrong answers
    python benchmarks/verdicts.py curves --show SEED --out DIR  # one case: its log, the truth, the answer
    python benchmarks/verdicts.py train --count 200 --stream judge --out DIR [--jobs 2] [--data FASTA] [--text FILE]
    python benchmarks/verdicts.py runs --out DIR [--plot FILE.png] [--list KIND]

Constants of the judge are set on the stream `tune` and measured on the stream `judge`; they have no seed in common.
What is measured, and the results: docs/explanation/how-good-are-the-verdicts.md.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from judging.curves import judge_seeds, show
from judging.judged_runs import alarms_on_healthy, judge_runs
from judging.plots import draw
from judging.tables import report, wrong
from judging.training_runs import Job, train_all
from judging.truth import STREAMS, seeds


def curves(options: argparse.Namespace) -> None:
    """Judge curves and print the tables."""
    if options.show is not None:
        print(show(options.show, options.out or Path("verdicts")))
        return
    count = 12 if options.toy else options.count
    answers = judge_seeds(seeds(options.stream, count, options.first), jobs=options.jobs, out=options.out)
    if options.list:
        print(wrong(answers, options.list))
        return
    print(f"{count:,} curves of the stream `{options.stream}`, from number {options.first:,}\n")
    print(report(answers, unit="fraction of the loss"))
    if options.plot:
        draw(answers, options.plot)


def train(options: argparse.Namespace) -> None:
    """Train the runs of a stream that are not finished."""
    count = 3 if options.toy else options.count
    jobs = [
        Job(number, options.data, options.text, options.out, options.toy)
        for number in seeds(options.stream, count, options.first)
    ]
    train_all(jobs, processes=options.jobs)


def runs(options: argparse.Namespace) -> None:
    """Judge stored runs and print the tables."""
    if options.toy:
        train_all([Job(number, None, None, options.out, toy=True) for number in range(3)], processes=1)
    answers = judge_runs(options.out)
    if options.list:
        print(wrong(answers, options.list))
        return
    print(f"{len(answers):,} runs of {options.out}\n")
    print(report(answers, unit="nats per residue, or fraction of the loss"))
    print(f"\n## Alarms on healthy runs\n\n{alarms_on_healthy(answers)}")
    if options.plot:
        draw(answers, options.plot)


def main() -> None:
    """Read the command line and run one command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True)
    of_curves = commands.add_parser("curves", help="judge random curves")
    of_curves.set_defaults(run=curves)
    of_curves.add_argument("--count", type=int, default=2000)
    of_curves.add_argument("--stream", choices=list(STREAMS), default="tune")
    of_curves.add_argument("--first", type=int, default=0, help="number of the first case within its stream")
    of_curves.add_argument("--jobs", type=int, default=1)
    of_curves.add_argument("--out", type=Path, help="keep logs and answers in this directory")
    of_curves.add_argument("--list", metavar="KIND", help="list the wrong answers of a kind, a fault, or `all`")
    of_curves.add_argument("--show", metavar="SEED", type=int, help="one case: its log, the truth, the answer")
    of_curves.add_argument("--plot", metavar="FILE.png", type=Path, help="draw confusion matrix and reliability")
    of_curves.add_argument("--toy", action="store_true", help="a few cases, to show that it runs")
    of_training = commands.add_parser("train", help="train short real runs, healthy and with planted faults")
    of_training.set_defaults(run=train)
    of_training.add_argument("--count", type=int, default=200)
    of_training.add_argument("--stream", choices=list(STREAMS), default="tune")
    of_training.add_argument("--first", type=int, default=0, help="number of the first run within its stream")
    of_training.add_argument("--jobs", type=int, default=1)
    of_training.add_argument("--out", type=Path, required=True, help="a run directory for each; finished ones stay")
    of_training.add_argument("--data", type=Path, metavar="FASTA", help="proteins; without it there are none")
    of_training.add_argument("--text", type=Path, metavar="FILE", help="a text; without it there is none")
    of_training.add_argument("--toy", action="store_true", help="three runs of 24 steps, to show that it runs")
    of_runs = commands.add_parser("runs", help="judge the runs that `train` has stored")
    of_runs.set_defaults(run=runs)
    of_runs.add_argument("--out", type=Path, required=True)
    of_runs.add_argument("--list", metavar="KIND", help="list the wrong answers of a kind, a fault, or `all`")
    of_runs.add_argument("--toy", action="store_true", help="train three runs of 24 steps first")
    of_runs.add_argument("--plot", metavar="FILE.png", type=Path, help="draw confusion matrix and reliability")
    options = parser.parse_args()
    options.run(options)


if __name__ == "__main__":
    main()
