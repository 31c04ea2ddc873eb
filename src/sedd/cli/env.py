"""`sedd env`: what a report of a problem should say about the installation."""

from __future__ import annotations

import os
import re
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path
from typing import Annotated, Any

import torch
import typer
from rich.markup import escape

import sedd
from sedd.cli.app import app
from sedd.cli.console import out, print_json
from sedd.cli.unrelated_package import DISTRIBUTION
from sedd.devices import choose
from sedd.files import cache_directory
from sedd.plugins.backends import Auto
from sedd.plugins.registry import BUILT_IN, discover
from sedd.runs.directory import current_environment


@app.command("env")
def print_env(as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False) -> None:
    """Say what is installed: versions, devices, plugins and directories, as a report of a problem needs it."""
    found = installation()
    if as_json:
        print_json(found)
        return
    for name, value in found.items():
        items = [f"{key} {item}" for key, item in value.items()] if isinstance(value, dict) else value
        text = (", ".join(items) or "none") if isinstance(items, list) else str(items)
        out.print(f"{name:<15} {escape(text)}")


def installation() -> dict[str, Any]:
    """Versions, devices, plugins and directories, as plain data. Nothing in it is secret but names of directories."""
    found = discover()
    parts = {plugin.source for plugin in found.plugins} - {BUILT_IN}
    return {
        **current_environment(),
        "installed in": str(Path(sedd.__file__).parent),
        "device": choose(Auto()).part_name(),
        "accelerators": _accelerators(),
        "processors": os.cpu_count(),
        "packages": _versions(),
        "plugins": sorted(parts),
        "broken plugins": [str(problem) for problem in found.problems],
        "cache": str(cache_directory()),
    }


def _accelerators() -> list[str]:
    """Names of the GPUs that torch sees."""
    names = [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]
    return names + (["MPS"] if torch.backends.mps.is_available() else [])


def _versions() -> dict[str, str]:
    """Versions of the packages that sedd and its extras use, where they are installed."""
    names = {re.split(r"[^A-Za-z0-9._-]", requirement)[0] for requirement in requires(DISTRIBUTION) or ()}
    versions = {}
    for name in sorted(names - {DISTRIBUTION}, key=str.lower):
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            continue
    return versions
