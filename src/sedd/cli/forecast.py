"""`sedd forecast`."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer
from rich import box
from rich.table import Table

from sedd.cli.app import Device, Overrides, app, data_progress, err, out
from sedd.cli.speed import measured
from sedd.diagnosis.api import dataset_of, forecast, load_without_advice
from sedd.diagnosis.external_curve import read_curve
from sedd.diagnosis.forecast import Forecast, Row
from sedd.diagnosis.predictors import entropy
from sedd.errors import ConfigError


@app.command("forecast")
def forecast_run(
    config: Annotated[str, typer.Argument(help="A preset (quickstart, uniref50, ...) or a YAML file.")],
    overrides: Overrides = None,
    data: Annotated[str | None, typer.Option(help="FASTA, text or store: its letters; default: data.train.")] = None,
    steps: Annotated[str | None, typer.Option(help="Optimizer steps of the table: 0,500,1000.")] = None,
    run: Annotated[Path | None, typer.Option(help="A trained run: what its model would show, too.")] = None,
    symbols: Annotated[int | None, typer.Option(min=1, help="Size of the alphabet, if larger than the data's.")] = None,
    expect: Annotated[
        str | None, typer.Option(help="Losses you expect: 0=0.3,5000=0.8, or a CSV of step,loss.")
    ] = None,
    throughput: Annotated[float | None, typer.Option(help="Residues per second, for hours.")] = None,
    measure: Annotated[bool, typer.Option("--measure", help="Measure the throughput here, in some steps.")] = False,
    device: Device = None,
    plot: Annotated[Path | None, typer.Option(help="Draw it into this file (PNG).")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """What the training loss will be at each step, whatever is learnt: before you train."""
    # Its advice is printed below, once.
    loaded = load_without_advice(config, *(overrides or []), *([f"device.type={device}"] if device else []))
    expected = {} if expect is None else _expected(expect)
    asked = [] if steps is None else [_step(text, "--steps") for text in steps.split(",")]
    if measure and throughput is not None:
        raise ConfigError("--throughput and --measure: give one of the two")
    with data_progress() as progress:
        dataset = dataset_of(loaded, data, progress=progress)
    said = ""
    if measure:
        err.print("Measuring some optimizer steps ...")
        throughput, said = measured(loaded, dataset)
    found = forecast(
        loaded, data=dataset, run=run, steps=asked or sorted(expected) or None, throughput=throughput, symbols=symbols
    )
    judged = found.judge(expected)
    if plot is not None:
        _draw(found, plot)
    if as_json:
        typer.echo(json.dumps(found.to_json() | {"expected": judged} | ({"measured": said} if said else {})))
        return
    out.print(_table(found))
    for line in _sentences(found, said):
        out.print(line, markup=False)
    if judged:
        out.print("\nExpected losses")
        for line in judged:
            out.print(f"  {line}", markup=False)
    if plot is not None:
        out.print(f"\nThe picture is in {plot}", markup=False)


def _expected(text: str) -> dict[int, float]:
    """`0=0.3,5000=0.8`, or a file."""
    if "=" not in text:
        curve = read_curve(Path(text))
        seen = zip(curve.steps.tolist(), curve.losses.tolist(), strict=True)
        return {step: loss for step, loss in seen if math.isfinite(loss)}
    found = {}
    for item in text.split(","):
        step, _, loss = item.partition("=")
        try:
            value = float(loss)
        except ValueError:
            value = math.nan
        if not math.isfinite(value):
            raise ConfigError(f"--expect {item!r}: expected step=loss, such as 5000=0.8")
        found[_step(step, "--expect")] = value
    return found


def _step(text: str, option: str) -> int:
    if not text.strip().isdecimal():
        raise ConfigError(f"{option} {text!r}: expected optimizer steps, whole numbers such as 0,500,1000")
    return int(text)


def _table(found: Forecast) -> Table:
    table = Table(
        title="Training loss that the configuration alone decides, nats per residue",
        title_justify="left",
        box=box.SIMPLE,
        pad_edge=False,
        collapse_padding=True,
    )
    columns = ["step", "difficulty", "mask rates", "lr", "untrained", "letters"]
    for name in (*columns, "run") if "run" in found.predictors else columns:
        table.add_column(name, justify="right", no_wrap=True)
    for row in found.rows:
        table.add_row(f"{row.step:,}", *_cells(row))
    table.add_section()
    table.add_row("no curriculum", *_cells(found.full))
    return table


def _cells(row: Row) -> list[str]:
    return [
        f"{row.difficulty:.3f}",
        f"{100 * row.mask_rate_min:.1f}–{row.mask_rate_max:.1%}",
        f"{row.lr:.2g}",
        f"{row.untrained:.3f}",
        f"{row.unigram:.3f}",
        *([] if row.run is None else [f"{row.run:.3f}"]),
    ]


def _sentences(found: Forecast, measured: str) -> Iterator[str]:
    letters = found.statistics
    yield (
        f"untrained: knows nothing ({len(letters.frequencies)} symbols). letters: knows how often each occurs "
        f"({entropy(letters.frequencies):.3f} nats; {letters.source})."
    )
    rise = found.rises["unigram"]
    if rise.per_1000 > 0:
        yield (
            f"Steepest rise without any learning: {rise.per_1000:.3g} nats per 1,000 steps, steps {rise.first:,} to "
            f"{rise.last:,}."
        )
    yield from (f"False alarm: {line}" for line in found.false_alarms)
    if not found.false_alarms:
        yield "None of your rules (monitoring) fires while nothing is wrong."
    yield (
        f"Luck of the draw alone scatters the loss of one step by {found.scatter['start']:.0%} at the start and "
        f"{found.scatter['full']:.0%} at full difficulty."
    )
    for phase in found.phases:
        hours = "" if phase.hours is None else f", {_hours(phase.hours)}"
        yield f"Phase {phase.name}: steps {phase.first:,} to {phase.last:,}{hours}."
    if found.throughput is None:
        yield "Hours: give --throughput (residues per second), or --measure."
    else:
        step = f"{found.residues_per_step:,.0f} residues per step"
        yield f"At {found.throughput:,.0f} residues per second, {step}{measured}."
    yield from (f"Note: {advice}." for advice in found.config.advice())


def _hours(hours: float) -> str:
    return f"{hours:,.1f} hours" if hours >= 1.0 else f"{60.0 * hours:,.1f} minutes"


def _draw(found: Forecast, file: Path) -> None:
    from sedd.report.plots import forecast_figure  # matplotlib is an extra

    if not file.parent.is_dir():
        raise ConfigError(f"{file}: there is no directory {file.parent}; make it first")
    try:
        forecast_figure(found).savefig(file, dpi=150)
    except ValueError as error:  # a file type that cannot be drawn
        raise ConfigError(f"{file}: cannot be drawn ({error}); name a .png") from None
