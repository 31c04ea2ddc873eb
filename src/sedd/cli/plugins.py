"""`sedd plugins` and `sedd schema`: what is installed."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from sedd.cli.app import app
from sedd.cli.console import ExitCode, err, out, table
from sedd.config.schema import schema
from sedd.plugins.registry import KINDS, Kind, describe, discover


@app.command()
def plugins() -> None:
    """List what is installed, from where, with its options; broken plugins at the end."""
    discovered = discover()
    for kind in KINDS:
        shared = describe(kind.base)
        common = f"\nall have {_options(shared)}" if shared else ""
        made = table(f"{_key(kind)}{common}", "name", "from", "description and options")
        for plugin in discovered.plugins:
            if plugin.kind is kind:
                description = (plugin.cls.__doc__ or "").strip().splitlines()[0]
                own = {name: text for name, text in describe(plugin.cls).items() if shared.get(name) != text}
                options = f"\n{_options(own)}" if own else ""
                made.add_row(escape(plugin.name), escape(plugin.source), escape(description) + options)
        out.print(made)
    for problem in discovered.problems:
        err.print(f"[red]broken[/red] {escape(str(problem))}")
    if discovered.problems:
        raise typer.Exit(ExitCode.PROBLEM)


def _key(kind: Kind) -> str:
    """The key by which a run file chooses a part of this kind."""
    key = kind.base.discriminator
    return kind.section if kind.section.endswith(f".{key}") else f"{kind.section}.{key}"


def _options(options: Mapping[str, str]) -> str:
    return escape(", ".join(f"{name}: {text}" for name, text in options.items()))


@app.command("schema")
def print_schema(to: Annotated[Path | None, typer.Argument(help="File to write; default: print.")] = None) -> None:
    """Write the JSON schema of run files, installed plugins included."""
    text = json.dumps(schema(), indent=2)
    if to is None:
        typer.echo(text)
    else:
        to.write_text(text + "\n", encoding="utf-8")
