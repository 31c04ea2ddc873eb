"""Judge the cases of a stream of seeds."""

from __future__ import annotations

import json
import multiprocessing
import tempfile
import time
import warnings
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

import sedd
from judging.cases import Case, make_case
from judging.truth import Answer
from sedd.diagnosis.api import load_without_advice


def judge_case(case: Case, folder: Path) -> Answer:
    """Write the log of a case to `folder` and let `sedd.diagnose` judge it."""
    file = folder / f"{case.truth.seed}.csv"
    file.write_text(case.csv, "utf-8")
    preset, *overrides = case.config
    config = load_without_advice(preset, *overrides)
    began = time.perf_counter()
    verdict = sedd.diagnose(file, config=config, symbols=case.symbols).verdict
    return Answer.of(case.truth, verdict, time.perf_counter() - began)


def _one(seed: int, out: str | None) -> Answer:
    warnings.simplefilter("ignore")
    with tempfile.TemporaryDirectory() as temporary:
        return judge_case(make_case(seed), Path(out or temporary))


def judge_seeds(seeds: Iterable[int], *, jobs: int = 1, out: Path | None = None) -> list[Answer]:
    """The answers of all seeds; with `out`, the logs and a line of JSON for each answer are kept there."""
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)
    one = partial(_one, out=None if out is None else str(out))
    if jobs == 1:
        answers = [one(seed) for seed in seeds]
    else:
        with ProcessPoolExecutor(jobs, mp_context=multiprocessing.get_context("spawn")) as pool:
            answers = list(pool.map(one, seeds, chunksize=8))
    if out is not None:
        lines = (json.dumps(answer.to_dict()) for answer in answers)
        (out / "answers.jsonl").write_text("\n".join(lines) + "\n", "utf-8")
    return answers


def show(seed: int, out: Path) -> str:
    """Write the log of a case, and say what is true and what the judge answers."""
    out.mkdir(parents=True, exist_ok=True)
    case = make_case(seed)
    answer = judge_case(case, out)
    truth, t = case.truth.to_dict(), case.truth
    given = " ".join(f"'{part}'" if " " in part else part for part in case.config)
    lines = [f"log       {out / f'{seed}.csv'}", f"config    {given}"]
    lines += [f"{name:<10}{value}" for name, value in truth.items() if name != "facts"]
    lines += [f"  {name:<10}{value}" for name, value in t.facts.items()]
    lines += [
        f"verdict   {answer.kind} {answer.probability:.2f} since {answer.since}  right: {answer.right}",
        answer.text,
    ]
    return "\n".join(lines)
