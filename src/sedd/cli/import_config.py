"""`sedd import config`: the run file of another trainer as one of sedd, with an account of its keys."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Annotated

import typer
from rich import box
from rich.markup import escape

from sedd.cli.app import AsJson
from sedd.cli.console import number, out, print_json, print_table, table
from sedd.cli.imports import imports
from sedd.config.foreign.convert import AUTO, Converted, Entry, convert, lines_of
from sedd.config.foreign.source import short
from sedd.config.foreign.writing import run_file
from sedd.diagnosis.foreign import ForeignRow, foreign_forecast, foreign_rows
from sedd.errors import ConfigError
from sedd.files import write_atomically


@imports.command("config")
def import_config(
    theirs: Annotated[Path, typer.Argument(help="The run file (YAML) of SEDD, PLS, MDLM or D3-DNA.")],
    dialect: Annotated[
        str, typer.Option(help="auto, sedd, pls, mdlm or d3: the trainer; recognised by its keys by default.")
    ] = AUTO,
    output: Annotated[Path, typer.Option("--output", "-o", help="The run file to write.")] = Path("run.yaml"),
    force: Annotated[bool, typer.Option("--force", help="Leave out what sedd cannot express.")] = False,
    as_json: AsJson = False,
) -> None:
    """Convert the run file of another trainer, and say what became of every key."""
    converted = convert(theirs, dialect, force=force)
    implied = foreign_forecast(converted)
    rows = foreign_rows(converted, implied)
    _write(converted, output)
    if as_json:
        print_json(_as_dict(converted, rows, output))
        return
    out.print(f"{theirs} is a run file of {converted.dialect.title}.", markup=False)
    for note in converted.source.notes:
        out.print(note, markup=False)
    _print_account(converted)
    _print_forecast(converted, rows)
    out.print(f"\n{implied.summary}", markup=False)
    out.print(f"\nWritten: {output}. Name your data in it, then: sedd train {output}", markup=False)


def _write(converted: Converted, output: Path) -> None:
    """Write the run file, to a path where nothing is."""
    if output.exists() or output.is_symlink():
        raise ConfigError(f"{output}: is there already; name another file with -o, or remove it")
    if not output.parent.is_dir():
        raise ConfigError(f"{output}: there is no directory {output.parent}; make it first")
    write_atomically(output, run_file(converted).encode())


def _print_account(converted: Converted) -> None:
    made = table("What became of its keys", "", "from", "to", "why")
    made.box, made.pad_edge = box.SIMPLE, False
    for kind, entries in _grouped(converted):
        made.add_row(
            kind,
            "\n".join(escape(_given(entry)) for entry in entries),
            "\n".join(escape(_made(entry)) for entry in entries if entry.ours),
            escape(entries[0].why),
        )
    print_table(made)


def _grouped(converted: Converted) -> Iterable[tuple[str, list[Entry]]]:
    """The entries by kind and reason: a row of the table each."""
    groups: dict[tuple[str, str], list[Entry]] = {}
    for kind, entry in lines_of(converted):
        groups.setdefault((kind, entry.why), []).append(entry)
    return [(kind, entries) for (kind, _), entries in groups.items()]


def _given(entry: Entry) -> str:
    return f"{entry.theirs}={short(entry.value)}" if entry.theirs else "(built in)"


def _made(entry: Entry) -> str:
    """Our key and value; the value alone where the key is theirs."""
    if entry.theirs == entry.ours and entry.value == entry.to:
        return "the same"
    return f"{entry.ours}={short(entry.to)}"


def _print_forecast(converted: Converted, rows: list[ForeignRow]) -> None:
    columns = ("their step", "optimizer step", "untrained, theirs", "untrained", "unigram")
    made = table(f"The loss without learning: theirs in {converted.dialect.unit}, ours in nats per residue",
                 *map(number, columns))  # fmt: skip
    for row in rows:
        made.add_row(
            f"{row.their_step:,}", f"{row.step:,}", f"{row.theirs:,.3f}", f"{row.ours:.3f}", f"{row.unigram:.3f}"
        )
    print_table(made)


def _plain(value: object) -> object:
    """A value for JSON, which has no dates."""
    return value if value is None or isinstance(value, bool | int | float | str) else short(value)


def _as_dict(converted: Converted, rows: list[ForeignRow], output: Path) -> dict[str, object]:
    account: dict[str, list[dict[str, object]]] = {}
    for kind, entry in lines_of(converted):
        account.setdefault(kind, []).append(
            {
                "from": entry.theirs,
                "value": _plain(entry.value),
                "to": entry.ours,
                "becomes": entry.to,
                "why": entry.why,
            }
        )
    forecast = [vars(row) for row in rows]
    return {"dialect": converted.dialect.name, "file": str(output), "keys": account, "unit": converted.dialect.unit,
            "notes": list(converted.source.notes), "forecast": forecast}  # fmt: skip
