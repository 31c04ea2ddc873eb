"""`sedd import`: what other programs wrote."""

from __future__ import annotations

from sedd.cli.app import App, app

imports = App(name="import", help="Import what other programs wrote.", no_args_is_help=True)
app.add_typer(imports, name="import")
