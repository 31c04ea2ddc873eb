"""Do what `docker build` does with deploy/Dockerfile, without Docker: `check_image.py PYTHON [NAME=VALUE ...]`.

A fresh virtual environment of PYTHON stands for the base image, a temporary folder for its file system. COPY, RUN,
WORKDIR, ARG, ENV and ENTRYPOINT are followed; NAME=VALUE are build arguments.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parent.parent
DOCKERFILE = ROOT / "deploy" / "Dockerfile"


def instructions(text: str) -> Iterator[tuple[str, str]]:
    """The instructions of a Dockerfile with their arguments; continued lines are joined, comments left out."""
    lines = "\n".join(line for line in text.splitlines() if not line.lstrip().startswith("#"))
    for line in lines.replace("\\\n", " ").splitlines():
        if line.strip():
            name, _, rest = line.strip().partition(" ")
            yield name.upper(), rest.strip()


def build(root: Path, python: str, given: dict[str, str]) -> dict[str, str]:
    """Follow the Dockerfile in a folder; returns the environment of the image.

    Raises:
        CalledProcessError: if a command fails.
        ValueError: at an instruction that this script does not know.
    """
    subprocess.run([python, "-m", "venv", root / "venv"], check=True)
    variables = dict(os.environ) | {"PATH": f"{root / 'venv' / 'bin'}:{os.environ['PATH']}"}
    here = root
    for name, rest in instructions(DOCKERFILE.read_text(encoding="utf-8")):
        if name == "WORKDIR":
            here = root / rest.lstrip("/")
            here.mkdir(parents=True, exist_ok=True)
        elif name == "COPY":
            *sources, to = rest.split()
            for source in sources:
                _copy(ROOT / source, here / to, into=to.endswith("./") or len(sources) > 1)
        elif name in {"ARG", "ENV"}:
            key, _, value = rest.partition("=")
            variables[key] = given.get(key, value.strip('"')) if name == "ARG" else _inside(value, root)
        elif name == "RUN":
            print(f"RUN {rest}", flush=True)
            subprocess.run(["/bin/sh", "-e", "-c", rest], cwd=here, env=variables, check=True)
        elif name not in {"FROM", "USER", "ENTRYPOINT", "CMD"}:
            raise ValueError(f"{DOCKERFILE}: {name} is not known to {Path(__file__).name}")
    return variables | {"PWD": str(here)}


def _copy(source: Path, to: Path, *, into: bool) -> None:
    if source.is_dir():
        shutil.copytree(source, to, ignore=shutil.ignore_patterns("__pycache__"))
    else:
        shutil.copy(source, to / source.name if into else to)


def _inside(value: str, root: Path) -> str:
    """A path of the image as a path in the folder that stands for it."""
    return re.sub(r"^/", f"{root}/", value)


def main(python: str, *arguments: str) -> None:
    """Build, and run the entry point with its default arguments and on a short run."""
    given = dict(argument.split("=", 1) for argument in arguments)
    with tempfile.TemporaryDirectory() as name:
        variables = build(Path(name), python, given)
        found = dict(instructions(DOCKERFILE.read_text(encoding="utf-8")))
        entry, default = (re.findall(r'"([^"]+)"', found[key]) for key in ("ENTRYPOINT", "CMD"))
        short = "train quickstart training.n_iters=20 optim.warmup=5 curriculum.preschool_time=10 --run run --quiet"
        for words in (default, short.split()):
            print("$", *entry, *words, flush=True)
            subprocess.run([*entry, *words], cwd=variables["PWD"], env=variables, check=True)
        if not (Path(variables["XDG_CACHE_HOME"]).parent / "run" / "config.yaml").exists():
            raise SystemExit("the run is not in the working directory of the image")
    print("The commands of the Dockerfile work.")


if __name__ == "__main__":
    main(*sys.argv[1:])
