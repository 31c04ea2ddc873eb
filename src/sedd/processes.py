"""The Python processes that sedd starts import installed packages only, never files of the current directory.

`python -m` and `python -c` put the current directory first on the search path, and so does an empty entry of
PYTHONPATH. A file `random.py` or a `*.dist-info` among someone's downloads would run there. `python -P` leaves it out.
"""

from __future__ import annotations

import os
import site
import sys
import sysconfig
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

HOME = str(Path(__file__).resolve().parent.parent)
"""The directory from which sedd itself was imported."""
STARTED_IN = os.path.abspath(os.curdir) if os.path.exists(os.curdir) else None
"""The current directory when sedd was imported; None if it had been removed."""


def python_command(*arguments: str) -> list[str]:
    """The command of a Python process whose search path does not begin with the current directory."""
    return [sys.executable, "-P", *arguments]


def safe_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """`environment` for a Python process: without the current directory on the path of it and of what it starts, and
    with sedd on it, wherever this process found it."""
    paths = [path for path in environment.get("PYTHONPATH", "").split(os.pathsep) if path]
    if HOME not in (os.path.realpath(path) for path in (*paths, *_site_directories())):
        paths.append(HOME)
    return {**environment, "PYTHONSAFEPATH": "1", "PYTHONPATH": os.pathsep.join(paths)}


@contextmanager
def safe_children() -> Iterator[None]:
    """Within it, every Python process that this one starts has a `safe_environment`, also those that torch starts."""
    names = ("PYTHONPATH", "PYTHONSAFEPATH")
    before = {name: os.environ.get(name) for name in names}
    safe = safe_environment(os.environ)
    os.environ.update({name: safe[name] for name in names})
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def installed_path() -> list[str]:
    """`sys.path` without the entries that are there only because of where this process was started: the current
    directory and that of the script. They stay if PYTHONPATH names them, a `.pth` file does, or sedd is in them."""
    named = {os.path.abspath(path) for path in os.environ.get("PYTHONPATH", "").split(os.pathsep) if path} | {HOME}
    implicit = set(_implicit()) - named
    sites = _site_directories()
    first_site = next((index for index, path in enumerate(sys.path) if path in sites), len(sys.path))
    return [
        path
        for index, path in enumerate(sys.path)
        if path and (index > first_site or os.path.abspath(path) not in implicit)
    ]


def _implicit() -> Iterator[str]:
    yield from filter(None, [STARTED_IN, os.path.abspath(os.curdir) if os.path.exists(os.curdir) else None])
    script = getattr(sys.modules.get("__main__"), "__file__", None)
    if script and not script.startswith(HOME):
        yield os.path.dirname(os.path.abspath(script))


def _site_directories() -> set[str]:
    """Where packages are installed."""
    installed = {sysconfig.get_path(name) for name in ("purelib", "platlib")}
    return installed | {*getattr(site, "getsitepackages", list)(), site.getusersitepackages()}
