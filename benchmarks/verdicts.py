"""How good the verdicts are: on curves and on short real runs whose truth is known from how they are made.

    python benchmarks/verdicts.py curves --count 2000 --stream judge [--jobs 2] [--out DIR] [--plot FILE.png]
    python benchmarks/verdicts.py curves --list learning        # seeds of wrong answers
    python benchmarks/verdicts.py curves --show SEED --out DIR  # one case: its log, the truth, the answer

Constants of the judge are set on the stream `tune` and measured on the stream `judge`; they have no seed in common.
What is measured, and the results: docs/explanation/how-good-are-the-verdicts.md.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from judging.curves import judge_seeds, show
from judging.plots import draw
from judging.tables import report, wrong
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
    options = parser.parse_args()
    options.run(options)


if __name__ == "__main__":
    main()
