"""`sedd import`: what other trainers made, as runs and run files of sedd."""

from __future__ import annotations

from sedd.cli.app import App, app

import_app = App(help="Bring in what other trainers made.", no_args_is_help=True)
app.add_typer(import_app, name="import")
