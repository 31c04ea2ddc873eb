"""The command line application, and the arguments that several commands have."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from typer.models import CommandFunctionType

from sedd import __version__
from sedd.cli.console import be_quiet, out
from sedd.config.run_file import presets
from sedd.errors import ConfigError

HELP_NAMES = {"help_option_names": ["-h", "--help"]}
Quiet = Annotated[
    bool, typer.Option("--quiet", "-q", help="Print results, warnings and errors only: no progress, no remarks.")
]


class App(typer.Typer):
    """Commands that all have `--quiet`."""

    def command(self, *arguments: Any, **options: Any) -> Callable[[CommandFunctionType], CommandFunctionType]:
        """Register a command; returns the function as it is."""
        register = super().command(*arguments, **options)

        def registered(function: CommandFunctionType) -> CommandFunctionType:
            register(_with_quiet(function))
            return function

        return registered


def _with_quiet(function: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    def command(*arguments: Any, quiet: bool = False, **options: Any) -> Any:
        if quiet:
            be_quiet()
        return function(*arguments, **options)

    signature = inspect.signature(function, eval_str=True)
    added = inspect.Parameter("quiet", inspect.Parameter.KEYWORD_ONLY, default=False, annotation=Quiet)
    with_quiet = signature.replace(parameters=[*signature.parameters.values(), added])
    command.__signature__ = with_quiet  # type: ignore[attr-defined]  # typer reads the options there
    command.__annotations__ = {name: item.annotation for name, item in with_quiet.parameters.items()}
    return command


app = App(
    help="Train SEDD models (score entropy discrete diffusion) with noise curricula.",
    no_args_is_help=True,
    context_settings=HELP_NAMES,
    pretty_exceptions_enable=False,
)


def _version(value: bool) -> None:
    if value:
        out.print(f"sedd {__version__}")
        raise typer.Exit


@app.callback()
def common(
    version: Annotated[
        bool, typer.Option("--version", "-V", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
    quiet: Quiet = False,
) -> None:
    """Train SEDD models (score entropy discrete diffusion) with noise curricula."""
    if quiet:
        be_quiet()


def config_names(incomplete: str) -> list[str]:
    """Presets and run files that begin with a text, for completion with TAB."""
    beside = Path(incomplete).parent if "/" in incomplete else Path()
    files = sorted(str(file) for pattern in ("*.yaml", "*.yml") for file in beside.glob(pattern))
    return [name for name in (*presets(), *files) if name.startswith(incomplete)]


ConfigOption = Annotated[
    str | None, typer.Option("--config", help="CONFIG by another way.", autocompletion=config_names)
]
Overrides = Annotated[list[str] | None, typer.Argument(help="Overrides such as optim.lr=3e-4 (values in YAML).")]
DataOverrides = Annotated[
    list[str] | None,
    typer.Argument(help="Where the data of the run lie now, if they were moved: data.train=PATH data.valid=PATH."),
]
Device = Annotated[str | None, typer.Option(help="Device backend: auto, cpu, cuda, cuda:1, mps, xpu or a plugin's.")]
Weights = Annotated[Literal["ema", "model"], typer.Option(help="Averaged or raw weights.")]
Which = Annotated[
    Literal["best", "latest"], typer.Option(help="Of a run: the checkpoint with the best bound, or the latest.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
RunPath = Annotated[Path, typer.Argument(help="A run directory, one checkpoint in it, or an exported folder.")]


def chosen_config(word: str | None, option: str | None, overrides: list[str]) -> tuple[str | None, list[str]]:
    """The configuration that a command names, as its first word or with `--config`, and the overrides.

    Raises:
        ConfigError: if it is named twice.
    """
    if option is None:
        return word, overrides
    if word is not None and "=" not in word:
        raise ConfigError(f"{word} and --config {option}: name one configuration")
    return option, [*filter(None, [word]), *overrides]
