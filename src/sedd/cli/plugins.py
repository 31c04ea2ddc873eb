"""`sedd plugins` and `sedd schema`: what is installed."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape
from rich.table import Table

from sedd.cli.app import app, err, out
from sedd.config.schema import schema
from sedd.plugins.registry import KINDS, describe, discover


@app.command()
def plugins() -> None:
    """List what is installed, from where, with its options; broken plugins at the end."""
    found = discover()
    for kind in KINDS:
        shared = describe(kind.base)
        common = f"\nall have {_options(shared)}" if shared else ""
        table = Table(title=f"[bold]{kind.section}.{kind.base.discriminator}[/bold]{common}", title_justify="left")
        for column in ("name", "from", "what, and its own options"):
            table.add_column(column, overflow="fold")
        for plugin in found.plugins:
            if plugin.kind is kind:
                words = (plugin.cls.__doc__ or "").strip().splitlines()[0]
                own = {name: text for name, text in describe(plugin.cls).items() if shared.get(name) != text}
                table.add_row(plugin.name, plugin.source, escape(words) + (f"\n{_options(own)}" if own else ""))
        out.print(table)
    for problem in found.problems:
        err.print(f"[red]broken[/red] {escape(str(problem))}")
    if found.problems:
        raise typer.Exit(1)


def _options(options: Mapping[str, str]) -> str:
    return escape(", ".join(f"{name}: {text}" for name, text in options.items()))


@app.command("schema")
def print_schema(
    to: Annotated[Path | None, typer.Argument(help="File to write; default: print.")] = None,
) -> None:
    """Write the JSON schema of run files, installed plugins included."""
    text = json.dumps(schema(), indent=2)
    if to is None:
        typer.echo(text)
    else:
        to.write_text(text + "\n", encoding="utf-8")
