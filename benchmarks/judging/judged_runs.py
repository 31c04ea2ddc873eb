"""Judge stored runs by their metrics files."""

from __future__ import annotations

import time
import warnings
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import sedd
from judging.measured import read_all, truth_of
from judging.statistics import share
from judging.tables import table
from judging.truth import Answer


def judge_runs(out: Path) -> list[Answer]:
    """The answers on all runs in a directory whose twin is there too."""
    warnings.simplefilter("ignore")
    runs = read_all(out)
    answers = []
    for number in runs:
        truth = truth_of(number, runs)
        if truth is None:
            continue
        began = time.perf_counter()
        verdict = sedd.diagnose(out / f"{number:08}").verdict
        answers.append(Answer.of(truth, verdict, time.perf_counter() - began))
    return answers


def alarms_on_healthy(answers: Sequence[Answer]) -> str:
    """How many healthy runs ever got a warning about something that is not so."""
    healthy = [a for a in answers if a.truth.name == "none" and a.truth.faultless]
    alarmed = [a for a in healthy if a.alarms]
    rules = Counter(alarm.split("@")[0] for a in alarmed for alarm in a.alarms)
    counts = Counter(len(a.alarms) for a in healthy)
    rows = [
        ("healthy runs with a warning at any time", share(len(alarmed), len(healthy))),
        ("alarms per healthy run: runs", ", ".join(f"{number}: {count}" for number, count in sorted(counts.items()))),
        ("by rule", ", ".join(f"{rule} {count}" for rule, count in rules.most_common())),
        ("numbers of these runs", ", ".join(str(a.truth.seed) for a in alarmed)),
    ]
    return table(["", ""], rows)
