"""What all commands share: consoles, exit codes, log messages, tables, numbers, JSON and progress displays."""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from enum import IntEnum
from typing import Any

import typer
from rich.logging import RichHandler
from rich.markup import escape
from rich.table import Column, Table

from sedd.errors import LOST
from sedd.evaluation.intervals import Z95
from sedd.plain_text import SafeConsole
from sedd.terminal.activity import activity
from sedd.terminal.streams import message_console, standard_stream

out = SafeConsole(file=standard_stream("stdout", unfailing=False), highlight=False, soft_wrap=True)
"""Results, on standard output."""
err = message_console()
"""Progress and remarks, on standard error; silent with `--quiet`."""
problems = message_console()
"""Warnings and errors, on standard error."""


class ExitCode(IntEnum):
    """Exit codes other than 0."""

    PROBLEM = 1
    """The command did its work and found a problem: `diagnose --fail`, `plugins`."""
    ERROR = 2
    """An expected error: one message on standard error."""
    UNDECIDED = 3
    """`diagnose --fail`: the input does not allow a judgement (inconclusive, another unit, another configuration)."""
    LOST_RANK = LOST
    """Another process of the group was lost."""
    INTERRUPTED = 130
    """Ctrl-C."""


def attach_logging() -> None:
    """Show the messages that the library logs, on standard error."""
    logger = logging.getLogger("sedd")
    if not any(isinstance(handler, RichHandler) for handler in logger.handlers):
        logger.addHandler(RichHandler(console=problems, show_time=False, show_path=False, show_level=False))
        logger.setLevel(logging.INFO)


def show_warning(message: Warning | str, *_: object, **__: object) -> None:
    """Replacement of `warnings.showwarning`: one line on standard error."""
    problems.print(f"[yellow]warning:[/yellow] {escape(str(message))}")


def print_json(data: Mapping[str, Any]) -> None:
    """Print plain data as one line of JSON."""
    typer.echo(json.dumps(data))


def print_saved(figure: object) -> None:
    """Print where a figure or a page was saved."""
    out.print(f"\nFigure: {figure}", markup=False)


def table(title: str, *columns: str | Column) -> Table:
    """An empty table; a column that is given by its name alone is left-aligned and wraps."""
    columns = tuple(Column(escape(name), overflow="fold") if isinstance(name, str) else name for name in columns)
    return Table(*columns, title=f"[bold]{escape(title)}[/bold]", title_justify="left")


def number(name: str) -> Column:
    """A right-aligned column for numbers."""
    return Column(escape(name), justify="right", overflow="fold")


def print_table(made: Table) -> None:
    """Print a table after an empty line."""
    out.print()
    out.print(made, soft_wrap=False)


def margin(stderr: float) -> str:
    """Half of the 95 % interval of a number with this standard error, to print after ±."""
    return f"{Z95 * stderr:.4f}" if math.isfinite(stderr) else "?"


def working(what: str, total: float | None = None) -> AbstractContextManager[Callable[[float], None]]:
    """Show what is done and how long it will take; call the yielded function with how much of `total` is done."""
    return activity(what, total, console=err)


def be_quiet() -> None:
    """Print results, warnings and errors only: what `--quiet` asks for."""
    err.quiet = True
    logging.getLogger("sedd").setLevel(logging.WARNING)
