"""Another program on PyPI has the name `sedd`; where both are installed, each overwrites files of the other."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, distribution

from rich.markup import escape

from sedd.cli.console import problems

DISTRIBUTION = "sedd-torch"
UNRELATED = "sedd"
"""A distribution on PyPI that is another program, whose files lie in a folder of the same name."""


def warn_of_unrelated_package() -> None:
    """Warn where the unrelated package `sedd` is installed beside this one: each overwrites files of the other."""
    try:
        unrelated = distribution(UNRELATED)
    except PackageNotFoundError:
        return
    repair = f"pip uninstall {UNRELATED} && pip install --force-reinstall --no-deps"
    problems.print(
        f"[yellow]warning:[/yellow] the package `{UNRELATED}` {escape(unrelated.version)} from PyPI is installed "
        f"beside `{DISTRIBUTION}`. It is another program, and both write into the folder `sedd`. Remove it and install "
        f"this one again: {repair} {DISTRIBUTION}, or in a clone: {repair} -e ."
    )
