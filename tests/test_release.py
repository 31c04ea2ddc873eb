"""What publishes the project runs commands that exist, on the Pythons that are named."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[1]
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
pytestmark = pytest.mark.skipif(not WORKFLOWS, reason="no workflows here: this is no clone of the repository")


def steps() -> list[str]:
    jobs = [job for file in WORKFLOWS for job in yaml.safe_load(file.read_text("utf-8"))["jobs"].values()]
    return [step["run"] for job in jobs for step in job["steps"] if "run" in step]


def test_every_step_of_a_workflow_is_a_target_of_make() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE))
    used = {re.fullmatch(r"make ([a-z-]+)( \w+=.*)?", run)[1] for run in steps()}  # type: ignore[index]
    assert used <= targets
    assert {"test-all", "check", "plugins", "dist"} <= used


def test_the_pythons_that_are_tested_are_those_that_the_package_names() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    named = [text.split(" :: ")[-1] for text in project["classifiers"] if re.search(r":: 3\.\d+$", text)]
    tests = yaml.safe_load((ROOT / ".github/workflows/tests.yml").read_text("utf-8"))
    for job in ("tests", "wheels"):
        assert tests["jobs"][job]["strategy"]["matrix"]["python"] == named
    assert project["requires-python"] == f">={named[0]}"


def test_only_the_job_that_publishes_may_ask_for_an_identity() -> None:
    jobs = yaml.safe_load((ROOT / ".github/workflows/release.yml").read_text("utf-8"))["jobs"]
    assert [name for name, job in jobs.items() if "id-token" in job.get("permissions", {})] == ["publish"]


def test_the_form_for_problems_asks_for_what_is_installed() -> None:
    form = yaml.safe_load((ROOT / ".github/ISSUE_TEMPLATE/problem.yml").read_text("utf-8"))
    assert "sedd env" in form["body"][1]["attributes"]["label"]
    assert form["body"][1]["validations"]["required"]
