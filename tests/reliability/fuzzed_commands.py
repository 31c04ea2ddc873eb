"""Random command lines."""

from __future__ import annotations

import io
import os
import sys
import warnings
from pathlib import Path
from random import Random

import pytest

from sedd import cli
from tests.reliability.result import Result, Tally, lost_unless
from tests.reliability.runs import OVERRIDES, configuration, fresh, train

LETTERS = "ACDEFGHIKLMNPQRSTVWY"
COMMANDS = (
    "sample",
    "evaluate",
    "score-variants",
    "quality",
    "forecast",
    "diagnose",
    "compare",
    "report",
    "data prepare",
    "data verify",
    "data",
    "plugins",
    "schema",
    "train",
    "nonsense",
    "",
)
WORDS = (
    "RUN",
    "FASTA",
    "DIRECTORY",
    "MISSING",
    "quickstart",
    "small",
    "-n",
    "1",
    "2",
    "--length",
    "5",
    "0",
    "-1",
    "x",
    "--json",
    "--masks",
    "--sequences",
    "--steps",
    "0,5",
    "--seed",
    "--device",
    "cpu",
    "cuda",
    "nonsense",
    "--out",
    "OUT",
    "--template",
    "--redesign",
    "0.5",
    "--predictor",
    "euler",
    "analytic",
    "--temperature",
    "nan",
    "--top-p",
    "inf",
    "1e400",
    "--which",
    "latest",
    "best",
    "--weights",
    "model",
    "--help",
    "--",
    "-",
    "",
    " ",
    "=",
    "a=b",
    "optim.lr=1",
    "optim.lr=x",
    "--from",
    "--to",
    "--unit",
    "bits",
    "--symbols",
    "20",
    "--expect",
    "0=1,5=2",
    "--throughput",
    "--paired",
    "--per-sequence",
    "--samples",
    "--reference",
    "--no-controls",
    "--plot",
    "OUT.png",
    "--workers",
    "--fail",
    "--bound",
    "--no-bound",
    "é",
    "[red]",
    "'",
    "*",
)


def fuzzed_command_lines(scale: float, seed: int, workdir: Path) -> Result:
    """Random command lines."""
    random, count = Random(seed), max(50, round(1200 * scale))
    tally = Tally(workdir, count)
    train(configuration(), fresh(workdir))
    fasta = workdir / "x.fasta"
    fasta.write_text("".join(f">s{i}\n{''.join(random.choices(LETTERS, k=12))}\n" for i in range(20)))
    paths = {"RUN": workdir / "run", "FASTA": fasta, "DIRECTORY": workdir, "MISSING": workdir / "missing"}
    os.chdir(workdir)
    for _ in range(count):
        paths |= {"OUT": fresh(workdir, "out"), "OUT.png": workdir / "out.png"}
        words = random.choice(COMMANDS).split()
        if words == ["train"]:
            words += ["quickstart", *OVERRIDES, "training.n_iters=1", "--run", str(fresh(workdir, "trained"))]
        first = ["RUN"] if words and random.random() < 0.6 else []
        words += [*first, *random.choices(WORDS, k=random.randrange(7))]
        arguments = [str(paths.get(word, word)) for word in words]
        with tally.case(" ".join(arguments)[-200:]):
            code = _exit_code(arguments)
            lost_unless(code in (0, 1, 2, 3, 130), f"exit code {code}")
    return tally.result


def _exit_code(arguments: list[str]) -> object:
    with pytest.MonkeyPatch.context() as patched, warnings.catch_warnings():
        patched.setattr(sys, "argv", ["sedd", *arguments])
        patched.setattr(sys, "stdout", io.StringIO())
        patched.setattr(sys, "stderr", io.StringIO())
        try:
            cli.main()
        except SystemExit as ended:
            return ended.code or 0
    return 0
