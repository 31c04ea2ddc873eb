"""What `deploy/` has: the job script queues itself again when it should, and the Dockerfile copies what is there."""

from __future__ import annotations

import importlib.util
import os
import re
import socket
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

from tests.conftest import TINY

ROOT = Path(__file__).parent.parent
SBATCH = ROOT / "deploy" / "train.sbatch"
DOCKERFILE = ROOT / "deploy" / "Dockerfile"


@pytest.fixture
def cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with stand-ins for the programs of SLURM; `requeued` in it lists the jobs that were queued again."""
    programs = tmp_path / "bin"
    programs.mkdir()
    write(programs / "srun", 'exec "$@"')
    write(programs / "scontrol", f'[ "$1" = show ] && echo 127.0.0.1 || echo "$2" >>{tmp_path}/requeued')
    for name, value in {"JOB_ID": "7", "JOB_NODELIST": "here", "NNODES": "1", "GPUS_ON_NODE": "1"}.items():
        monkeypatch.setenv(f"SLURM_{name}", value)
    monkeypatch.setenv("PATH", f"{programs}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("PYTHONPATH", str(ROOT / "src"))
    return tmp_path


def write(file: Path, script: str) -> None:
    file.write_text(f"#!/bin/sh\n{script}\n")
    file.chmod(0o755)


def job(cluster: Path, *arguments: str, restarts: int = 0) -> int:
    """Run the job script; returns its exit code."""
    environment = os.environ | {"SLURM_RESTART_COUNT": str(restarts)}
    return subprocess.run(["bash", SBATCH, *arguments], cwd=cluster, env=environment, check=False).returncode


def requeued(cluster: Path) -> list[str]:
    file = cluster / "requeued"
    return file.read_text().split() if file.exists() else []


@pytest.mark.long
def test_a_job_trains_with_torchrun(cluster: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(cluster / "bin" / "torchrun", f'exec "{sys.executable}" -m torch.distributed.run "$@"')
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        monkeypatch.setenv("MASTER_PORT", str(free.getsockname()[1]))
    assert job(cluster, "quickstart", "runs/mine", *TINY, "sampling.at_steps=[]") == 0
    assert (cluster / "runs/mine/checkpoints/step-00000008").is_dir()
    assert requeued(cluster) == []


@pytest.mark.parametrize(
    ("progress", "restarts", "again"), [(True, 0, True), (True, 50, True), (False, 2, True), (False, 3, False)]
)
def test_a_job_that_was_ended_is_queued_again_unless_it_gets_no_further(
    cluster: Path, progress: bool, restarts: int, again: bool
) -> None:
    write(cluster / "bin" / "torchrun", f"{'mkdir -p runs/mine/checkpoints/step-4; ' if progress else ''}exit 143")
    assert job(cluster, "my-run.yaml", "runs/mine", restarts=restarts) == 143
    assert requeued(cluster) == (["7"] if again else [])


def test_the_script_outlives_a_signal_that_ends_training(cluster: Path) -> None:
    write(cluster / "bin" / "torchrun", "mkdir -p runs/mine/checkpoints/step-4; kill -TERM $PPID; exit 143")
    assert job(cluster, "my-run.yaml", "runs/mine", restarts=9) == 143
    assert requeued(cluster) == ["7"]


def test_a_job_without_a_run_directory_says_what_is_missing(cluster: Path) -> None:
    done = subprocess.run(["bash", SBATCH, "my-run.yaml"], cwd=cluster, capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert "a run directory" in done.stderr


def test_the_settings_of_the_job_are_those_of_sbatch() -> None:
    head = SBATCH.read_text().split("\n\n")[0]
    options = dict(re.findall(r"^#SBATCH --([a-z-]+)(?:=(\S+))?", head, re.MULTILINE))
    assert options["signal"].startswith("TERM@")
    assert {"requeue", "nodes", "gpus-per-node", "open-mode"} <= set(options)


@pytest.fixture
def check_image() -> ModuleType:
    spec = importlib.util.spec_from_file_location("check_image", ROOT / "scripts" / "check_image.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_dockerfile_copies_what_is_there_and_what_is_not_ignored(check_image: ModuleType) -> None:
    allowed = (ROOT / "deploy" / "Dockerfile.dockerignore").read_text().split()
    steps = list(check_image.instructions(DOCKERFILE.read_text()))
    copied = [source for name, rest in steps if name == "COPY" for source in rest.split()[:-1]]
    assert copied
    assert [source for source in copied if not (ROOT / source).exists() or f"!{source}" not in allowed] == []
    assert next(name for name, _ in steps) == "FROM"
    assert {name for name, _ in steps} >= {"RUN", "USER", "ENTRYPOINT"}


def test_an_image_is_built_from_its_instructions(
    check_image: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "Dockerfile"
    file.write_text(
        '# a comment\nFROM base\nARG WORD="nothing"\nWORKDIR /opt\nCOPY README.md LICENSE ./\n'
        "COPY docs/assets ./assets\n"
        "RUN test -f README.md && \\\n    test -d assets && echo $WORD >said\nENV HERE=/work\nWORKDIR /work\n"
    )
    write(tmp_path / "python", "exit 0")  # makes no environment
    monkeypatch.setattr(check_image, "DOCKERFILE", file)
    variables = check_image.build(tmp_path / "image", str(tmp_path / "python"), {"WORD": "given"})
    assert (tmp_path / "image" / "opt" / "said").read_text() == "given\n"
    assert variables["HERE"] == str(tmp_path / "image" / "work")
    file.write_text("FROM base\nADD a b\n")
    with pytest.raises(ValueError, match="ADD"):
        check_image.build(tmp_path / "other", str(tmp_path / "python"), {})
