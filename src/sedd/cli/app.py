"""What all commands share: the application, the consoles, common options, the bar for data."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

app = typer.Typer(
    help="Train SEDD models (score entropy discrete diffusion) with noise curricula.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
out = Console(highlight=False, soft_wrap=True)
err = Console(stderr=True, highlight=False, soft_wrap=True)

Overrides = Annotated[list[str] | None, typer.Argument(help="Overrides such as optim.lr=3e-4 (values in YAML).")]
Device = Annotated[str | None, typer.Option(help="Device backend: auto, cpu, cuda, mps, xpu or a plugin's.")]
RunPath = Annotated[Path, typer.Argument(help="A run directory, or one checkpoint in it.")]


@contextmanager
def data_progress() -> Iterator[Callable[[int, int, int], None]]:
    """A bar for data that must be prepared first; it appears at the first report, so that a cached store shows none."""
    columns = (TextColumn("preparing data"), BarColumn(), DownloadColumn(), TimeRemainingColumn())
    with ExitStack() as stack:
        bar = Progress(
            *columns,
            TextColumn("{task.fields[count]:,} sequences"),
            console=err,
            transient=True,
            disable=not err.is_terminal,
        )
        task = bar.add_task("", count=0, total=None)

        def report(done: int, total: int, count: int) -> None:
            if not bar.live.is_started:
                stack.enter_context(bar)
            bar.update(task, completed=done, total=total, count=count)

        yield report
