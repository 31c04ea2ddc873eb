"""The command line application, and the arguments that several commands have."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

app = typer.Typer(
    help="Train SEDD models (score entropy discrete diffusion) with noise curricula.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

Overrides = Annotated[list[str] | None, typer.Argument(help="Overrides such as optim.lr=3e-4 (values in YAML).")]
Device = Annotated[str | None, typer.Option(help="Device backend: auto, cpu, cuda, mps, xpu or a plugin's.")]
Weights = Annotated[Literal["ema", "model"], typer.Option(help="Averaged or raw weights.")]
Which = Annotated[
    Literal["best", "latest"], typer.Option(help="Of a run: the checkpoint with the best bound, or the latest.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
RunPath = Annotated[Path, typer.Argument(help="A run directory, or one checkpoint in it.")]
