"""What all commands share: the application, the consoles, common options, the bar for data."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from sedd.cli.progress import DataProgress

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
def data_progress() -> Iterator[DataProgress]:
    """Call it with bytes done, bytes in all, and sequences written; nothing is shown of data that is ready."""
    with DataProgress(err) as progress:
        yield progress
