"""Malicious inputs of every kind to every command: a typed error in bounded time and memory, and nothing is run."""

from __future__ import annotations

import json
import os
import re
import resource
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random
from typing import NamedTuple

from sedd import cli
from sedd.data.prepare import sources
from sedd.data.prepare import tally as counts
from sedd.runs import checkpoint, manifest
from tests.data.test_store import write as write_store
from tests.reliability.forks import fork, in_fork, wait
from tests.reliability.hostile_files import (
    CANARY,
    ESCAPE,
    evil_pickle,
    fasta_texts,
    json_bytes,
    json_texts,
    raw_texts,
    replaced,
    safetensors_files,
    special_files,
    yaml_texts,
)
from tests.reliability.result import Result, Tally, lost_unless, sampled, silent_unless
from tests.reliability.runs import OVERRIDES, configuration, fresh, train

SECONDS = 120.0
"""After which a case counts as unbounded; cases take a second on an idle machine."""
MEMORY = 3 * 2**30
"""Bytes that a case may take more than the process that it is forked from."""
CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]")
Make = Callable[[], object]


class Case(NamedTuple):
    """A command line, and what makes its files."""

    name: str
    arguments: list[str]
    make: Make = lambda: None
    refused: bool = True
    """Whether it has to end with exit code 2; otherwise 0 is right too."""


def malicious_inputs(scale: float, seed: int, workdir: Path) -> Result:
    """Bombs, renamed pickles, special files, `..`, huge headers, control characters, deep nesting in run
    files, overrides, checkpoints, sequences, stores, logs and tables.
    """
    in_fork(lambda: train(configuration(), fresh(workdir, "run")).state.step, workdir)
    (workdir / "good.fasta").write_text(">a\nACDEFGHIKL\n" * 9)
    random = Random(seed)
    groups = (_yaml, _special, _checkpoints, _sequences, _stores, _logs)
    cases = [case for group in groups for case in sampled(list(group(workdir, random)), 0.5 * scale, random)]
    tally = Tally(workdir, len(cases))
    for case in cases:
        with tally.case(f"{case.name}: sedd {' '.join(case.arguments)[:120]}"):
            _run(case, workdir)
    return tally.result


def _run(case: Case, workdir: Path) -> None:
    log = workdir / "log"
    for left in (log, workdir / CANARY):
        left.unlink(missing_ok=True)
    for name in ("out", "cache", "attacked"):
        fresh(workdir, name)
    case.make()
    code = wait(fork(lambda: _command(case.arguments, workdir), log), SECONDS)
    output = log.read_text("utf-8", "replace")
    silent_unless(not (workdir / CANARY).exists(), "code of the attacker was run")
    lost_unless(code is not None, f"no end after {SECONDS:g} s: {output[-200:]}")
    if "Traceback" in output or code not in (0, 1, 2, 3):
        raise RuntimeError(f"exit code {code}: {output[-300:]}")
    lost_unless("out of memory" not in output, f"memory is not bounded: {output[-200:]}")
    silent_unless(not CONTROL.search(output), "control characters reach the terminal")
    silent_unless(code == 2 or not case.refused, f"it is accepted, exit code {code}")


def _command(arguments: list[str], workdir: Path) -> None:
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    limit = pages * resource.getpagesize() + MEMORY
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    os.environ["XDG_CACHE_HOME"] = str(workdir / "cache")
    os.chdir(workdir)
    sources.WAIT_FOR_WRITER = 2.0  # nothing will ever write to the pipes here
    sys.argv = ["sedd", *arguments]
    cli.main()


def _train(*arguments: str) -> list[str]:
    return ["train", *arguments, *OVERRIDES, "training.n_iters=1", "--run", "out", "--samples", "0"]


def _yaml(workdir: Path, random: Random) -> Iterator[Case]:
    file = workdir / "run.yaml"
    for name, text in (yaml_texts(workdir) | raw_texts(workdir)).items():
        whole = text if name in ("bomb", "merge bomb") else b"x: " + text
        for place, content in (("the file", text), ("a key", whole), ("a value", b"optim:\n  lr: " + text)):
            yield Case(f"YAML {name} as {place}", _train(str(file)), lambda c=content: file.write_bytes(c), False)
        if b"\0" not in text and len(text) < 100_000:
            value = text.decode("utf-8", "surrogateescape")
            key = random.choice(("optim.lr", "data.train", "curriculum", "trackers", "sampling.at_steps", "seed"))
            yield Case(f"override {name}", ["forecast", "quickstart", f"{key}={value}"], refused=False)
        attacked = workdir / "attacked"
        make = lambda c=whole: _attacked(workdir, lambda run: (run / "config.yaml").write_bytes(c))  # noqa: E731
        yield Case(f"config.yaml {name}", ["diagnose", str(attacked)], make, False)


def _special(workdir: Path, random: Random) -> Iterator[Case]:
    folder = fresh(workdir, "special")
    run, good = str(workdir / "run"), str(workdir / "good.fasta")
    for name, path in special_files(folder).items():
        file = str(path)
        commands = {
            "run file": _train(file),
            "data": _train("quickstart", f"data.train={file}"),
            "clusters": _train("quickstart", f"data.train={good}", f"data.clusters={file}"),
            "held-out data": _train("quickstart", f"data.valid={file}"),
            "prepare": ["data", "prepare", file, "out"],
            "evaluate": ["evaluate", run, file],
            "diagnose": ["diagnose", file],
            "compare": ["compare", file, run],
            "sample": ["sample", file, "-n", "1"],
            "template": ["sample", run, "--template", file],
            "variants": ["score-variants", run, good, file],
            "verify": ["data", "verify", file],
            "quality": ["quality", file],
            "report": ["report", file, "--out", "out.html"],
            "forecast": ["forecast", "quickstart", "--expect", file],
        }
        for command, arguments in commands.items():
            yield Case(f"{name} as {command}", arguments, refused=False)


def _checkpoints(workdir: Path, random: Random) -> Iterator[Case]:
    (path,) = checkpoint.listing(workdir / "run" / "checkpoints")[-1:]
    attacked = str(workdir / "attacked")
    commands = (["sample", attacked, "-n", "1"], [*_train("quickstart")[:-4], "--run", attacked, "--resume"])
    files = [
        (f"{name} in {file}", file, data)
        for file in ("model.safetensors", "optimizer.safetensors")
        for name, data in safetensors_files((path / file).read_bytes(), workdir).items()
    ]
    for file in ("state.json", "config.json"):
        data = json.loads((path / file).read_bytes())
        files += [(f"{file}: {name}", file, json_bytes(changed)) for name, changed in replaced(data)][::9]
        files += [(f"{file} is {name}", file, json_bytes(value)) for name, value in json_texts().items()]
        files += [(f"{file} is a pickle", file, evil_pickle(workdir))]
    for name, file, content in files:
        for arguments in commands:
            make = lambda f=file, c=content: _attacked(workdir, lambda run: _forge(run, f, c))  # noqa: E731
            yield Case(f"checkpoint: {name}", arguments, make, False)
    for name, content in _manifests(path):
        for arguments in commands:
            make = lambda c=content: _attacked(workdir, lambda run: _write_manifest(run, c))  # noqa: E731
            yield Case(f"manifest: {name}", arguments, make)


def _manifests(path: Path) -> Iterator[tuple[str, bytes]]:
    data = json.loads((path / "manifest.json").read_bytes())
    for name, changed in list(replaced(data))[::6]:
        yield name, json_bytes(changed)
    entry = data["files"]["model.safetensors"]
    names = ("../../config.yaml", "/etc/passwd", "..", ".", "", "a/b", "nul\0", ESCAPE, "n" * 5_000, "/dev/zero", "\\x")
    for name in names:
        forged = {"format": 1, "step": data["step"], "run": None, "files": {**data["files"], name: entry}}
        yield f"a file named {name[:20]!r}", json_bytes(forged)


def _attacked(workdir: Path, harm: Callable[[Path], object]) -> None:
    """Copy the trained run with only its last checkpoint, and harm the copy."""
    run = workdir / "attacked"
    shutil.copytree(workdir / "run", run)
    for path in checkpoint.listing(run / "checkpoints")[:-1]:
        shutil.rmtree(path)
    harm(run)


def _forge(run: Path, file: str, content: bytes) -> None:
    """Replace a file of the checkpoint, and write a manifest with the right hashes."""
    (path,) = checkpoint.listing(run / "checkpoints")
    (path / file).write_bytes(content)
    known = manifest.Manifest.read(path)
    entries = {name: manifest.Entry.of((path / name).read_bytes()) for name in known.files}
    (path / "manifest.json").write_bytes(manifest.Manifest(known.step, entries, known.run).to_bytes())


def _write_manifest(run: Path, content: bytes) -> None:
    (path,) = checkpoint.listing(run / "checkpoints")
    (path / "manifest.json").write_bytes(content)


def _sequences(workdir: Path, random: Random) -> Iterator[Case]:
    file = workdir / "hostile.fasta"
    commands = (
        ["data", "prepare", str(file), "out", "--workers", "1"],
        ["evaluate", str(workdir / "run"), str(file), "--per-sequence", "out.csv"],
        _train("quickstart", f"data.train={file}", "data.holdout=0.5"),
        ["quality", str(file)],
        ["sample", str(workdir / "run"), "--template", str(file), "--redesign", "0.5"],
    )
    for name, text in (fasta_texts() | raw_texts(workdir)).items():
        for arguments in commands:
            yield Case(f"sequences: {name}", arguments, lambda t=text: file.write_bytes(t), False)


def _stores(workdir: Path, random: Random) -> Iterator[Case]:
    good = fresh(workdir, "good store")
    write_store(good, ["ACDEFGHIKL", "MNPQRSTVWY"] * 20)
    store, data = workdir / "attacked", json.loads((good / "manifest.json").read_bytes())
    data["tally"] = counts.Tally().to_dict()
    commands = (["data", "verify", str(store)], _train("quickstart", f"data.train={store}", "data.valid=synthetic"))
    for name, changed in list(replaced(data))[::11]:
        for arguments in commands:
            make = lambda c=changed: _hostile_store(good, store, json_bytes(c))  # noqa: E731
            yield Case(f"store: {name}", arguments, make, False)


def _hostile_store(good: Path, store: Path, content: bytes) -> None:
    shutil.copytree(good, store)
    (store / "manifest.json").write_bytes(content)


def _logs(workdir: Path, random: Random) -> Iterator[Case]:
    file = workdir / "log.csv"
    good = "step,loss\n" + "".join(f"{i},{3.0 - i / 100}\n" for i in range(60))
    texts = {
        "escape": f"step,loss{ESCAPE}\n1,2\n2,1\n",
        "formula": "step,loss,=cmd\n1,2,3\n",
        "nan": "step,loss\n1,nan\n2,inf\n",
        "huge": "step,loss\n1,1e999\n99999999999999999999,2\n",
        "negative": "step,loss\n-5,2\n-4,1\n",
        "one": "step,loss\n1,2\n",
        "wide": ",".join(["a"] * 20_000) + "\n",
        "quotes": '"' * 99_999,
        "good": good,
        "nul": good.replace("5", "\0"),
        "markup": "step,[red]loss\n1,2\n2,1\n",
        "backwards": "step,loss\n" + "".join(f"{-i},{i}\n" for i in range(50)),
        "json": '{"step": 1, "loss": {"a": [[[]]]}}\n' * 9,
        "lines": '{"step": 1e400, "loss": 1}\n' * 9,
    }
    contents = {name: text.encode() for name, text in texts.items()} | raw_texts(workdir)
    contents |= {name: json_bytes(value) for name, value in json_texts().items()}
    for name, text in contents.items():
        yield Case(f"log: {name}", ["diagnose", str(file)], lambda t=text: file.write_bytes(t), False)
        yield Case(
            f"variants: {name}",
            ["score-variants", str(workdir / "run"), str(workdir / "good.fasta"), str(file)],
            lambda t=text: file.write_bytes(t),
            False,
        )
